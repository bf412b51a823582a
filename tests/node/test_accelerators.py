"""An AcceleratorClass on a real node with a label, a taint and an extended resource: the pods that it makes are placed
by a real scheduler, started by a real kubelet, and answer. The GPUs are numbers: the model runs on the processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.node.kubectl import is_true, until
from tests.node.node import Node
from tests.node.release import SHORT, VOICE, Release, deployment

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

RESOURCE = "nvidia.com/gpu"
LABEL = {"nvidia.com/gpu.product": "Tests"}
GPUS = 2
Object = dict[str, Any]


def accelerator_class(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "AcceleratorClass",
        "metadata": {"name": name},
        "spec": {"resourceName": RESOURCE, "nodeSelector": LABEL, "pricePerHour": "1", **spec},
    }


def wants(name: str, class_: str, count: int) -> Object:
    found = deployment(name)
    found["spec"]["backends"][0]["inHouse"]["accelerator"] = {"class": class_, "count": count}
    return found


def condition(release: Release, name: str, type_: str) -> Object:
    found = release.kubectl.json("get", "modeldeployment", name, "-n", VOICE).get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == type_), {})


def waits(release: Release, name: str, start: str, words: str) -> None:
    """Until Schedulable is False in the scheduler's words."""

    told: Object = {}

    def is_told() -> bool:
        told.update(condition(release, name, "Schedulable"))
        state, message = (told.get("status"), told.get("reason")), told.get("message", "")
        return state == ("False", "Unschedulable") and message.startswith(start) and words in message

    try:
        until(is_told, f"{name} is not schedulable: {start} ... {words}")
    except AssertionError as error:
        error.add_note(f"told: {told}")
        raise


def pods_of(release: Release, name: str) -> list[Object]:
    return release.kubectl.pods(VOICE, f"insource.dev/deployment={name}")


def one_pod(release: Release, name: str) -> Object:
    (pod,) = pods_of(release, name)
    return pod


@pytest.fixture(scope="module")
def gpus(installed: Release, node: Node) -> Iterator[Release]:
    """The release, small, on a node that has GPUs and keeps other pods away. It has no label yet."""
    kubectl, name = installed.kubectl, node.places.name
    installed.install("operator.replicas=1", "gateway.replicas=1")
    toleration = {"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
    node.set_gpus(GPUS)
    kubectl("taint", "node", name, f"{RESOURCE}=present:NoSchedule")
    try:
        kubectl.apply(accelerator_class("node-gpu", tolerations=[toleration]), accelerator_class("node-gpu-intolerant"))
        yield installed
    finally:
        kubectl("taint", "node", name, f"{RESOURCE}:NoSchedule-")
        kubectl("label", "node", name, *(f"{key}-" for key in LABEL))
        node.set_gpus(0)


def test_selector_taint_and_count_each_hold_a_replica_and_each_can_be_lifted(gpus: Release, node: Node) -> None:
    kubectl, name = gpus.kubectl, node.places.name
    one, two = (f'class "node-gpu" ({n} nvidia.com/gpu a replica): 0/1 nodes are available: 1 ' for n in (1, 2))

    kubectl.apply(wants("first", "node-gpu", 1))
    waits(gpus, "first", one, "node(s) didn't match Pod's node affinity/selector")
    kubectl("label", "node", name, *(f"{key}={value}" for key, value in LABEL.items()))
    gpus.wait_ready("first")
    assert condition(gpus, "first", "Schedulable")["status"] == "True"
    pod = one_pod(gpus, "first")
    assert pod["spec"]["nodeName"] == name
    assert pod["spec"]["nodeSelector"].items() >= LABEL.items()
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    limits = {each["name"]: each["resources"].get("limits", {}).get(RESOURCE) for each in every}
    assert {name for name, count in limits.items() if count} == {"server"}, limits
    assert limits["server"] == "1"
    assert gpus.transcribe(SHORT, "first")[0]

    kubectl.apply(wants("intolerant", "node-gpu-intolerant", 1))
    waits(gpus, "intolerant", 'class "node-gpu-intolerant" (1 nvidia.com/gpu a replica): ', "untolerated taint")
    kubectl("delete", "modeldeployment", "intolerant", "-n", VOICE, "--timeout=120s")

    kubectl.apply(wants("second", "node-gpu", 2))
    waits(gpus, "second", two, "Insufficient nvidia.com/gpu")
    assert not is_true(kubectl.json("get", "modeldeployment", "second", "-n", VOICE), "Ready")
    assert is_true(kubectl.json("get", "modeldeployment", "first", "-n", VOICE), "Ready")
    assert gpus.transcribe(SHORT, "first")[0], "what serves goes on"
    assert one_pod(gpus, "first")["metadata"]["uid"] == pod["metadata"]["uid"]

    kubectl("delete", "modeldeployment", "first", "-n", VOICE, "--timeout=120s")
    gpus.wait_ready("second")
    assert condition(gpus, "second", "Schedulable")["status"] == "True"
    assert gpus.transcribe(SHORT, "second")[0]


def test_a_second_replica_waits_for_a_gpu_while_the_first_serves(gpus: Release, node: Node) -> None:
    kubectl, name = gpus.kubectl, node.places.name
    kubectl("label", "node", name, *(f"{key}={value}" for key, value in LABEL.items()), "--overwrite")
    kubectl("delete", "modeldeployment", "--all", "-n", VOICE, "--timeout=120s")
    until(lambda: not kubectl.json("get", "pods", "-n", VOICE)["items"], "the last test's pods are gone")
    node.set_gpus(1)
    wanted = wants("scaled", "node-gpu", 1)
    kubectl.apply(wanted)
    gpus.wait_ready("scaled")
    kubectl.apply({**wanted, "spec": {**wanted["spec"], "replicas": 2}})
    waits(gpus, "scaled", 'class "node-gpu" (1 nvidia.com/gpu a replica): 0/1 nodes', "Insufficient nvidia.com/gpu")
    assert is_true(kubectl.json("get", "modeldeployment", "scaled", "-n", VOICE), "Ready")
    assert gpus.transcribe(SHORT, "scaled")[0]
    node.set_gpus(GPUS)
    until(lambda: condition(gpus, "scaled", "Schedulable")["status"] == "True", "a GPU was added: both have one")
    until(lambda: len(kubectl.ready_pods(VOICE, "insource.dev/deployment=scaled")) == 2, "two replicas")
