"""A new ModelDeployment: what is created, and that it costs two status writes."""

from __future__ import annotations

import pytest

from insource.api import conditions as c
from insource.api import meta
from insource.domain.snapshot import VendorAdapter
from tests.unit.domain_world import World, spec


def test_first_plan_creates_the_workload_in_order_and_writes_the_weights() -> None:
    world = World()
    plan = world.step()
    name = world.names("ReplicaSet")[0]
    assert [(item["kind"], item["metadata"]["name"]) for item in plan.applies] == [
        ("ControllerRevision", name),
        ("Service", name),
        ("ReplicaSet", name),
    ]
    revision = world.live["ReplicaSet", name]["metadata"]["labels"][meta.LABEL_REVISION]
    assert name == f"dictation-inhouse-cpu-{revision}"
    assert world.status["traffic"] == {
        "version": 1,
        "weights": [{"backend": "inhouse", "revision": revision, "weight": 100}],
        "rescue": {"backend": "inhouse", "revision": revision},
        "spill": {"backend": "openai", "when": "Always"},
        "vendors": {"openai": {"name": "openai", "model": "whisper-1"}},
        "requestTimeoutSeconds": 600,
        "maxBodyBytes": 33554432,
        "modality": "Transcription",
    }
    assert (world.says(c.READY), world.says(c.RECONCILING), world.says(c.STALLED)) == ("False", "True", "-")
    assert world.status["endpoint"] == "http://gateway:8000/voice/dictation/v1"


@pytest.mark.parametrize("gateways", [0, 1, 2])
@pytest.mark.parametrize("replicas", [1, 3])
def test_two_status_writes_until_ready(gateways: int, replicas: int) -> None:
    world = World(spec(replicas=replicas))
    world.gateways = (-1,) * gateways
    world.step()
    world.pods = [_pod(world, {"phase": "Pending"})]
    world.step()
    world.gateways_apply(gateways)
    for count in range(replicas):
        world.ready(count)
        assert world.step().empty
    world.ready(replicas)
    world.step()
    assert world.is_ready()
    assert world.status_writes == 2
    assert world.step().empty
    assert {item["type"]: item["status"] for item in world.status["conditions"]} == {
        c.READY: "True",
        c.BACKENDS_AVAILABLE: "True",
        c.MODEL_LOADED: "True",
        c.CREDENTIALS_RESOLVED: "True",
        c.TRAFFIC_APPLIED: "True",
        c.SCHEDULABLE: "True",
    }
    assert world.status["backends"][0]["ready"] == replicas
    assert world.events == ["Normal Serving"]


def test_gateways_that_are_on_time_cost_no_write_of_their_own() -> None:
    world = World()
    world.gateways = (0,)
    world.settle()
    world.ready(1)
    plan = world.step()
    assert plan.status is None, "replicas are ready before the gateway: that can wait"
    assert plan.requeue_after_s is not None
    world.gateways = (1,)
    world.settle()
    assert world.is_ready()
    assert world.status_writes == 2


def test_gateways_that_are_late_are_told_of() -> None:
    world = World()
    world.gateways = (0,)
    world.settle()
    world.ready(1)
    world.step()
    world.second += 30
    world.settle()
    assert world.condition(c.READY)["reason"] == "ApplyingTraffic"
    assert world.step().empty


def test_ready_waits_for_every_gateway() -> None:
    world = World()
    world.gateways = (0, 0)
    world.settle()
    world.ready(1)
    world.gateways = (1, -1)
    plan = world.step()
    assert not world.is_ready()
    assert plan.requeue_after_s is not None
    world.gateways = (1, 1)
    assert world.step().requeue_after_s is None
    assert world.is_ready()
    world.gateways = (-1, 1)
    assert world.step().empty, "a gateway that restarts takes nothing back"


def test_every_condition_carries_the_generation_and_keeps_its_transition_time() -> None:
    world = World().serve()
    before = world.condition(c.READY)["lastTransitionTime"]
    world.edit(spec(access={"clients": ["other/app"]}))
    world.settle()
    assert world.status["observedGeneration"] == 2
    assert {item["observedGeneration"] for item in world.status["conditions"]} == {2}
    assert world.condition(c.READY)["lastTransitionTime"] == before


def test_losing_the_only_replica_ends_ready_and_its_return_restores_it() -> None:
    world = World().serve()
    world.ready(0)
    world.step()
    assert not world.is_ready()
    assert world.condition(c.READY)["reason"] == "NotAvailable"
    assert world.says(c.RECONCILING) == "True"
    assert world.events[-1] == "Warning NotAvailable"
    world.ready(1)
    world.step()
    assert world.is_ready()


def test_losing_one_replica_of_three_is_no_write_worth_mentioning() -> None:
    world = World(spec(replicas=3)).serve()
    world.ready(2)
    world.step()
    writes = world.status_writes
    assert world.is_ready()
    world.ready(1)
    assert world.step().empty
    assert world.status_writes == writes


def test_a_vendor_primary_needs_no_workload() -> None:
    traffic = {"primary": "openai"}
    world = World(spec(traffic=traffic))
    world.adapters = {"openai": VendorAdapter()}
    plan = world.step()
    assert plan.applies == ()
    assert plan.requeue_after_s is not None
    assert world.weights == [("openai", "", 100)]
    assert "rescue" not in world.status["traffic"]
    assert world.condition(c.READY)["reason"] == "Starting"
    world.adapters = {"openai": VendorAdapter(ready=1)}
    world.settle()
    assert world.is_ready()
    assert world.says(c.MODEL_LOADED) == "-"
    assert world.status["replicas"] == 0


def test_no_replicas_means_off() -> None:
    world = World(spec(replicas=0))
    world.settle()
    assert world.condition(c.READY)["reason"] == "Off"
    assert world.says(c.BACKENDS_AVAILABLE) == "False"
    assert world.weights[0][0] == "inhouse"


def test_without_spill_there_is_no_spill() -> None:
    world = World(spec(traffic={"primary": "inhouse"}))
    world.settle()
    assert "spill" not in world.status["traffic"]
    assert "vendors" not in world.status["traffic"]
    assert world.says(c.CREDENTIALS_RESOLVED) == "-"


def test_a_deployment_that_is_being_deleted_is_left_to_garbage_collection() -> None:
    world = World()
    world.object["metadata"]["deletionTimestamp"] = "2026-11-23T20:00:00Z"
    assert world.plan().empty


def _pod(world: World, status: dict[str, object]) -> dict[str, object]:
    labels = world.live["ReplicaSet", world.names("ReplicaSet")[0]]["spec"]["template"]["metadata"]["labels"]
    return {"metadata": {"name": "p", "labels": labels}, "status": status}
