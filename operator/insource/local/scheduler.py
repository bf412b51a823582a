"""The scheduler: gives each pod a node that has what it asks for, or says in kubectl's words why none has.

`place` is pure. Honoured: nodeSelector, required node affinity (matchExpressions), taints and tolerations, requests of
cpu, memory, pods and extended resources, claims that must be there. Preferences of any kind are not; required pod
(anti-)affinity and topology spread that forbids are refused with a message rather than ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from insource.env import Env
from insource.local.control_loop import Key
from insource.local.object_events import SeriesRecorder
from insource.local.objects import (
    CLAIMS,
    NODES,
    PODS,
    Object,
    condition,
    is_over,
    is_terminating,
    matches,
    matches_expression,
    timestamp,
)
from insource.local.quantities import parse_quantity
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

NAME = "default-scheduler"


class Scheduler:
    """Pods without a node -> pods with one."""

    name = "scheduler"

    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._events = SeriesRecorder(store, env.clock, NAME, NAME)
        self._free_marks: dict[str, tuple[Any, ...]] = {}

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        """A waiting pod; and every waiting pod when a node changes what it offers, a pod ends, or a claim is there."""
        if kind.ref == PODS:
            if _waits(held):
                yield held["metadata"]["namespace"], held["metadata"]["name"]
            elif is_over(held) or is_terminating(held):
                yield from self._waiting()
        elif kind.ref == CLAIMS:
            yield from (key for key in self._waiting() if key[0] == held["metadata"]["namespace"])
        elif kind.ref == NODES:
            # Note: heartbeats change nothing here; without this check each one would look at every waiting pod.
            mark = (held["spec"], held["metadata"].get("labels"), (held.get("status") or {}).get("allocatable"))
            name = held["metadata"]["name"]
            if self._free_marks.get(name) != mark:
                self._free_marks[name] = mark
                yield from self._waiting()

    def _waiting(self) -> list[Key]:
        return [
            (pod["metadata"]["namespace"], pod["metadata"]["name"])
            for pod in self._store.list(PODS).items
            if _waits(pod)
        ]

    def reconcile(self, key: Key) -> float | None:
        pod = self._store.find(PODS, *key)
        if pod is None or not _waits(pod):
            return None
        nodes = self._store.list(NODES).items
        others = [held for held in self._store.list(PODS).items if held["spec"].get("nodeName") and not is_over(held)]
        node, message = place(pod, nodes, others)
        missing = self._missing_claim(pod)
        if missing and nodes:
            said = f'persistentvolumeclaim "{missing}" not found. not found'
            node, message = "", f"0/{len(nodes)} nodes are available: {said}"
        if node:
            self._bind(pod, node)
        else:
            self._refuse(pod, message)
        return None

    def _missing_claim(self, pod: Object) -> str:
        """The first claim of the pod's volumes that is not there; empty: none."""
        volumes = (volume.get("persistentVolumeClaim") for volume in pod["spec"].get("volumes") or ())
        names = [str(claim["claimName"]) for claim in volumes if claim]
        namespace = pod["metadata"]["namespace"]
        return next((name for name in names if self._store.find(CLAIMS, namespace, name) is None), "")

    def _bind(self, pod: Object, node: str) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        bound = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        bound = self._store.update(PODS, namespace, name, bound, field_manager=NAME)
        told = self._condition(pod, "True", "", "")
        self._write_condition(bound, told)
        self._events.record(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}", action="Binding")

    def _refuse(self, pod: Object, message: str) -> None:
        old = condition(pod, "PodScheduled")
        if old.get("status") == "False" and old.get("message") == message:
            return
        self._write_condition(pod, self._condition(pod, "False", "Unschedulable", message))
        self._events.record(pod, "FailedScheduling", message, "Warning", action="Scheduling")

    def _condition(self, pod: Object, state: str, reason: str, message: str) -> Object:
        old = condition(pod, "PodScheduled")
        now = timestamp(self._env.clock.now())
        told: Object = {
            "type": "PodScheduled",
            "status": state,
            "observedGeneration": pod["metadata"].get("generation", 1),
            "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == state else now,
        }
        return told | ({"reason": reason, "message": message} if reason else {})

    def _write_condition(self, pod: Object, told: Object) -> None:
        status = dict(pod.get("status") or {})
        held = list(status.get("conditions") or ())
        place = next((i for i, each in enumerate(held) if each["type"] == told["type"]), len(held))
        status |= {"phase": status.get("phase") or "Pending", "conditions": [*held[:place], told, *held[place + 1 :]]}
        metadata = pod["metadata"]
        self._store.update(
            PODS,
            metadata["namespace"],
            metadata["name"],
            {**pod, "status": status},
            subresource="status",
            field_manager=NAME,
        )


def _waits(pod: Object) -> bool:
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not is_terminating(pod)
        and not is_over(pod)
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", NAME) == NAME
    )


def place(pod: Object, nodes: Sequence[Object], others: Sequence[Object]) -> tuple[str, str]:
    """(node name, "") or ("", why not). Of several that fit: the one with the fewest pods, then the first by name.

    `others` are the pods that hold a node at present.
    """
    if unsupported := _unsupported(pod["spec"]):
        return "", f"0/{len(nodes)} nodes are available: the embedded scheduler does not support {unsupported}."
    wanted = requests(pod)
    fitting: list[tuple[int, str]] = []
    reasons: Counter[str] = Counter()
    for node in nodes:
        held = [other for other in others if other["spec"]["nodeName"] == node["metadata"]["name"]]
        why = _why_not(pod["spec"], wanted, node, held)
        if why:
            reasons.update(why)
        else:
            fitting.append((len(held), node["metadata"]["name"]))
    if fitting:
        return min(fitting)[1], ""
    told = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    if not nodes:
        return "", "no nodes available to schedule pods"
    return "", f"0/{len(nodes)} nodes are available: {told}."


def _unsupported(spec: Object) -> str:
    affinity = spec.get("affinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for kind in ("podAffinity", "podAntiAffinity"):
        if (affinity.get(kind) or {}).get(required):
            return f"required {kind}"
    if any(c.get("whenUnsatisfiable") == "DoNotSchedule" for c in spec.get("topologySpreadConstraints") or ()):
        return "topologySpreadConstraints with DoNotSchedule"
    return "resourceClaims" if spec.get("resourceClaims") else ""


def _why_not(spec: Object, wanted: Mapping[str, Decimal], node: Object, held: Sequence[Object]) -> list[str]:
    node_spec, labels = node.get("spec") or {}, node["metadata"].get("labels") or {}
    if taint := untolerated(node_spec, spec.get("tolerations") or ()):
        value = f": {taint['value']}" if taint.get("value") else ": "
        return [f"node(s) had untolerated taint {{{taint['key']}{value}}}"]
    if node_spec.get("unschedulable"):
        return ["node(s) were unschedulable"]
    if not matches(spec.get("nodeSelector") or {}, labels) or not _affine(spec, node, labels):
        return ["node(s) didn't match Pod's node affinity/selector"]
    status = node.get("status") or {}
    offered = status.get("allocatable") or status.get("capacity") or {}
    used: Counter[str] = Counter()
    for other in held:
        for name, amount in requests(other).items():
            used[name] += amount  # type: ignore[assignment]
    why = []
    for name, amount in wanted.items():
        if amount and amount + used[name] > parse_quantity(str(offered.get(name, "0"))):
            why.append("Too many pods" if name == "pods" else f"Insufficient {name}")
    return why


def untolerated(node_spec: Object, tolerations: Sequence[Object]) -> Object | None:
    """The first taint that keeps the pod off, or None."""
    for taint in node_spec.get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not any(_tolerates(t, taint) for t in tolerations):
            return dict(taint)
    return None


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def _affine(spec: Object, node: Object, labels: Mapping[str, str]) -> bool:
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not required:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(matches_expression(expression, labels) for expression in term.get("matchExpressions") or ())
        and all(matches_expression(expression, fields) for expression in term.get("matchFields") or ())
        and bool(term.get("matchExpressions") or term.get("matchFields"))
        for term in required["nodeSelectorTerms"]
    )


def requests(pod: Object) -> dict[str, Decimal]:
    """What a pod takes of a node: main containers and sidecars together, or its largest init container if more."""
    spec = pod["spec"]
    lasting: Counter[str] = Counter({"pods": 1})
    peak: dict[str, Decimal] = {}
    sidecars: Counter[str] = Counter()
    for container in spec.get("initContainers") or ():
        amounts = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars.update(amounts)
            lasting.update(amounts)
        else:
            for name, amount in amounts.items():
                peak[name] = max(peak.get(name, Decimal(0)), amount + sidecars[name])
    for container in spec["containers"]:
        lasting.update(_container_requests(container))
    return {name: max(Decimal(lasting[name]), peak.get(name, Decimal(0))) for name in {*lasting, *peak}}


def _container_requests(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    # A limit without a request is a request, as the API's defaulting has it.
    held = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse_quantity(str(amount)) for name, amount in held.items()}
