"""Why an object cannot be carried out, in words for the person who must act."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`reason` is one CamelCase word; `message` says what is wrong, where, and what to do."""

    reason: str
    message: str


INVALID_SPEC = "InvalidSpec"
MODALITY_NOT_SERVED = "ModalityNotServed"
"""The adapters of this release do not speak this kind of work."""
DIALECT_CANNOT_SERVE = "DialectCannotServe"
"""A Vendor's wire format has no such kind of work."""
MODEL_TOO_LARGE = "ModelTooLarge"
"""A replica's accelerators have less memory than the model needs."""
PATH_TAKEN = "PathTaken"
"""Namespace and name make a path of the gateway's own."""
POD_CONFLICT = "PodConflict"
"""A backend's pod settings say something else than its AcceleratorClass."""
QUOTA_EXCEEDED = "QuotaExceeded"
"""A ResourceQuota keeps the API server from taking one of our objects."""
PODS_REFUSED = "PodsRefused"
"""The API server takes our ReplicaSet but not its pods: a missing PriorityClass, a policy."""
NOT_PERMITTED = "NotPermitted"
"""The API server does not let us write one of our objects: permissions, an admission policy, an ending namespace."""
NOT_ACCEPTED = "NotAccepted"
"""The API server finds one of our objects invalid."""
