"""A changed primary or revision: the old side keeps the weight until the new one is ready, then goes."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api import conditions as c
from insource.domain.snapshot import Settings, VendorAdapter
from tests.unit.domain_world import SETTINGS, World, spec, vendor_object


def edited(slots: int) -> dict[str, Any]:
    """Another revision of the same backend."""
    wanted = spec()
    wanted["backends"][0]["inHouse"]["slots"] = slots
    return wanted


def test_the_old_revision_serves_until_the_new_one_is_ready_and_is_deleted_after_gateways_confirm() -> None:
    world = World()
    world.gateways = (0,)
    world.settle()
    world.gateways_apply()
    world.serve()
    old = world.names("ReplicaSet")[0]
    weights = world.weights

    world.edit(edited(4))
    world.settle()
    new = next(name for name in world.names("ReplicaSet") if name != old)
    assert world.weights == weights
    assert world.condition(c.READY)["reason"] == "Switching"
    assert {item["name"]: item["state"] for item in world.status["revisions"]} == {new: "Starting", old: "Serving"}

    world.ready(1, name=new)
    world.settle()
    assert world.weights != weights
    assert world.status["traffic"]["version"] == 2
    assert old in world.names("ReplicaSet"), "not before every gateway follows"
    assert world.events[-1] == "Normal TrafficMoved"

    world.gateways_apply()
    world.settle()
    assert world.names("ReplicaSet") == world.names("Service") == [new]
    assert world.names("ControllerRevision") == sorted([old, new]), "kept for a way back"
    assert world.is_ready()


def test_going_back_reuses_the_stored_template() -> None:
    world = World().serve()
    old = world.names("ReplicaSet")[0]
    template = world.live["ReplicaSet", old]["spec"]["template"]
    world.edit(edited(4))
    world.serve()
    world.settings = Settings(image="insource/insource:newer", ledger_url="http://elsewhere")
    world.edit(spec())
    world.serve()
    assert world.names("ReplicaSet") == [old]
    assert world.live["ReplicaSet", old]["spec"]["template"] == template


def test_a_newer_operator_restarts_nothing() -> None:
    world = World().serve()
    world.settings = Settings(
        image="insource/insource:newer", ledger_url="http://elsewhere", gateway_url=SETTINGS.gateway_url
    )
    assert world.plan().empty


def test_history_is_limited() -> None:
    world = World().serve()
    for slots in range(3, 12):
        world.edit(edited(slots))
        world.serve()
    assert len(world.names("ReplicaSet")) == 1
    assert len(world.names("ControllerRevision")) == 1 + SETTINGS.revision_history_limit


def test_a_revision_that_never_served_gives_way_at_once() -> None:
    world = World()
    world.settle()
    world.edit(edited(4))
    world.settle()
    assert len(world.names("ReplicaSet")) == 1
    assert world.weights[0][1] in world.names("ReplicaSet")[0]


def test_a_revision_that_served_is_kept_while_it_restarts() -> None:
    world = World().serve()
    weights = world.weights
    world.ready(0)
    world.edit(edited(4))
    world.settle()
    assert world.weights == weights
    assert len(world.names("ReplicaSet")) == 2


def test_an_old_revision_that_was_deleted_by_hand_gets_no_weight() -> None:
    world = World().serve()
    old = world.names("ReplicaSet")[0]
    world.edit(edited(4))
    del world.live["ReplicaSet", old]
    world.settle()
    assert world.weights[0][1] not in old


def test_switching_off_does_not_wait() -> None:
    world = World().serve()
    world.edit({**edited(4), "replicas": 0})
    world.settle()
    assert len(world.names("ReplicaSet")) == 1
    assert world.condition(c.READY)["reason"] == "Off"


def test_from_vendor_to_in_house_and_back() -> None:
    from_vendor, in_house = spec(traffic={"primary": "openai"}), spec()
    world = World(from_vendor)
    world.settle()
    assert world.is_ready()
    world.edit(in_house)
    world.settle()
    assert world.weights == [("openai", "", 100)]
    assert "spill" not in world.status["traffic"], "who serves is no overflow for itself"
    world.ready(1)
    world.settle()
    assert world.weights[0][0] == "inhouse"
    assert world.status["traffic"]["spill"]["backend"] == "openai"
    world.adapters = {"openai": VendorAdapter(credentials_resolved=False)}
    world.edit(from_vendor)
    world.settle()
    assert world.weights[0][0] == "inhouse", "a vendor that cannot serve gets no weight"
    world.adapters = {"openai": VendorAdapter(ready=1)}
    world.settle()
    assert world.weights == [("openai", "", 100)]
    assert world.names("ReplicaSet") == []


@pytest.mark.parametrize("vendor_is_still_there", [True, False])
def test_a_vendor_that_left_the_spec_serves_as_long_as_it_exists(vendor_is_still_there: bool) -> None:
    world = World(spec(traffic={"primary": "openai"}), openai=vendor_object(), other=vendor_object("other"))
    world.settle()
    wanted = spec(traffic={"primary": "inhouse"})
    wanted["backends"] = wanted["backends"][:1]
    world.edit(wanted)
    if not vendor_is_still_there:
        del world.vendors["openai"]
    world.settle()
    assert world.weights[0][0] == ("openai" if vendor_is_still_there else "inhouse")


def test_a_longer_request_timeout_is_held_at_what_the_pods_can_drain() -> None:
    world = World().serve()
    wanted = spec()
    wanted["traffic"]["requestTimeout"] = "20m"
    world.edit(wanted)
    world.settle()
    assert world.status["traffic"]["requestTimeoutSeconds"] == 600
    assert "held at 600s" in world.condition(c.READY)["message"]
    wanted["backends"][0]["inHouse"]["slots"] = 4
    world.edit(wanted)
    world.settle()
    assert world.status["traffic"]["requestTimeoutSeconds"] == 600
    world.ready(1)
    world.settle()
    assert world.status["traffic"]["requestTimeoutSeconds"] == 1200
    assert "held" not in world.condition(c.READY)["message"]


def test_an_old_workload_without_its_stored_template_limits_nothing() -> None:
    world = World().serve()
    old = world.names("ReplicaSet")[0]
    world.edit(edited(4))
    del world.live["ControllerRevision", old]
    world.settle()
    assert world.status["traffic"]["requestTimeoutSeconds"] == 600
    assert world.weights[0][1] in old


def test_drift_is_repaired() -> None:
    world = World().serve()
    name = world.names("ReplicaSet")[0]
    world.live["ReplicaSet", name]["spec"]["replicas"] = 7
    assert [item["kind"] for item in world.step().applies] == ["ReplicaSet"]
    del world.live["Service", name]
    assert [item["kind"] for item in world.step().applies] == ["Service"]
    assert world.step().empty


def test_without_live_objects_the_digest_decides() -> None:
    world = World().serve()
    world.keep_live = False
    assert world.step().empty
    world.edit(spec(replicas=2))
    assert [item["kind"] for item in world.step().applies] == ["ReplicaSet"]
