"""What there is of an AcceleratorClass, from the cluster's nodes, and how much of it our own pods have. Pure.

Nodes are counted as the scheduler sees them: by the class's `nodeSelector`, by taints that its `tolerations` do not
tolerate (so a cordoned node, or one that is not ready, is none), and by whether they have the resource at all. What
other people's pods have is not known here: the operator looks at its own pods only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.kinds import Resource
from insource.api.toleration import Toleration
from insource.domain.misfits import plan_mended
from insource.domain.snapshot import NO_PLAN, NOTHING, Plan

COUNTED = ("nodes", "allocatable", "allocated")
"""Fields of the status that are counts."""
_KEEP_PODS_AWAY = frozenset({"NoSchedule", "NoExecute"})
_SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Taint:
    """One that keeps pods away."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Node:
    """What matters of one node: `node_of` makes one."""

    labels: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    resources: Mapping[str, int] = field(default_factory=dict)
    """Extended resources that pods may have."""


def node_of(obj: Mapping[str, Any]) -> Node:
    """The projection of a live node."""
    spec, status = obj.get("spec") or NOTHING, obj.get("status") or NOTHING
    taints = [
        Taint(item["key"], item.get("value") or "", item["effect"])
        for item in spec.get("taints") or ()
        if item["effect"] in _KEEP_PODS_AWAY
    ]
    if spec.get("unschedulable") and not any(taint.key == "node.kubernetes.io/unschedulable" for taint in taints):
        # The taint is a controller's, and comes a moment later.
        taints.append(Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"))
    allocatable: Mapping[str, str] = status.get("allocatable") or NOTHING
    return Node(
        labels=obj["metadata"].get("labels") or NOTHING,
        taints=tuple(taints),
        resources={name: _whole(amount) for name, amount in allocatable.items() if "/" in name},
    )


def counts_of(class_: AcceleratorClassSpec, nodes: Iterable[Node], allocated: int) -> dict[str, int]:
    """The counts of a class's status; `allocated` as our own pods have it.

    `allocatable` is there only for an extended resource: the CPU is not counted in accelerators, and what stands behind
    a resource claim is not in a node.
    """
    found = [node for node in nodes if _may_run(class_, node)]
    name = class_.resource_name
    allocatable = {"allocatable": sum(node.resources[name] for node in found)} if name else {}
    return {"nodes": len(found), **allocatable, "allocated": allocated}


def plan_class(class_: Resource[AcceleratorClassSpec], counts: Mapping[str, int] | None, now: str) -> Plan:
    """What to tell of a class that fits. `counts` is None where nodes are not looked at: then its status has none."""
    mended = plan_mended(class_, now)
    if class_.deleting:
        return NO_PLAN
    before = mended.status or class_.status
    status = {key: value for key, value in before.items() if key not in COUNTED}
    if counts is not None:
        status = {**status, "observedGeneration": class_.generation, **counts}
    elif not status.get("conditions"):
        status = {}
    if status == class_.status:
        return NO_PLAN
    return Plan(status=status, events=mended.events)


def _may_run(class_: AcceleratorClassSpec, node: Node) -> bool:
    if class_.resource_name and not node.resources.get(class_.resource_name):
        return False
    if any(node.labels.get(key) != value for key, value in class_.node_selector.items()):
        return False
    return all(any(_tolerates(item, taint) for item in class_.tolerations) for taint in node.taints)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or (bool(toleration.key) and toleration.value == taint.value)


def _whole(amount: str) -> int:
    """An extended resource's amount, which is a whole number: `8`, or `2k`."""
    number, factor = (amount[:-1], _SUFFIXES[amount[-1]]) if amount[-1:] in _SUFFIXES else (amount, 1)
    return int(number) * factor if number.isdecimal() else 0
