"""ReplicaSets: keeps as many pods as each one wants, and counts them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from insource.env import Env
from insource.local.control_loop import Key
from insource.local.object_events import EventRecorder
from insource.local.objects import (
    PODS,
    REPLICA_SETS,
    Object,
    condition,
    controller_name,
    controller_uid,
    is_over,
    is_ready,
    is_terminating,
    matches_label_selector,
    owner_reference,
    parse_timestamp,
    timestamp,
)
from insource.local.store import ApiError, Store
from insource.local.store_kinds import ResourceKind

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
MANAGER = "kube-controller-manager"
RETRY_S = 5.0


class ReplicaSetController:
    """ReplicaSet -> pods."""

    name = "replicaset"

    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._events = EventRecorder(store, env.clock, "replicaset-controller")

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        metadata = held["metadata"]
        if kind.ref == REPLICA_SETS:
            yield metadata["namespace"], metadata["name"]
        elif kind.ref == PODS and (owner := controller_name(held, "ReplicaSet")):
            yield metadata["namespace"], owner

    def reconcile(self, key: Key) -> float | None:
        replica_set = self._store.find(REPLICA_SETS, *key)
        if replica_set is None or is_terminating(replica_set):
            return None
        wanted = int(replica_set["spec"].get("replicas", 1))
        active = self._active_pods(replica_set)
        failure = ""
        if len(active) < wanted:
            failure = self._create(replica_set, wanted - len(active))
        elif len(active) > wanted:
            for pod in sorted(active, key=deletion_rank)[: len(active) - wanted]:
                self._store.delete(PODS, key[0], pod["metadata"]["name"])
                name = pod["metadata"]["name"]
                self._events.record(replica_set, "SuccessfulDelete", f"Deleted pod: {name}")
        again_s = self._write_status(replica_set, failure)
        return RETRY_S if failure else again_s

    def _pods(self, replica_set: Object) -> list[Object]:
        uid = replica_set["metadata"]["uid"]
        return [pod for pod in self._store.owned_by(uid) if pod["kind"] == "Pod" and controller_uid(pod) == uid]

    def _active_pods(self, replica_set: Object) -> list[Object]:
        return [pod for pod in self._pods(replica_set) if not is_terminating(pod) and not is_over(pod)]

    def _create(self, replica_set: Object, count: int) -> str:
        """Create pods; answers why it could not, or an empty text."""
        metadata, template = replica_set["metadata"], replica_set["spec"]["template"]
        for _ in range(count):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    **copy.deepcopy(template.get("metadata") or {}),
                    "name": f"{metadata['name'][:57]}-{self._env.ids.suffix()}",
                    "generateName": f"{metadata['name']}-",
                    "namespace": metadata["namespace"],
                    "ownerReferences": [owner_reference(replica_set)],
                },
                "spec": copy.deepcopy(template["spec"]),
            }
            try:
                created = self._store.create(PODS, pod, metadata["namespace"], field_manager=MANAGER)
            except ApiError as error:
                self._events.record(replica_set, "FailedCreate", f"Error creating: {error.message}", "Warning")
                return error.message
            self._events.record(replica_set, "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")
        return ""

    def _write_status(self, replica_set: Object, failure: str) -> float | None:
        metadata = replica_set["metadata"]
        present = self._store.find(REPLICA_SETS, metadata["namespace"], metadata["name"])
        if present is None:
            return None
        now = self._env.clock.now()
        ending = sum(1 for pod in self._pods(present) if is_terminating(pod) and not is_over(pod))
        status, again_s = replica_set_status(present, self._active_pods(present), failure, now)
        status["terminatingReplicas"] = ending
        if status != present.get("status"):
            self._store.update(
                REPLICA_SETS,
                metadata["namespace"],
                metadata["name"],
                {**present, "status": status},
                subresource="status",
                field_manager=MANAGER,
            )
        return again_s


def deletion_rank(pod: Object) -> tuple[Any, ...]:
    """What goes first sorts first: unassigned, pending, not ready, cheap, recently ready, often restarted, young."""
    status = pod.get("status") or {}
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    ready = is_ready(pod)
    since = condition(pod, "Ready").get("lastTransitionTime", "") if ready else ""
    restarts = sum(container.get("restartCount", 0) for container in status.get("containerStatuses") or ())
    annotations = pod["metadata"].get("annotations") or {}
    return (
        bool(pod["spec"].get("nodeName")),
        phases.get(status.get("phase", "Pending"), 1),
        ready,
        _cost(annotations.get(DELETION_COST, "0")),
        _newest_first(since),
        -restarts,
        _newest_first(pod["metadata"].get("creationTimestamp", "")),
        pod["metadata"]["name"],
    )


def _cost(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _newest_first(text: str) -> float:
    return -parse_timestamp(text).timestamp() if text else 0.0


def replica_set_status(
    replica_set: Object, active: Sequence[Object], failure: str, now: datetime
) -> tuple[Object, float | None]:
    """The ReplicaSet's `status`, and in how many seconds the next pod becomes available, if any."""
    spec = replica_set["spec"]
    steady_s = spec.get("minReadySeconds", 0)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    ready = [pod for pod in active if is_ready(pod)]
    waits = [_until_available_s(pod, steady_s, now) for pod in ready]
    status: Object = {
        "replicas": len(active),
        "observedGeneration": replica_set["metadata"].get("generation", 1),
    }
    fully = [pod for pod in active if matches_label_selector({"matchLabels": labels}, pod["metadata"].get("labels"))]
    counts = {
        "fullyLabeledReplicas": len(fully),
        "readyReplicas": len(ready),
        "availableReplicas": sum(1 for wait_s in waits if wait_s <= 0),
    }
    status |= {name: count for name, count in counts.items() if count}
    if failure:
        old = condition(replica_set, "ReplicaFailure")
        status["conditions"] = [
            {
                "type": "ReplicaFailure",
                "status": "True",
                "reason": "FailedCreate",
                "message": failure,
                "lastTransitionTime": old.get("lastTransitionTime") or timestamp(now),
            }
        ]
    return status, min((wait_s for wait_s in waits if wait_s > 0), default=None)


def _until_available_s(pod: Object, steady_s: int, now: datetime) -> float:
    if not steady_s:
        return 0.0
    since = condition(pod, "Ready").get("lastTransitionTime")
    return steady_s - (now - parse_timestamp(since)).total_seconds() if since else 0.0
