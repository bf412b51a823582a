"""What keeps a pod from its node or from running, in the words of who says so. Pure, and without counters.

Text that changes by itself would make a status write of every retry: a kubelet's back-off seconds, and the two faces
of one failed pull (ErrImagePull while it tries, ImagePullBackOff while it waits), are told alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

UNSCHEDULABLE = "Unschedulable"
GATED = "SchedulingGated"
REPLICA_FAILING = "ReplicaFailing"
IMAGE_NOT_PULLED = "ImageNotPulled"
START_TOO_SLOW = "StartTimeout"
FETCH_CONTAINER = "fetch"
"""Name of the init container that downloads a model."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_TRANSIENT = frozenset({"ContainerCreating", "PodInitializing"})
_PULLING = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: )?')
_REASON = re.compile(r"^[A-Z][A-Za-z]{0,62}$")


@dataclass(frozen=True, slots=True)
class Trouble:
    """`reason` is one CamelCase word; `words` are those of the scheduler, kubelet or container."""

    reason: str = ""
    words: str = ""


NO_TROUBLE = Trouble()


def scheduling_trouble(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Trouble:
    """Why a pod has no node; gates by their names, for the condition does not tell them."""
    for condition in status.get("conditions") or ():
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        reason = str(condition.get("reason") or "")
        words = str(condition.get("message") or reason or "not scheduled")
        gates = ", ".join(str(gate.get("name", "")) for gate in spec.get("schedulingGates") or ())
        if reason == GATED and gates:
            words = f"{words}: {gates}"
        return Trouble(reason if _REASON.match(reason) else UNSCHEDULABLE, words)
    return NO_TROUBLE


def container_trouble(status: Mapping[str, Any]) -> Trouble:
    """The first container's reason for waiting that is not part of a normal start."""
    for container in _containers(status):
        if container.get("name") == FETCH_CONTAINER and (words := _why_not_fetched(container)):
            return Trouble(REPLICA_FAILING, words)
        waiting = (container.get("state") or _NOTHING).get("waiting")
        if not waiting or waiting.get("reason", "") in _TRANSIENT or not waiting.get("reason"):
            continue
        return _waiting(container, str(waiting["reason"]), str(waiting.get("message") or ""))
    return NO_TROUBLE


def is_downloading(status: Mapping[str, Any]) -> bool:
    """Whether its model is on its way."""
    return any(
        container.get("name") == FETCH_CONTAINER and "running" in (container.get("state") or _NOTHING)
        for container in status.get("initContainerStatuses") or ()
    )


def unanswered_s(status: Mapping[str, Any]) -> float | None:
    """How long the server's last run was, if it ended before it had ever answered its startup probe; else None.

    The adapter starts once the server has answered: one that has never run is the proof that it has not.
    """
    adapters = status.get("containerStatuses") or ()
    if any("running" in (each.get("state") or _NOTHING) or each.get("restartCount") for each in adapters):
        return None
    for container in status.get("initContainerStatuses") or ():
        for state in (container.get("state") or _NOTHING, container.get("lastState") or _NOTHING):
            ended = state.get("terminated")
            if container.get("name") == "server" and ended:
                return _seconds_between(ended.get("startedAt"), ended.get("finishedAt"))
    return None


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _waiting(container: Mapping[str, Any], reason: str, message: str) -> Trouble:
    name = container.get("name")
    if reason == "CrashLoopBackOff":
        ended = (container.get("lastState") or _NOTHING).get("terminated") or _NOTHING
        words = str(ended.get("message", "")).strip() or f"exit code {ended.get('exitCode', 'unknown')}"
        return Trouble(REPLICA_FAILING, f"container {name} keeps failing: {words}")
    if reason in _PULLING:
        words = _BACK_OFF.sub("", message).removeprefix("ErrImagePull: ").strip() or reason
        return Trouble(
            IMAGE_NOT_PULLED, f'container {name}: image "{container.get("image", "")}" cannot be pulled: {words}'
        )
    return Trouble(REPLICA_FAILING, f"container {name}: {reason}: {message}".rstrip(": "))


def _why_not_fetched(container: Mapping[str, Any]) -> str:
    """Why a model's last download failed, in its own words. Also while it is tried again: that is no reason to hope."""
    if ((container.get("state") or _NOTHING).get("terminated") or _NOTHING).get("exitCode") == 0:
        return ""
    for part in ("state", "lastState"):
        ended = (container.get(part) or _NOTHING).get("terminated") or _NOTHING
        words = str(ended.get("message", "")).strip()
        if words and ended.get("exitCode") != 0:
            return f"the model cannot be downloaded: {words} (exit code {ended['exitCode']})"
    return ""


def _seconds_between(began: Any, ended: Any) -> float | None:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except (ValueError, TypeError):  # somebody else wrote these times
        return None
