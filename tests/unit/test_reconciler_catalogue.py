"""Built-in objects of every kind are kept: restored when they go, never over a user's field, each for itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from insource.api.catalogue import builtin_objects
from insource.kube import resources
from insource.kube.client import ApiError
from insource.kube.resources import Key, Object, Resource, resource_of
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

BUILTINS = builtin_objects()
ONE_OF_EACH = [
    (resources.PRICE_BOOKS, "default"),
    (resources.CATALOG_MODELS, "whisper-tiny-en"),
    (resources.INFERENCE_RUNTIMES, "faster-whisper-cpu"),
    (resources.ACCELERATOR_CLASSES, "cpu"),
]


async def installed() -> World:
    world = World(0, builtins=BUILTINS)
    await world.operator.start()
    await world.settle()
    return world


def find(world: World, kind: Resource, name: str) -> Object | None:
    found = world.store.find((kind.group, kind.plural), None, name)
    return copy.deepcopy(found)


def edit(world: World, kind: Resource, name: str, **spec: Any) -> None:
    obj = find(world, kind, name)
    assert obj is not None
    world.store.update((kind.group, kind.plural), None, name, {**obj, "spec": spec}, field_manager="person")


async def test_a_new_installation_has_the_whole_catalogue_and_a_restart_writes_nothing() -> None:
    world = await installed()
    for obj in BUILTINS:
        live = find(world, resource_of(obj), obj["metadata"]["name"])
        assert live is not None
        managers = {each["manager"] for each in live["metadata"]["managedFields"] if "subresource" not in each}
        assert managers == {"insource-catalog"}
    assert world.operator.controller.catalogue.unsettled() == ""
    await world.restart()
    assert world.operator.controller.catalogue.unsettled() != ""
    await world.settle()
    assert world.operator.client.writes == []
    assert world.operator.controller.catalogue.unsettled() == ""


@pytest.mark.parametrize(("kind", "name"), ONE_OF_EACH, ids=[kind.kind for kind, _ in ONE_OF_EACH])
async def test_a_deleted_one_comes_back_while_the_operator_runs(kind: Resource, name: str) -> None:
    world = await installed()
    before = find(world, kind, name)
    world.remove(kind, name)
    await world.settle()
    after = find(world, kind, name)
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


@pytest.mark.parametrize(("kind", "name"), ONE_OF_EACH, ids=[kind.kind for kind, _ in ONE_OF_EACH])
async def test_one_that_went_while_nobody_watched_is_back_after_a_start(kind: Resource, name: str) -> None:
    world = await installed()
    world.remove(kind, name)
    await world.restart()
    await world.settle()
    assert find(world, kind, name) is not None


async def test_a_price_that_a_user_has_set_stays_and_one_that_a_user_took_out_comes_back() -> None:
    world = await installed()
    book = find(world, resources.PRICE_BOOKS, "default")
    assert book is not None
    entries = book["spec"]["entries"]
    edit(world, resources.PRICE_BOOKS, "default", **{**book["spec"], "entries": entries[1:]})
    await world.settle()
    restored = find(world, resources.PRICE_BOOKS, "default")
    assert restored is not None
    assert sorted(entry["model"] for entry in restored["spec"]["entries"]) == sorted(e["model"] for e in entries)
    own = [{**entry, "price": "0.99"} if entry["model"] == "whisper-1" else entry for entry in entries]
    edit(world, resources.PRICE_BOOKS, "default", **{**book["spec"], "entries": own})
    await world.settle()
    await world.restart()
    await world.settle()
    kept = find(world, resources.PRICE_BOOKS, "default")
    assert kept is not None
    assert {e["model"]: e["price"] for e in kept["spec"]["entries"]}["whisper-1"] == "0.99"
    assert world.operator.controller.catalogue.unsettled() == ""


async def test_the_next_release_changes_all_but_the_users_field() -> None:
    world = await installed()
    book = find(world, resources.PRICE_BOOKS, "default")
    assert book is not None
    entries = book["spec"]["entries"]
    own = [{**entry, "price": "0.99"} if entry["model"] == "whisper-1" else entry for entry in entries]
    edit(world, resources.PRICE_BOOKS, "default", **{**book["spec"], "entries": own})
    await world.settle()
    for obj in (released := copy.deepcopy(BUILTINS)):
        for entry in obj["spec"].get("entries", ()):
            entry["price"] = "0.5"
    world.builtins = released
    await world.restart()
    await world.settle()
    kept = find(world, resources.PRICE_BOOKS, "default")
    assert kept is not None
    prices = {entry["model"]: entry["price"] for entry in kept["spec"]["entries"]}
    assert prices.pop("whisper-1") == "0.99"
    assert prices
    assert set(prices.values()) == {"0.5"}
    await world.restart()
    await world.settle()
    assert world.operator.client.writes == []
    assert world.operator.controller.catalogue.unsettled() == ""


async def test_what_a_user_adds_is_left_alone() -> None:
    world = await installed()
    mine = {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "PriceBook",
        "metadata": {"name": "mine"},
        "spec": {"entries": []},
    }
    world.put(mine)
    await world.settle()
    world.remove(resources.PRICE_BOOKS, "mine")
    await world.settle()
    assert find(world, resources.PRICE_BOOKS, "mine") is None


async def test_one_that_is_refused_stops_no_other_and_does_not_keep_the_operator_unready() -> None:
    world = World(0, builtins=BUILTINS)
    refused = ApiError(422, "Invalid", "the schema of another release")
    world.faults.deny = lambda what: refused if what == "apply InferenceRuntime speaches" else None
    await world.operator.start()
    await world.settle()
    assert find(world, resources.PRICE_BOOKS, "default") is not None
    assert find(world, resources.INFERENCE_RUNTIMES, "speaches") is None
    assert world.operator.controller.catalogue.unsettled() == ""
    world.faults.deny = lambda _: None
    await world.settle()
    assert find(world, resources.INFERENCE_RUNTIMES, "speaches") is not None


async def test_a_race_is_no_users_field() -> None:
    world = World(0, builtins=BUILTINS)
    lost = [ApiError(409, "Conflict", "the object has been modified; please apply your changes to the latest version")]
    world.faults.deny = lambda what: lost.pop() if lost and what == "apply PriceBook default" else None
    await world.operator.start()
    await world.settle()
    assert lost == []
    assert find(world, resources.PRICE_BOOKS, "default") is not None


async def test_one_that_is_deleted_before_its_event_came_is_restored_all_the_same() -> None:
    world = World(0, builtins=BUILTINS)
    await world.operator.start()
    while await world.operator.work():
        pass
    world.remove(resources.PRICE_BOOKS, "default")  # no event of the creation was delivered so far
    await world.settle()
    assert find(world, resources.PRICE_BOOKS, "default") is not None


async def test_while_the_api_is_away_the_catalogue_is_not_settled() -> None:
    world = World(0, builtins=BUILTINS)
    away = ApiError(503, "ServiceUnavailable", "")
    world.faults.deny = lambda _: away
    await world.operator.start()
    for _ in range(50):
        await world.operator.work()
    assert world.operator.controller.catalogue.unsettled() != ""


async def test_a_deployment_serves_again_once_the_model_that_was_deleted_is_back() -> None:
    world = await installed()
    world.put(vendor())
    world.put(model_deployment("dictation"))
    await world.settle()
    world.remove(resources.CATALOG_MODELS, "whisper-tiny-en")
    await world.settle()
    deployment = world.objects(resources.MODEL_DEPLOYMENTS)[0]
    assert deployment["status"]["conditions"][0]["type"] == "Ready"
    assert deployment["status"]["conditions"][0]["status"] == "True"


async def test_a_price_book_that_does_not_fit_says_so_itself_until_it_does() -> None:
    world = await installed()
    crd = copy.deepcopy(world.store.get(("apiextensions.k8s.io", "customresourcedefinitions"), None,
                                        "pricebooks.insource.dev"))  # fmt: skip
    crd["spec"]["versions"][0]["schema"] = {
        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    }
    world.store.update(("apiextensions.k8s.io", "customresourcedefinitions"), None, "pricebooks.insource.dev", crd)
    mine: Object = {"apiVersion": "insource.dev/v1alpha1", "kind": "PriceBook", "metadata": {"name": "mine"}}
    world.put({**mine, "spec": {"entries": [{"vendor": "openai", "model": "m", "unit": "audio_ms"}]}})
    await world.settle()
    live = find(world, resources.PRICE_BOOKS, "mine")
    assert live is not None
    stalled = next(item for item in live["status"]["conditions"] if item["type"] == "Stalled")
    assert stalled["message"].startswith("spec.entries[0].effectiveFrom: Field required")
    assert live["status"]["observedGeneration"] == 1
    world.put({**mine, "spec": {"entries": []}})
    await world.settle()
    live = find(world, resources.PRICE_BOOKS, "mine")
    assert live is not None
    assert [(item["type"], item["status"]) for item in live["status"]["conditions"]] == [("Ready", "True")]
    assert world.operator.controller.caches.books.get(Key("", "mine")) is not None


async def test_a_source_that_a_user_has_added_to_a_model_without_any_stays() -> None:
    world = await installed()
    model = find(world, resources.CATALOG_MODELS, "mai-transcribe-1")
    assert model is not None
    assert "sources" not in model["spec"]
    sources = [{"runtime": "my-mai-server", "uri": "s3://weights/mai-transcribe-1/"}]
    edit(world, resources.CATALOG_MODELS, "mai-transcribe-1", **{**model["spec"], "sources": sources})
    await world.settle()
    await world.restart()
    await world.settle()
    kept = find(world, resources.CATALOG_MODELS, "mai-transcribe-1")
    assert kept is not None
    assert [source["uri"] for source in kept["spec"]["sources"]] == ["s3://weights/mai-transcribe-1/"]
    assert kept["spec"]["lifecycle"] == model["spec"]["lifecycle"]
