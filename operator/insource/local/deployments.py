"""Deployments: keeps their ReplicaSets. The arithmetic is in `rollouts`, the status in `deployment_status`.

Pods belong to `replica_sets`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence

from insource.env import Env
from insource.env.ids import NAME_ALPHABET
from insource.local.control_loop import Key
from insource.local.deployment_status import deployment_status
from insource.local.object_events import EventRecorder
from insource.local.objects import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    Object,
    controller_name,
    controller_uid,
    is_over,
    is_terminating,
    owner_reference,
)
from insource.local.rollouts import Scale, limits, recreate_scales, rolling_scales
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
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
        created = False
        if spec.get("paused"):
            if new is not None:
                self._keep_annotations(deployment, new, old)
            self._scale_paused(deployment, new, old)
            self._forget_old(spec, old)
        else:
            if new is None:
                new, created = self._create(deployment, hashed, old), True
            else:
                self._keep_annotations(deployment, new, old)
            self._scale(deployment, new, old)
            self._forget_old(spec, old)
        if new is not None:
            new = self._store.find(REPLICA_SETS, key[0], new["metadata"]["name"])
        return self._write_status(deployment, new, old, created=created)

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
                "annotations": _annotations(deployment)
                | _size_annotations(spec)
                | {REVISION: str(1 + max(map(_revision, old), default=0))},
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

    def _keep_annotations(self, deployment: Object, new: Object, old: Sequence[Object]) -> None:
        """The Deployment's annotations, and the newest revision: also of a template that comes back (a rollback)."""
        held = new["metadata"].get("annotations") or {}
        wanted = _annotations(deployment)
        newest = max(map(_revision, old), default=0)
        if _revision(new) <= newest:
            before = [each for each in held.get(HISTORY, "").split(",") if each]
            wanted |= {REVISION: str(newest + 1), HISTORY: ",".join([*before, str(_revision(new))])}
        patch: Object = {}
        if any(held.get(key) != value for key, value in wanted.items()):
            patch["metadata"] = {"annotations": wanted}
        if new["spec"].get("minReadySeconds", 0) != deployment["spec"].get("minReadySeconds", 0):
            patch["spec"] = {"minReadySeconds": deployment["spec"].get("minReadySeconds", 0)}
        if patch:
            self._patch(new, patch)

    def _scale(self, deployment: Object, new: Object, old: Sequence[Object]) -> None:
        """One step: the new ReplicaSet, or if it is as it should be, the old ones. The change wakes us for the next."""
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
        if not self._scale_to(deployment, new, wanted[new["metadata"]["name"]]):
            for held in old:
                self._scale_to(deployment, held, wanted[held["metadata"]["name"]])

    def _scale_paused(self, deployment: Object, new: Object | None, old: Sequence[Object]) -> None:
        """What has pods, or would have them, follows the Deployment's size; nothing is rolled out."""
        active = [held for held in (new, *old) if held is not None and _replicas(held["spec"])]
        latest = new if new is not None else max(old, key=_revision, default=None)
        if len(active) <= 1 and latest is not None:
            self._scale_to(deployment, (active or [latest])[0], _replicas(deployment["spec"]))

    def _scale_to(self, deployment: Object, replica_set: Object, wanted: int) -> bool:
        """Whether there was anything to do."""
        sizes = _size_annotations(deployment["spec"])
        held = replica_set["metadata"].get("annotations") or {}
        before = _replicas(replica_set["spec"])
        if before == wanted:
            if wanted and any(held.get(key) != value for key, value in sizes.items()):
                self._patch(replica_set, {"metadata": {"annotations": sizes}})
            return False
        self._patch(replica_set, {"metadata": {"annotations": sizes}, "spec": {"replicas": wanted}})
        way = "up" if wanted > before else "down"
        said = f"Scaled {way} replica set {replica_set['metadata']['name']} from {before} to {wanted}"
        self._events.record(deployment, "ScalingReplicaSet", said)
        return True

    def _patch(self, replica_set: Object, patch: Object) -> None:
        metadata = replica_set["metadata"]
        self._store.patch(REPLICA_SETS, metadata["namespace"], metadata["name"], patch, "merge", field_manager=MANAGER)

    def _forget_old(self, spec: Object, old: Sequence[Object]) -> None:
        kept = spec.get("revisionHistoryLimit", 10)
        idle = [held for held in old if not _replicas(held["spec"]) and not (held.get("status") or {}).get("replicas")]
        idle.sort(key=_revision)
        for held in idle[: max(0, len(idle) - kept)]:
            self._store.delete(REPLICA_SETS, held["metadata"]["namespace"], held["metadata"]["name"])

    def _write_status(
        self, deployment: Object, new: Object | None, old: Sequence[Object], *, created: bool
    ) -> float | None:
        metadata = deployment["metadata"]
        present = self._store.get(DEPLOYMENTS, metadata["namespace"], metadata["name"])
        revision = str(_revision(new)) if new is not None else ""
        new_revision = bool(revision) and revision != (metadata.get("annotations") or {}).get(REVISION)
        if new_revision:
            annotations = {**(present["metadata"].get("annotations") or {}), REVISION: revision}
            present = {**present, "metadata": {**present["metadata"], "annotations": annotations}}
        every = [held for held in (new, *old) if held is not None]
        status, again_s = deployment_status(present, new, every, self._env.clock.now(), created=created)
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


def _replicas(spec: Object) -> int:
    return int(spec.get("replicas", 1))


def _revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def _annotations(deployment: Object) -> dict[str, str]:
    skipped = ("kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MOST)
    held = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in held.items() if key not in skipped}


def _size_annotations(spec: Object) -> dict[str, str]:
    """What a ReplicaSet is told of its Deployment's size."""
    replicas, strategy = _replicas(spec), spec.get("strategy") or {}
    surge = 0 if strategy.get("type") == "Recreate" else limits(strategy, replicas).surge
    return {DESIRED: str(replicas), MOST: str(replicas + surge)}


def _scale_of(replica_set: Object) -> Scale:
    status = replica_set.get("status") or {}
    return Scale(
        name=replica_set["metadata"]["name"],
        wanted=_replicas(replica_set["spec"]),
        available=status.get("availableReplicas", 0),
        existing=status.get("replicas", 0),
    )
