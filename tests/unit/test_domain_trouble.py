"""Pods that cannot be placed or cannot run: said in the scheduler's, quota's and kubelet's own words."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api import conditions as c
from insource.domain.pod_troubles import Trouble
from insource.domain.snapshot import child_of, pod_of
from tests.unit.domain_world import World, spec

BACK_OFF = 'Back-off pulling image "a:1"'
PULL = 'container server: image "a:1" cannot be pulled: '
QUOTA = 'pods "x-7bq2p" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1'
UNSCHEDULED = {
    "conditions": [
        {"type": "Initialized", "status": "True"},
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        },
    ]
}


def pod(world: World, status: dict[str, Any]) -> dict[str, Any]:
    template = world.live["ReplicaSet", world.names("ReplicaSet")[0]]["spec"]["template"]
    return {"metadata": {"name": "p", "labels": template["metadata"]["labels"]}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"initContainerStatuses": [{"name": "server", "state": state, **more}]}


def test_an_unschedulable_pod_is_told_in_the_schedulers_words_with_the_class() -> None:
    world = World()
    world.settle()
    world.pods = [pod(world, UNSCHEDULED)]
    world.settle()
    told = world.condition(c.SCHEDULABLE)
    assert told["status"] == "False"
    assert told["message"] == 'class "cpu": 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.'
    assert world.condition(c.READY)["reason"] == "Unschedulable"
    assert world.says(c.RECONCILING) == "True"
    assert world.events == ["Warning Unschedulable"]
    world.pods = [pod(world, {"conditions": [{"type": "PodScheduled", "status": "True"}]})]
    world.settle()
    assert world.says(c.SCHEDULABLE) == "True", "told at once when it is over"
    world.ready(1)
    world.settle()
    assert world.is_ready()


def test_a_quota_is_told_in_its_own_words() -> None:
    world = World()
    world.settle()
    name = world.names("ReplicaSet")[0]
    failure = {"type": "ReplicaFailure", "status": "True", "message": QUOTA}
    world.live["ReplicaSet", name]["status"]["conditions"] = [{"type": "Progressing", "status": "True"}, failure]
    world.settle()
    told = world.condition(c.SCHEDULABLE)
    assert (told["status"], told["reason"]) == ("False", "QuotaExceeded")
    assert told["message"] == (
        'class "cpu": exceeded quota: gpus, requested: requests.nvidia.com/gpu=1; '
        "raise the quota of this namespace or free what it counts; Kubernetes tries again by itself"
    )
    assert world.says(c.RECONCILING) == "True", "a quota frees as a cluster does: it is waited for"


def test_one_replica_too_many_for_the_cluster_does_not_end_ready() -> None:
    world = World().serve()
    world.edit(spec(replicas=2))
    world.step()
    world.pods = [pod(world, UNSCHEDULED)]
    world.settle()
    assert world.is_ready()
    assert world.says(c.SCHEDULABLE) == "False"


def test_a_crash_loop_is_told_by_how_it_ended_and_costs_one_write() -> None:
    world = World()
    world.settle()
    ended = {"lastState": {"terminated": {"exitCode": 3, "message": "no such model file"}}}
    for seconds in (10, 20, 40):
        world.pods = [pod(world, waiting("CrashLoopBackOff", f"back-off {seconds}s restarting", **ended))]
        world.settle()
    assert world.condition(c.MODEL_LOADED)["message"] == "container server keeps failing: no such model file"
    assert world.condition(c.READY)["reason"] == "ReplicaFailing"
    assert world.status_writes == 2


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({}, ""),
        (waiting("PodInitializing"), ""),
        (waiting("ContainerCreating"), ""),
        (waiting(""), ""),
        ({"containerStatuses": [{"name": "adapter", "state": {"running": {}}}]}, ""),
        (waiting("ImagePullBackOff", "no such image", image="a:1"), f"{PULL}no such image"),
        (waiting("ErrImagePull", "no such image", image="a:1"), f"{PULL}no such image"),
        (waiting("ImagePullBackOff", f"{BACK_OFF}: ErrImagePull: no such image", image="a:1"), f"{PULL}no such image"),
        (waiting("ImagePullBackOff", BACK_OFF, image="a:1"), f"{PULL}ImagePullBackOff"),
        (waiting("InvalidImageName", image="a:1"), f"{PULL}InvalidImageName"),
        (waiting("CreateContainerConfigError"), "container server: CreateContainerConfigError"),
        (waiting("CrashLoopBackOff"), "container server keeps failing: exit code unknown"),
    ],
)
def test_reasons_for_waiting(status: dict[str, Any], trouble: str) -> None:
    assert pod_of({"metadata": {"name": "p"}, "status": status}).trouble.words == trouble


def test_a_scheduler_without_words() -> None:
    status = {"conditions": [{"type": "PodScheduled", "status": "False"}]}
    assert pod_of({"metadata": {"name": "p"}, "status": status}).unscheduled == Trouble(
        "Unschedulable", "not scheduled"
    )


@pytest.mark.parametrize(
    ("status", "of_deployment", "of_replica_set"),
    [
        ({}, 0, 0),
        ({"readyReplicas": 2, "observedGeneration": 4}, 0, 2),
        ({"readyReplicas": 2, "observedGeneration": 5}, 2, 2),
        ({"readyReplicas": 9, "observedGeneration": 4}, 0, 3),
    ],
    ids=["none", "before", "now", "scaled-down"],
)
def test_readiness_counts_for_the_present_template(
    status: dict[str, Any], of_deployment: int, of_replica_set: int
) -> None:
    for kind, ready in (("Deployment", of_deployment), ("ReplicaSet", of_replica_set)):
        live = {"kind": kind, "metadata": {"name": "d", "generation": 5}, "spec": {"replicas": 3}, "status": status}
        child = child_of(live)
        assert (child.ready, child.desired, child.live) == (ready, 3, None)
