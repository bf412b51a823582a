"""Deployments: keeps their ReplicaSets and status. The arithmetic is in `rollouts`; pods belong to `replica_sets`."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from insource.env import Env
from insource.env.ids import NAME_ALPHABET
from insource.local.control_loop import Key
from insource.local.object_events import EventRecorder
from insource.local.objects import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    Object,
    condition,
    controller_name,
    controller_uid,
    is_over,
    is_terminating,
    owner_reference,
    parse_timestamp,
    timestamp,
)
from insource.local.rollouts import Scale, limits, recreate_scales, rolling_scales
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
MANAGER = "kube-controller-manager"


def template_hash(template: Object) -> str:
    """A name-safe hash of a pod template; the same for the same content."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True, separators=(",", ":")).encode()).digest()
    return "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest[:10])


class DeploymentController:
    """Deployment -> ReplicaSets."""

    name = "deployment"

    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._events = EventRecorder(store, env.clock, "deployment-controller")

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        """A Deployment, its ReplicaSets, and its pods (a Recreate rollout waits until they are gone)."""
        metadata = held["metadata"]
        if kind.ref == DEPLOYMENTS:
            yield metadata["namespace"], metadata["name"]
        elif kind.ref == REPLICA_SETS and (owner := controller_name(held, "Deployment")):
            yield metadata["namespace"], owner
        elif kind.ref == PODS and (owner := controller_name(held, "ReplicaSet")):
            replica_set = self._store.find(REPLICA_SETS, metadata["namespace"], owner)
            if replica_set is not None and (deployment := controller_name(replica_set, "Deployment")):
                yield metadata["namespace"], deployment

    def reconcile(self, key: Key) -> float | None:
        deployment = self._store.find(DEPLOYMENTS, *key)
        if deployment is None or is_terminating(deployment):
            return None
        uid, spec = deployment["metadata"]["uid"], deployment["spec"]
        owned = [h for h in self._store.owned_by(uid) if h["kind"] == "ReplicaSet" and controller_uid(h) == uid]
        owned.sort(key=lambda held: (held["metadata"]["creationTimestamp"], held["metadata"]["name"]))
        hashed = template_hash(spec["template"])
        new = next((held for held in owned if held["metadata"]["labels"].get(HASH) == hashed), None)
        old = [held for held in owned if held is not new]
        if spec.get("paused") and new is None:
            return self._write_status(deployment, None, old)
        if new is None:
            new = self._create(deployment, hashed, old)
        else:
            self._raise_revision(new, old)
        if not spec.get("paused"):
            self._scale(deployment, new, old)
            self._forget_old(spec, old)
        new = self._store.find(REPLICA_SETS, key[0], new["metadata"]["name"])
        return self._write_status(deployment, new, old)

    def _create(self, deployment: Object, hashed: str, old: Sequence[Object]) -> Object:
        metadata, spec = deployment["metadata"], deployment["spec"]
        template = copy.deepcopy(spec["template"])
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[HASH] = hashed
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH] = hashed
        recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
        bounds = limits(spec.get("strategy") or {}, _replicas(spec))
        held = sum(_replicas(item["spec"]) for item in old)
        first = _replicas(spec) if not old else max(0, min(_replicas(spec), _replicas(spec) + bounds.surge - held))
        replica_set = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{metadata['name']}-{hashed}",
                "namespace": metadata["namespace"],
                "labels": dict(labels),
                "annotations": _annotations(deployment) | {REVISION: str(1 + max(map(_revision, old), default=0))},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0 if recreate and old else first,
                "selector": selector,
                "template": template,
                "minReadySeconds": spec.get("minReadySeconds", 0),
            },
        }
        created = self._store.create(REPLICA_SETS, replica_set, metadata["namespace"], field_manager=MANAGER)
        name, count = created["metadata"]["name"], created["spec"]["replicas"]
        if count:
            self._events.record(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {count}")
        return created

    def _raise_revision(self, new: Object, old: Sequence[Object]) -> None:
        """A template that comes back (a rollback) is the newest revision again."""
        newest = max(map(_revision, old), default=0)
        if _revision(new) <= newest:
            patch = {"metadata": {"annotations": {REVISION: str(newest + 1)}}}
            metadata = new["metadata"]
            self._store.patch(
                REPLICA_SETS, metadata["namespace"], metadata["name"], patch, "merge", field_manager=MANAGER
            )

    def _scale(self, deployment: Object, new: Object, old: Sequence[Object]) -> None:
        spec = deployment["spec"]
        replicas, strategy = _replicas(spec), spec.get("strategy") or {}
        scales = [_scale_of(held) for held in old]
        if strategy.get("type") == "Recreate":
            uids = {held["metadata"]["uid"] for held in old}
            pods = self._store.list(PODS, deployment["metadata"]["namespace"]).items
            left = sum(1 for pod in pods if controller_uid(pod) in uids and not is_over(pod))
            wanted = recreate_scales(replicas, _scale_of(new), scales, left)
        else:
            wanted = rolling_scales(replicas, limits(strategy, replicas), _scale_of(new), scales)
        for held in (new, *old):
            name, namespace = held["metadata"]["name"], held["metadata"]["namespace"]
            before, after = _replicas(held["spec"]), wanted[name]
            if before == after:
                continue
            patch = {"spec": {"replicas": after}}
            self._store.patch(REPLICA_SETS, namespace, name, patch, "merge", field_manager=MANAGER)
            way = "up" if after > before else "down"
            self._events.record(
                deployment, "ScalingReplicaSet", f"Scaled {way} replica set {name} from {before} to {after}"
            )

    def _forget_old(self, spec: Object, old: Sequence[Object]) -> None:
        kept = spec.get("revisionHistoryLimit", 10)
        idle = [held for held in old if not _replicas(held["spec"]) and not (held.get("status") or {}).get("replicas")]
        idle.sort(key=_revision)
        for held in idle[: max(0, len(idle) - kept)]:
            self._store.delete(REPLICA_SETS, held["metadata"]["namespace"], held["metadata"]["name"])

    def _write_status(self, deployment: Object, new: Object | None, old: Sequence[Object]) -> float | None:
        metadata = deployment["metadata"]
        present = self._store.get(DEPLOYMENTS, metadata["namespace"], metadata["name"])
        revision = str(_revision(new)) if new is not None else ""
        new_revision = bool(revision) and revision != (metadata.get("annotations") or {}).get(REVISION)
        if new_revision:
            annotations = {**(present["metadata"].get("annotations") or {}), REVISION: revision}
            present = {**present, "metadata": {**present["metadata"], "annotations": annotations}}
        status, again_s = deployment_status(
            present, new, [held for held in (new, *old) if held is not None], self._env.clock.now()
        )
        if new_revision or status != present.get("status"):
            # In one write, to the status: there an annotation does not make a new generation.
            self._store.update(
                DEPLOYMENTS,
                metadata["namespace"],
                metadata["name"],
                {**present, "status": status},
                subresource="status",
                field_manager=MANAGER,
            )
        return again_s


def deployment_status(
    deployment: Object, new: Object | None, every: Sequence[Object], now: Any
) -> tuple[Object, float | None]:
    """The Deployment's `status`, and in how many seconds its progress deadline passes (None: nothing to wait for)."""
    spec = deployment["spec"]
    replicas = _replicas(spec)
    counts = {
        name: sum((held.get("status") or {}).get(name, 0) for held in every)
        for name in ("replicas", "readyReplicas", "availableReplicas")
    }
    counts["updatedReplicas"] = (new or {}).get("status", {}).get("replicas", 0)
    wanted = sum(_replicas(held["spec"]) for held in every)
    counts["unavailableReplicas"] = max(0, wanted - counts["availableReplicas"])
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    status |= {name: count for name, count in counts.items() if count}
    if collisions := (deployment.get("status") or {}).get("collisionCount"):
        status["collisionCount"] = collisions
    least = replicas - limits(spec.get("strategy") or {}, replicas).unavailable
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        least = replicas
    if counts["availableReplicas"] >= least:
        available = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        available = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    complete = (
        new is not None
        and counts["updatedReplicas"] == replicas
        and counts["replicas"] == replicas
        and counts["availableReplicas"] == replicas
    )
    before = deployment.get("status") or {}
    moved = any(before.get(name, 0) != counts[name] for name in counts if name != "unavailableReplicas")
    old = condition(deployment, "Progressing")
    progressing, again_s = _progress(deployment, new, old, complete=complete, moved=moved, now=now)
    conditions = [
        _transition(condition(deployment, "Available"), "Available", available, now, renewed=False),
        _transition(old, "Progressing", progressing, now, renewed=moved and not complete),
    ]
    failures = [condition(held, "ReplicaFailure") for held in every]
    if failure := next((found for found in failures if found.get("status") == "True"), None):
        told = ("True", failure.get("reason", ""), failure.get("message", ""))
        conditions.append(
            _transition(condition(deployment, "ReplicaFailure"), "ReplicaFailure", told, now, renewed=False)
        )
    status["conditions"] = conditions
    return status, again_s


def _progress(
    deployment: Object, new: Object | None, old: Object, *, complete: bool, moved: bool, now: Any
) -> tuple[tuple[str, str, str], float | None]:
    if new is None:
        return ("Unknown", "DeploymentPaused", "Deployment is paused"), None
    name = new["metadata"]["name"]
    if complete:
        return ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'), None
    going = ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
    if old.get("reason") == "ProgressDeadlineExceeded" and name in old.get("message", "") and not moved:
        return ("False", old["reason"], old["message"]), None
    if not old or name not in old.get("message", ""):
        going = ("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    deadline_s = deployment["spec"].get("progressDeadlineSeconds", 600)
    if moved or not old.get("lastUpdateTime") or going[1] == "NewReplicaSetCreated":
        return going, float(deadline_s)
    if old.get("reason") == "NewReplicaSetAvailable":
        # It was complete and lost replicas since: not a rollout, so no deadline.
        return ("True", old["reason"], old["message"]), None
    waited_s = (now - parse_timestamp(old["lastUpdateTime"])).total_seconds()
    if waited_s > deadline_s:
        return ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'), None
    return (old.get("status", "True"), old["reason"], old["message"]), deadline_s - waited_s + 1


def _transition(old: Object, kind: str, told: tuple[str, str, str], now: Any, *, renewed: bool) -> Object:
    state, reason, message = told
    same = old.get("status") == state
    untouched = same and old.get("reason") == reason and old.get("message") == message and not renewed
    return {
        "type": kind,
        "status": state,
        "reason": reason,
        "message": message,
        "lastUpdateTime": old["lastUpdateTime"] if untouched else timestamp(now),
        "lastTransitionTime": old["lastTransitionTime"] if same else timestamp(now),
    }


def _replicas(spec: Object) -> int:
    return int(spec.get("replicas", 1))


def _revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def _annotations(deployment: Object) -> dict[str, str]:
    skipped = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)
    held = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in held.items() if key not in skipped}


def _scale_of(replica_set: Object) -> Scale:
    status = replica_set.get("status") or {}
    return Scale(
        name=replica_set["metadata"]["name"],
        wanted=_replicas(replica_set["spec"]),
        available=status.get("availableReplicas", 0),
        existing=status.get("replicas", 0),
    )
