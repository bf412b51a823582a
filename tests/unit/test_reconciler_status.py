"""Status writes: only what changed, only ours, nothing when equal, observedGeneration right, the last state wins."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.kube import resources
from insource.kube.client import ApiError
from insource.kube.resources import Key, Object
from insource.reconciler.status_patch import status_patch
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

MDEPS = (resources.MODEL_DEPLOYMENTS.group, resources.MODEL_DEPLOYMENTS.plural)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


VALUES = st.recursive(
    st.one_of(st.integers(0, 3), st.text("ab", max_size=2), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)
STATUSES = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(STATUSES, STATUSES)
def test_the_patch_turns_one_status_into_the_other_and_is_empty_only_if_they_are_equal(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    patch = status_patch(old, new)
    assert merged(old, patch) == new
    assert (patch == {}) == (old == new)


def live(world: World) -> Object:
    return copy.deepcopy(world.store.get(MDEPS, "voice", "dictation"))


async def ready() -> World:
    world = World(0)
    world.put(vendor())
    world.put(model_deployment("dictation"))
    await world.operator.start()
    await world.settle()
    assert live(world)["status"]["conditions"][0]["status"] == "True"
    return world


def statuses(world: World) -> int:
    return sum(what.startswith("patch ModelDeployment/status") for what in world.operator.client.writes)


async def test_a_new_deployment_costs_two_status_writes_and_then_none() -> None:
    world = await ready()
    assert statuses(world) == 2
    world.operator.controller.resync()
    await world.settle()
    assert statuses(world) == 2


async def test_what_others_write_into_the_status_stays() -> None:
    world = await ready()
    theirs = {"type": "Audited", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    world.store.patch(
        MDEPS, "voice", "dictation", {"metadata": {"annotations": {"theirs": "x"}}}, "merge", field_manager="somebody"
    )
    spec = live(world)["spec"]
    world.put(model_deployment("dictation", slots=3))
    await world.settle()
    after = live(world)
    assert after["metadata"]["annotations"] == {"theirs": "x"}
    assert after["spec"] != spec, "the person's edit"
    assert after["spec"]["backends"][0]["inHouse"]["slots"] == 3, "our status write took nothing of the spec back"
    assert theirs["type"] not in {item["type"] for item in after["status"]["conditions"]}


async def test_observed_generation_is_that_of_the_spec_that_was_judged() -> None:
    world = await ready()
    for slots in (2, 3, 4):
        world.put(model_deployment("dictation", slots=slots))
    await world.settle()
    after = live(world)
    assert after["metadata"]["generation"] == 4
    assert after["status"]["observedGeneration"] == 4
    assert {item["observedGeneration"] for item in after["status"]["conditions"]} == {4}


async def test_an_edit_that_arrives_during_our_status_write_is_not_lost() -> None:
    """The status is patched without a precondition: the edit stands, and the next pass judges it."""
    world = await ready()
    world.put(model_deployment("dictation", slots=2))
    edited = []

    def meddle(what: str) -> ApiError | None:
        if what.startswith("patch ModelDeployment/status") and not edited:
            edited.append(what)
            world.put(model_deployment("dictation", slots=9))
        return None

    world.faults.deny = meddle
    await world.settle()
    after = live(world)
    assert edited
    assert after["spec"]["backends"][0]["inHouse"]["slots"] == 9
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"] == 3
    assert after["status"]["conditions"][0]["status"] == "True"


async def test_a_status_that_somebody_emptied_is_written_again() -> None:
    world = await ready()
    before = live(world)["status"]
    world.store.patch(MDEPS, "voice", "dictation", {"status": {"conditions": None}}, "merge", subresource="status")
    await world.settle()
    assert [item["type"] for item in live(world)["status"]["conditions"]] == [
        item["type"] for item in before["conditions"]
    ]


@pytest.mark.parametrize(("status", "what"), [(403, "roles"), (422, "CustomResourceDefinitions")])
async def test_a_status_that_the_api_refuses_is_told_by_an_event_and_tried_again(status: int, what: str) -> None:
    world = World(0)
    refusal = ApiError(status, "Invalid", "status.traffic: no such field")
    world.faults.deny = lambda what: refusal if what.startswith("patch ModelDeployment/status") else None
    world.put(vendor())
    world.put(model_deployment("dictation"))
    await world.operator.start()
    await world.settle()
    notes = [event["note"] for event in world.objects(resources.EVENTS) if event["reason"] == "StatusRefused"]
    assert len(notes) == 1
    assert f"status.traffic: no such field; apply the {what} of this release" in notes[0]
    world.faults.deny = lambda _: None
    await world.settle()
    assert live(world)["status"]["conditions"][0]["status"] == "True"


async def test_an_object_that_is_gone_when_its_status_is_written_ends_well() -> None:
    world = await ready()
    world.put(model_deployment("dictation", slots=2))

    def vanish(what: str) -> ApiError | None:
        if what.startswith("patch ModelDeployment/status"):
            world.remove(resources.MODEL_DEPLOYMENTS, "dictation", "voice")
        return None

    world.faults.deny = vanish
    await world.settle()
    assert world.operator.controller.caches.deployments.get(Key("voice", "dictation")) is None
    assert world.orphans() == []
