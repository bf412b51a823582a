"""A Deployment's status: counts and conditions, step by step as the real controller arrives at them. Pure.

Source: k8s.io/kubernetes, pkg/controller/deployment/sync.go and progress.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from insource.local.objects import Object, condition, parse_timestamp, timestamp
from insource.local.rollouts import limits

_COUNTS = ("replicas", "readyReplicas", "availableReplicas")
Told = tuple[str, str, str]
"""(status, reason, message) of a condition."""


def deployment_status(
    deployment: Object, new: Object | None, every: Sequence[Object], now: datetime, *, created: bool = False
) -> tuple[Object, float | None]:
    """The `status`, and in how many seconds its progress deadline passes (None: nothing to wait for).

    `new`: the ReplicaSet of the present template, `created` just now; `every`: all of them.
    """
    spec, before = deployment["spec"], deployment.get("status") or {}
    replicas = _replicas(spec)
    counts = {name: sum((held.get("status") or {}).get(name, 0) for held in every) for name in _COUNTS}
    counts["updatedReplicas"] = (new or {}).get("status", {}).get("replicas", 0)
    wanted = sum(_replicas(held["spec"]) for held in every)
    counts["unavailableReplicas"] = max(0, wanted - counts["availableReplicas"])
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    status |= {name: count for name, count in counts.items() if count}
    status["terminatingReplicas"] = sum((held.get("status") or {}).get("terminatingReplicas", 0) for held in every)
    if "collisionCount" in before:
        status["collisionCount"] = before["collisionCount"]
    conditions = _Conditions(list(before.get("conditions") or ()), now)
    if created and new is not None:
        said = f'Created new replica set "{new["metadata"]["name"]}"'
        conditions.set("Progressing", ("True", "NewReplicaSetCreated", said))
    elif new is not None and not conditions.get("Progressing"):
        said = f'Found new replica set "{new["metadata"]["name"]}"'
        conditions.set("Progressing", ("True", "FoundNewReplicaSet", said))
    conditions.set("Available", _available(spec, counts["availableReplicas"]))
    complete = new is not None and all(counts[name] == replicas for name in (*_COUNTS, "updatedReplicas"))
    again_s = _progress(deployment, new, conditions, counts, complete=complete)
    failures = [condition(held, "ReplicaFailure") for held in every]
    if failure := next((found for found in failures if found.get("status") == "True"), None):
        conditions.set("ReplicaFailure", ("True", failure.get("reason", ""), failure.get("message", "")))
    else:
        conditions.drop("ReplicaFailure")
    status["conditions"] = conditions.listed
    return status, again_s


def _available(spec: Object, available: int) -> Told:
    replicas, strategy = _replicas(spec), spec.get("strategy") or {}
    missing = 0 if strategy.get("type") == "Recreate" else limits(strategy, replicas).unavailable
    if available >= replicas - missing:
        return "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    return "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."


def _progress(
    deployment: Object, new: Object | None, conditions: _Conditions, counts: Object, *, complete: bool
) -> float | None:
    spec, before = deployment["spec"], deployment.get("status") or {}
    old = conditions.get("Progressing")
    if spec.get("paused"):
        if old.get("reason") != "ProgressDeadlineExceeded":
            conditions.set("Progressing", ("Unknown", "DeploymentPaused", "Deployment is paused"))
        return None
    if old.get("reason") == "DeploymentPaused":
        conditions.set("Progressing", ("Unknown", "DeploymentResumed", "Deployment is resumed"))
        old = conditions.get("Progressing")
    said = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else "Deployment"
    if counts["replicas"] == counts["updatedReplicas"] and old.get("reason") == "NewReplicaSetAvailable":
        return None  # no rollout is under way: what is missing has been lost since, or asked for
    if complete:
        conditions.set("Progressing", ("True", "NewReplicaSetAvailable", f"{said} has successfully progressed."))
        return None
    deadline_s = float(spec.get("progressDeadlineSeconds", 600))
    if _has_moved(before, counts):
        conditions.renew("Progressing", ("True", "ReplicaSetUpdated", f"{said} is progressing."))
        return deadline_s
    if not old or old.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    waited_s = (conditions.now - parse_timestamp(old["lastUpdateTime"])).total_seconds()
    if waited_s > deadline_s:
        conditions.set("Progressing", ("False", "ProgressDeadlineExceeded", f"{said} has timed out progressing."))
        return None
    return deadline_s - waited_s + 1


def _has_moved(before: Object, counts: Object) -> bool:
    def of(name: str) -> int:
        return int(before.get(name, 0))

    grown = any(counts[name] > of(name) for name in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    old_ones: int = counts["replicas"] - counts["updatedReplicas"]
    return grown or old_ones < of("replicas") - of("updatedReplicas")


class _Conditions:
    """The list of them. One that changes goes to the end."""

    def __init__(self, listed: list[Object], now: datetime) -> None:
        self.listed = listed
        self.now = now

    def get(self, kind: str) -> Object:
        return next((each for each in self.listed if each["type"] == kind), {})

    def drop(self, kind: str) -> None:
        self.listed = [each for each in self.listed if each["type"] != kind]

    def set(self, kind: str, told: Told) -> None:
        """One whose status and reason stay is left alone."""
        old = self.get(kind)
        if (old.get("status"), old.get("reason")) != told[:2]:
            self.renew(kind, told)

    def renew(self, kind: str, told: Told) -> None:
        state, reason, message = told
        old, now = self.get(kind), timestamp(self.now)
        self.drop(kind)
        self.listed.append(
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message,
                "lastUpdateTime": now,
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == state else now,
            }
        )


def _replicas(spec: Object) -> int:
    return int(spec.get("replicas", 1))
