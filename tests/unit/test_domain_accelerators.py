"""What there is of a class: which nodes count, and what of them."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.kinds import Resource, parse
from insource.domain.accelerators import Node, counts_of, node_of, plan_class

NOW = "2026-01-01T00:00:00Z"
GPU = "nvidia.com/gpu"
L4 = {"nvidia.com/gpu.product": "NVIDIA-L4"}
READY = {"type": "Ready", "status": "True", "reason": "Valid", "message": "it fits its kind"}


def class_(status: Any = None, **spec: Any) -> Resource[AcceleratorClassSpec]:
    metadata = {"name": "l4", "uid": "u", "generation": 3}
    obj = {"kind": "AcceleratorClass", "metadata": metadata, "spec": {"pricePerHour": "1", **spec}, "status": status}
    return parse(obj, AcceleratorClassSpec)


def node(gpus: str | None = "8", *taints: tuple[str, str, str], labels: Any = L4, **spec: Any) -> Node:
    rendered = [{"key": key, "value": value, "effect": effect} for key, value, effect in taints]
    allocatable = {"cpu": "64", "memory": "512Gi", "pods": "200", **({GPU: gpus} if gpus is not None else {})}
    return node_of(
        {
            "metadata": {"name": "n", "labels": labels},
            "spec": {"taints": rendered, **spec},
            "status": {"allocatable": allocatable},
        }
    )


TOLERANT = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
CORDONED = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


@pytest.mark.parametrize(
    ("nodes", "counts"),
    [
        pytest.param([], (0, 0), id="none"),
        pytest.param([node(), node("4")], (2, 12), id="two"),
        pytest.param([node("1k")], (1, 1000), id="as Kubernetes writes a thousand"),
        pytest.param([node(labels={}), node(labels={"nvidia.com/gpu.product": "NVIDIA-H100"})], (0, 0), id="others"),
        pytest.param([node(None), node("0")], (0, 0), id="without the resource"),
        pytest.param([node("8", (GPU, "", "NoSchedule"))], (1, 8), id="a taint that is tolerated"),
        pytest.param([node("8", (GPU, "", "NoExecute"))], (0, 0), id="of another effect"),
        pytest.param([node("8", ("spot", "", "PreferNoSchedule"))], (1, 8), id="one that only discourages"),
        pytest.param([node("8", (GPU, "", "NoSchedule"), CORDONED)], (0, 0), id="cordoned"),
        pytest.param([node(unschedulable=True)], (0, 0), id="cordoned a moment ago"),
        pytest.param([node("8", ("node.kubernetes.io/not-ready", "", "NoSchedule"))], (0, 0), id="not ready"),
    ],
)
def test_nodes_of_an_extended_resource(nodes: list[Node], counts: tuple[int, int]) -> None:
    found = counts_of(class_(resourceName=GPU, nodeSelector=L4, tolerations=TOLERANT).spec, nodes, 5)
    assert found == {"nodes": counts[0], "allocatable": counts[1], "allocated": 5}


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "pool", "operator": "Exists"}, True),
        ({"key": "pool", "value": "speech"}, True),
        ({"key": "pool", "value": "images"}, False),
        ({"key": "pool"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations_as_the_scheduler_reads_them(toleration: Any, tolerates: bool) -> None:
    tainted = node("8", ("pool", "speech", "NoSchedule"))
    found = counts_of(class_(resourceName=GPU, tolerations=[toleration]).spec, [tainted], 0)
    assert found["nodes"] == int(tolerates)


@pytest.mark.parametrize("spec", [{}, {"resourceClaimTemplate": "one-l4"}], ids=["cpu", "claims"])
def test_what_is_in_no_node_is_not_guessed(spec: Any) -> None:
    assert counts_of(class_(nodeSelector=L4, **spec).spec, [node(None), node(None, labels={})], 2) == {
        "nodes": 1,
        "allocated": 2,
    }


COUNTS = {"nodes": 1, "allocatable": 8, "allocated": 2}
TOLD = {"observedGeneration": 3, **COUNTS}


def test_a_status_is_written_when_it_says_something_new() -> None:
    assert plan_class(class_(), COUNTS, NOW).status == TOLD
    assert plan_class(class_(status=TOLD), COUNTS, NOW).status is None
    assert plan_class(class_(status={**TOLD, "observedGeneration": 2}), COUNTS, NOW).status == TOLD
    assert plan_class(class_(status=TOLD), {**COUNTS, "nodes": 2}, NOW).status == {**TOLD, "nodes": 2}


def test_a_count_that_is_no_more_goes() -> None:
    without = {"nodes": 1, "allocated": 2}
    assert plan_class(class_(status=TOLD), without, NOW).status == {"observedGeneration": 3, **without}


def test_who_may_not_look_at_nodes_says_nothing_of_them() -> None:
    assert plan_class(class_(), None, NOW).status is None
    assert plan_class(class_(status=TOLD), None, NOW).status == {}
    kept = {"observedGeneration": 3, "conditions": [READY]}
    assert plan_class(class_(status={**kept, **COUNTS}), None, NOW).status == kept
    assert plan_class(class_(status=kept), None, NOW).status is None


def test_what_was_said_against_it_is_taken_back_in_the_same_write() -> None:
    stalled = {"observedGeneration": 2, "conditions": [{"type": "Stalled", "status": "True", "reason": "InvalidSpec"}]}
    plan = plan_class(class_(status=stalled), COUNTS, NOW)
    assert plan.status is not None
    assert {key: value for key, value in plan.status.items() if key != "conditions"} == TOLD
    assert [(each["type"], each["status"]) for each in plan.status["conditions"]] == [("Ready", "True")]
    again = plan_class(class_(status=plan.status), COUNTS, NOW)
    assert again.status is None
