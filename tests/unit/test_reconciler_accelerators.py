"""The counts of an AcceleratorClass follow nodes and pods, and cost a write only when they say something new."""

from __future__ import annotations

from typing import Any

from insource.api import meta
from insource.kube import resources
from insource.kube.resources import Key, Object
from tests.sim.edits import model_deployment
from tests.sim.world import OperatorProcess, World
from tests.unit.test_reconciler_catalogue import installed

L4 = "nvidia-l4"
GPU = "nvidia.com/gpu"


def node(name: str, gpus: str = "8", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "64", GPU: gpus}},
    }


def pod(name: str, count: int = 1, node_name: str = "n1", class_: str = L4) -> Object:
    """One of a replica's: as the operator's templates label it."""
    labels = {meta.LABEL_MANAGED_BY: meta.MANAGED_BY, meta.LABEL_DEPLOYMENT: "dictation", meta.LABEL_CLASS: class_}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "voice",
            "labels": labels,
            "annotations": {meta.ANNOTATION_COUNT: str(count)},
        },
        "spec": {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node_name} if node_name else {})},
    }


def counts(world: World, name: str = L4) -> tuple[int | None, int | None, int | None]:
    (found,) = [each for each in world.objects(resources.ACCELERATOR_CLASSES) if each["metadata"]["name"] == name]
    status = found.get("status") or {}
    return status.get("nodes"), status.get("allocatable"), status.get("allocated")


def writes(world: World) -> int:
    """Of statuses of classes, by this life of the operator."""
    return world.operator.controller.applier.writes["AcceleratorClass/status"]


async def test_counts_follow_nodes_and_pods() -> None:
    world = await installed()
    assert counts(world) == (0, 0, 0)
    world.put(node("n1"))
    world.put(node("n2", "4"))
    world.put(pod("a", 2))
    world.put(pod("waits", node_name=""))
    world.put(pod("other", class_="nvidia-h100"))
    await world.settle()
    assert counts(world) == (2, 12, 2)
    assert counts(world, "nvidia-h100") == (0, 0, 1)
    assert counts(world, "cpu") == (2, None, 0)

    world.put(node("n2", "4", taints=[{"key": "broken", "effect": "NoExecute"}]))
    world.store.patch(("", "pods"), "voice", "a", {"status": {"phase": "Failed"}}, "merge", subresource="status")
    await world.settle()
    assert counts(world) == (1, 8, 0)
    world.remove(resources.NODES, "n1")
    world.remove(resources.NODES, "n2")
    await world.settle()
    assert counts(world) == (0, 0, 0)


async def test_what_changes_no_count_costs_no_write() -> None:
    world = await installed()
    world.put(node("n1"))
    await world.settle()
    before = writes(world)
    heartbeat = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    world.store.patch(("", "nodes"), None, "n1", heartbeat, "merge", subresource="status")
    world.put(pod("waits", node_name=""))
    await world.settle()
    assert writes(world) == before
    await world.restart()
    await world.settle()
    assert writes(world) == 0


async def test_a_crowd_of_pods_is_one_write_and_no_work_for_who_uses_the_class() -> None:
    world = await installed()
    deployment = model_deployment("dictation")
    deployment["spec"]["backends"][0]["inHouse"] = {"model": "whisper-large-v3-turbo", "accelerator": {"class": L4}}
    world.put(deployment)
    world.put(node("n1"))
    await world.settle()
    before = writes(world)
    heard: list[str] = []
    world.operator.controller.subscribe(lambda work: heard.append(work.kind))
    for number in range(50):
        world.operator.controller.caches.pods.observe(_seen(pod(f"p-{number}"), number))
    while await world.operator.work():
        pass
    assert writes(world) == before, "a moment later, for all of them"
    world.clock.time += 2
    while await world.operator.work():
        pass
    assert counts(world) == (1, 8, 50)
    assert writes(world) == before + 1
    assert heard == ["catalogue"]


def _seen(obj: Object, number: int) -> Object:
    return {
        **obj,
        "metadata": {**obj["metadata"], "uid": obj["metadata"]["name"], "resourceVersion": f"{10**6 + number}"},
    }


async def test_an_edit_of_a_class_is_counted_anew_at_once() -> None:
    world = await installed()
    world.put(node("n1"))
    await world.settle()
    (class_,) = [
        each for each in world.objects(resources.ACCELERATOR_CLASSES) if each["metadata"]["name"] == "nvidia-h100"
    ]
    spec = {**class_["spec"], "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}
    world.store.update(("insource.dev", "acceleratorclasses"), None, "nvidia-h100", {**class_, "spec": spec})
    await world.settle()
    assert counts(world, "nvidia-h100") == (1, 8, 0)


async def test_who_looks_after_some_namespaces_only_counts_nothing_and_takes_counts_back() -> None:
    world = await installed()
    world.put(node("n1"))
    await world.settle()
    assert counts(world) == (1, 8, 0)
    world.operator.kill()
    world.operator = OperatorProcess(world, nodes=False)
    assert resources.NODES not in world.operator.informers
    await world.operator.start()
    await world.settle()
    assert counts(world) == (None, None, None)
    assert world.operator.controller.caches.classes.get(Key("", L4)) is not None
