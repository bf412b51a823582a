"""What Flux and others make of a custom resource: the generic rules of kstatus (sigs.k8s.io/cli-utils/pkg/kstatus)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CURRENT, IN_PROGRESS, FAILED, TERMINATING = "Current", "InProgress", "Failed", "Terminating"


def kstatus(obj: Mapping[str, Any]) -> str:
    """One of the four. What says nothing about itself is Current: that is why our kinds are born with a status."""
    if obj["metadata"].get("deletionTimestamp"):
        return TERMINATING
    status = obj.get("status") or {}
    if status.get("observedGeneration", obj["metadata"]["generation"]) != obj["metadata"]["generation"]:
        return IN_PROGRESS
    says = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    if says.get("Reconciling") == "True":
        return IN_PROGRESS
    if says.get("Stalled") == "True":
        return FAILED
    return CURRENT if says.get("Ready", "True") == "True" else IN_PROGRESS
