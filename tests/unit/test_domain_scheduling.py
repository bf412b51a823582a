"""Whether replicas get a place, and what of that is worth a write: clusters that change, gates, quotas, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api import conditions as c
from insource.domain.pod_troubles import NO_TROUBLE
from insource.domain.snapshot import pod_of
from tests.unit.domain_world import World, spec

GPU = spec(
    backends=[
        {
            "name": "inhouse",
            "inHouse": {"model": "whisper-large-v3-turbo", "accelerator": {"class": "nvidia-l4", "count": 2}},
        }
    ],
    traffic={"primary": "inhouse"},
)
GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def unscheduled(message: str) -> dict[str, Any]:
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


def pod(world: World, *conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    template = world.live["ReplicaSet", world.names("ReplicaSet")[0]]["spec"]["template"]
    metadata = {"name": "p", "labels": template["metadata"]["labels"]}
    return {"metadata": metadata, "spec": {}, "status": {"conditions": list(conditions), **status}}


def refuse(world: World, message: str) -> None:
    """The ReplicaSet's controller cannot create pods."""
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    world.live["ReplicaSet", world.names("ReplicaSet")[0]]["status"]["conditions"] = [failure]


def test_what_was_asked_for_is_told_with_the_class() -> None:
    world = World(GPU)
    world.settle()
    world.pods = [pod(world, unscheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."))]
    world.settle()
    words = 'class "nvidia-l4" (2 nvidia.com/gpu a replica): 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.'
    assert world.condition(c.SCHEDULABLE)["message"] == words
    assert world.condition(c.READY)["message"] == words
    assert world.says(c.STALLED) == "-", "a cluster may grow by itself"


@pytest.mark.parametrize("serving", [False, True], ids=["starting", "serving"])
def test_a_cluster_that_grows_and_shrinks_costs_no_write_while_the_reasons_stay(serving: bool) -> None:
    world = World(GPU)
    world.settle()
    if serving:
        world.serve()
        world.edit({**GPU, "replicas": 2})
        world.settle()
    world.pods = [
        pod(world, unscheduled("0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu."))
    ]
    world.settle()
    writes = world.status_writes
    for nodes in range(4, 40):
        words = f"0/{nodes} nodes are available: {nodes - 1} Insufficient nvidia.com/gpu, 1 Insufficient cpu."
        world.pods = [pod(world, unscheduled(words))]
        assert world.plan().status is None
    assert world.status_writes == writes
    world.pods = [pod(world, unscheduled("0/3 nodes are available: 3 node(s) had untolerated taint(s)."))]
    world.settle()
    assert world.status_writes == writes + 1, "another reason is news"
    assert "untolerated" in world.condition(c.SCHEDULABLE)["message"]


def test_gates_are_told_by_their_names() -> None:
    world = World(GPU)
    world.settle()
    gated = pod(world, GATED)
    gated["spec"] = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}
    world.pods = [gated]
    world.settle()
    told = world.condition(c.SCHEDULABLE)
    assert (told["status"], told["reason"]) == ("False", "SchedulingGated")
    assert told["message"].endswith("non-empty scheduling gates: kueue.x-k8s.io/admission")
    assert world.condition(c.READY)["reason"] == "SchedulingGated"
    assert world.says(c.RECONCILING) == "True"


def test_a_reason_that_is_no_word_is_not_taken_over() -> None:
    status = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "not a word", "message": "m"}]}
    assert pod_of({"metadata": {"name": "p"}, "status": status}).unscheduled.reason == "Unschedulable"


def test_pods_that_are_refused_for_good_need_a_person() -> None:
    world = World(GPU)
    world.settle()
    refuse(world, 'pods "x-7bq2p" is forbidden: no PriorityClass with name high was found')
    world.settle()
    assert world.condition(c.STALLED)["reason"] == "PodsRefused"
    assert world.says(c.RECONCILING) == "-"
    assert world.condition(c.SCHEDULABLE)["message"] == (
        'class "nvidia-l4" (2 nvidia.com/gpu a replica): the API server refuses the pods: '
        "no PriorityClass with name high was found; allow them, or correct what they refer to"
    )
    refuse(world, 'pods "x-zzzzz" is forbidden: no PriorityClass with name high was found')
    assert world.plan().status is None, "the name of the pod that was not created is no news"
    refuse(world, "")
    world.ready(1)
    world.settle()
    assert world.is_ready()


def test_refused_pods_beside_one_that_serves_do_not_end_ready() -> None:
    world = World(GPU).serve()
    world.edit({**GPU, "replicas": 2})
    world.step()
    refuse(world, 'pods "x-7bq2p" is forbidden: violates PodSecurity "restricted:latest"')
    world.settle()
    assert world.is_ready()
    assert world.says(c.STALLED) == "-"
    assert world.condition(c.SCHEDULABLE)["reason"] == "PodsRefused"


def test_the_service_account_that_is_on_its_way_is_no_trouble() -> None:
    world = World(GPU)
    world.settle()
    words = 'error looking up service account voice/insource-adapter: serviceaccount "insource-adapter" not found'
    refuse(world, f'pods "x-7bq2p" is forbidden: {words}')
    world.settle()
    assert world.says(c.SCHEDULABLE) == "Unknown"
    assert world.says(c.STALLED) == "-"


ENDED_LATE = {"startedAt": "2026-11-23T20:00:00Z", "finishedAt": "2026-11-23T20:20:01Z", "exitCode": 137}
ENDED_SOON = {"startedAt": "2026-11-23T20:00:00Z", "finishedAt": "2026-11-23T20:00:03Z", "exitCode": 1}
RUNNING = {"running": {"startedAt": "2026-11-23T20:20:01Z"}}
INITIALIZING = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("server", "adapter", "reason"),
    [
        ({"state": RUNNING, "lastState": {"terminated": ENDED_LATE}}, INITIALIZING, "StartTimeout"),
        ({"state": {"terminated": ENDED_LATE}}, INITIALIZING, "StartTimeout"),
        (
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ENDED_LATE}},
            INITIALIZING,
            "StartTimeout",
        ),
        ({"state": RUNNING, "lastState": {"terminated": ENDED_LATE}}, RUNNING, ""),
        ({"state": RUNNING, "lastState": {"terminated": ENDED_SOON}}, INITIALIZING, ""),
        ({"state": RUNNING}, INITIALIZING, ""),
        ({"state": RUNNING, "lastState": {"terminated": {"exitCode": 1}}}, INITIALIZING, ""),
    ],
    ids=["again", "ended", "backing-off", "had-answered", "crashed", "first-run", "no-times"],
)
def test_a_server_that_never_answers_in_time_is_told(
    server: dict[str, Any], adapter: dict[str, Any], reason: str
) -> None:
    world = World(GPU)
    world.settle()
    world.pods = [
        pod(
            world,
            initContainerStatuses=[{"name": "server", **server}],
            containerStatuses=[{"name": "adapter", "state": adapter}],
        )
    ]
    world.settle()
    told = world.condition(c.MODEL_LOADED)
    if not reason:
        assert told["status"] == "Unknown"
        return
    assert told["reason"] == world.condition(c.READY)["reason"] == reason
    assert "within 1200s" in told["message"]


@pytest.mark.parametrize(
    ("metadata", "status"),
    [({"deletionTimestamp": "2026-11-23T20:00:00Z"}, {}), ({}, {"phase": "Failed", "reason": "Evicted"})],
    ids=["deleted", "evicted"],
)
def test_a_pod_that_is_over_is_in_nobodys_way(metadata: dict[str, Any], status: dict[str, Any]) -> None:
    server = {"name": "server", "state": {"terminated": ENDED_LATE}}
    full = {"conditions": [unscheduled("no node")], "initContainerStatuses": [server], **status}
    found = pod_of({"metadata": {"name": "p", **metadata}, "status": full})
    assert (found.unscheduled, found.trouble, found.unanswered_s) == (NO_TROUBLE, NO_TROUBLE, None)


def test_the_two_faces_of_a_failed_pull_cost_one_write() -> None:
    world = World(GPU)
    world.settle()
    back_off = 'Back-off pulling image "registry.example/whisper:1": ErrImagePull: not found'
    for reason, message in [("ErrImagePull", "not found"), ("ImagePullBackOff", back_off)] * 3:
        state = {"waiting": {"reason": reason, "message": message}}
        server = {"name": "server", "image": "registry.example/whisper:1", "state": state}
        world.pods = [pod(world, initContainerStatuses=[server])]
        world.settle()
    assert world.status_writes == 2
    told = world.condition(c.READY)
    assert told["reason"] == "ImageNotPulled"
    assert told["message"] == 'container server: image "registry.example/whisper:1" cannot be pulled: not found'
    assert told["message"] in world.condition(c.BACKENDS_AVAILABLE)["message"]
