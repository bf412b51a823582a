"""An upgrade restarts no model server: what an earlier release's operator has written is applied byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import parse
from insource.domain.snapshot import Catalogue, Plan, Settings
from tests.charts.freeze import RELEASES
from tests.unit.domain_world import World

SPECS: dict[str, Any] = {
    "CatalogModel": CatalogModelSpec,
    "InferenceRuntime": InferenceRuntimeSpec,
    "AcceleratorClass": AcceleratorClassSpec,
}
RELEASED = {path.stem: json.loads(path.read_text()) for path in sorted(RELEASES.glob("*.json"))}
CASES = [(release, name) for release, content in RELEASED.items() for name in content["deployments"]]
TODAY = Settings(image="insource/insource:9.9.9", ledger_url="http://elsewhere:1", gateway_url="http://new:2")


def found_by_today(release: str, name: str) -> World:
    """The cluster as the earlier operator left it; today's one, of another image, looks at it."""
    content = RELEASED[release]
    was = content["deployments"][name]
    world = World(was["deployment"]["spec"])
    world.object = json.loads(json.dumps(was["deployment"]))
    world.live = {(each["kind"], each["metadata"]["name"]): each for each in json.loads(json.dumps(was["live"]))}
    world.settings = TODAY
    return world


def catalogue_of(release: str) -> Catalogue:
    found: dict[str, dict[str, Any]] = {kind: {} for kind in SPECS}
    for obj in RELEASED[release]["catalogue"]:
        found[obj["kind"]][obj["metadata"]["name"]] = parse(obj, SPECS[obj["kind"]])
    return Catalogue(*found.values())


def revisions(world: World) -> dict[str, str]:
    """Name -> stored template, to the byte."""
    return {
        name: json.dumps(obj["data"]["template"])
        for (kind, name), obj in world.live.items()
        if kind == "ControllerRevision"
    }


def assert_restarts_nothing(world: World, plan: Plan) -> None:
    stored = revisions(world)
    assert plan.deletes == ()
    assert [each for each in plan.applies if each["kind"] == "ControllerRevision"] == []
    for each in plan.applies:
        assert each["kind"] in ("ReplicaSet", "Service")
        if each["kind"] == "ReplicaSet":
            assert json.dumps(each["spec"]["template"]) == stored[each["metadata"]["name"]]


@pytest.mark.parametrize(("release", "name"), CASES)
def test_nothing_is_restarted_with_the_catalogue_of_then(release: str, name: str) -> None:
    world = found_by_today(release, name)
    world.catalogue = catalogue_of(release)
    assert_restarts_nothing(world, world.plan())


@pytest.mark.parametrize(("release", "name"), CASES)
def test_nothing_is_restarted_with_the_catalogue_of_today(release: str, name: str) -> None:
    world = found_by_today(release, name)
    assert_restarts_nothing(world, world.plan())


@pytest.mark.parametrize(("release", "name"), CASES)
def test_a_replica_set_that_is_lost_comes_back_as_it_was(release: str, name: str) -> None:
    world = found_by_today(release, name)
    stored = revisions(world)
    (lost,) = [key for key in world.live if key[0] == "ReplicaSet"]
    before = world.live.pop(lost)
    plan = world.plan()
    assert_restarts_nothing(world, plan)
    (made,) = [each for each in plan.applies if each["kind"] == "ReplicaSet"]
    assert made["metadata"]["name"] == lost[1]
    assert json.dumps(made["spec"]["template"]) == json.dumps(before["spec"]["template"]) == stored[lost[1]]


@pytest.mark.parametrize(("release", "name"), CASES)
def test_it_goes_on_serving_the_same_revision(release: str, name: str) -> None:
    world = found_by_today(release, name)
    before = world.weights
    world.settle()
    assert world.weights == before
    assert world.is_ready()


def test_a_release_is_frozen() -> None:
    assert "0.1.0-9d64bcc" in RELEASED
