"""Why an object cannot be carried out, in words for the person who must act."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`reason` is one CamelCase word; `message` says what is wrong, where, and what to do."""

    reason: str
    message: str


INVALID_SPEC = "InvalidSpec"
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
