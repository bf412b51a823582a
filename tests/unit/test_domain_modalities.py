"""A modality that this release does not serve is told, and nothing of it is started, routed or sent to a vendor."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api import conditions as c
from insource.api.kinds import parse
from insource.api.model_deployment import ModelDeploymentSpec
from insource.api.vendor import VendorSpec
from insource.domain import references
from insource.domain.build import vendor_routes
from insource.domain.snapshot import ModelDeployment
from insource.wire.routes import VendorRoutes
from insource.wire.vocabulary import Modality
from tests.unit.domain_world import World, spec, vendor_object

UNSERVED = sorted(set(Modality) - {Modality.TRANSCRIPTION})
"""Every modality is served by now; these tests take an older release's word for what is not."""
MODELS = {
    Modality.SPEECH: "kokoro-82m",
    Modality.IMAGE: "z-image-turbo",
    Modality.TEXT: "qwen3-8b",
    Modality.EMBEDDING: "all-minilm-l6-v2",
}


def of_modality(modality: Modality, primary: str) -> dict[str, Any]:
    """An in-house backend and a vendor's, one of them the primary."""
    backends = [
        {"name": "inhouse", "inHouse": {"model": MODELS[modality], "accelerator": {"class": "nvidia-l4"}}},
        {"name": "openai", "vendor": {"name": "openai", "model": "m"}},
    ]
    return spec(modality=str(modality), backends=backends, traffic={"primary": primary})


@pytest.fixture
def only_transcription(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (references, vendor_routes):
        monkeypatch.setattr(module, "SERVED", frozenset({Modality.TRANSCRIPTION}))


def test_this_release_serves_every_modality() -> None:
    assert frozenset(Modality) == references.SERVED
    assert World().serve().is_ready()


@pytest.mark.parametrize("modality", UNSERVED)
def test_a_vendors_adapter_has_a_route_of_each_modality(modality: Modality) -> None:
    manifest = vendor_routes.build_vendor_routes(parse(vendor_object(), VendorSpec), [narration(modality)])
    routes = VendorRoutes.model_validate_json(manifest["data"]["routes.json"]).deployments
    assert routes["narration"].modality is modality


@pytest.mark.usefixtures("only_transcription")
@pytest.mark.parametrize("primary", ["inhouse", "openai"])
@pytest.mark.parametrize("modality", UNSERVED)
def test_it_is_stalled_with_what_to_do_and_nothing_is_created(modality: Modality, primary: str) -> None:
    world = World(of_modality(modality, primary))
    plan = world.step()
    assert plan.applies == ()
    assert "traffic" not in world.status
    stalled = world.condition(c.STALLED)
    assert (stalled["status"], stalled["reason"]) == ("True", "ModalityNotServed")
    assert f"modality {modality} is not served by this release, only Transcription" in stalled["message"]
    assert f"insource catalog --modality {modality}" in stalled["message"]
    assert world.says(c.READY) == "False"
    assert world.events == ["Warning ModalityNotServed"]
    assert world.step().empty


@pytest.mark.usefixtures("only_transcription")
@pytest.mark.parametrize("modality", UNSERVED)
def test_a_vendors_adapter_has_no_route_for_it(modality: Modality) -> None:
    """The adapter could neither speak nor meter it."""
    vendor, deployment = parse(vendor_object(), VendorSpec), narration(modality)
    assert vendor_routes.route_of(vendor, deployment) is None
    manifest = vendor_routes.build_vendor_routes(vendor, [deployment])
    assert VendorRoutes.model_validate_json(manifest["data"]["routes.json"]).deployments == {}


def narration(modality: Modality) -> ModelDeployment:
    metadata = {"name": "narration", "namespace": "voice"}
    obj = {"kind": "ModelDeployment", "metadata": metadata, "spec": of_modality(modality, "openai")}
    return parse(obj, ModelDeploymentSpec)


def in_house(**changes: Any) -> dict[str, Any]:
    wanted = spec()
    wanted["backends"][0]["inHouse"].update(changes)
    return wanted


@pytest.mark.parametrize(
    ("wanted", "reason", "words"),
    [
        (in_house(model="mai-transcribe-1"), "NoSource", "its weights are not public; add one to it"),
        (
            in_house(model="parakeet-ctc-1.1b", accelerator={"class": "small", "count": 1}),
            "ModelTooLarge",
            'needs 16 GiB of accelerator memory, 1 of AcceleratorClass "small" has 10 GiB; raise accelerator.count',
        ),
    ],
)
def test_what_cannot_run_is_told_by_name_and_leaves_alone_what_serves(
    wanted: dict[str, Any], reason: str, words: str
) -> None:
    world = small_class(World()).serve()
    traffic, live = world.status["traffic"], dict(world.live)
    world.edit(wanted)
    world.settle()
    assert world.condition(c.STALLED)["reason"] == reason
    assert words in world.condition(c.STALLED)["message"]
    assert world.status["traffic"] == traffic
    assert world.live == live
    world.edit(spec())
    world.settle()
    assert world.is_ready()


@pytest.mark.parametrize("accelerator", [{"class": "small", "count": 2}, {"class": "cpu"}])
def test_enough_of_them_together_or_a_class_of_unknown_memory_is_taken(accelerator: dict[str, Any]) -> None:
    world = small_class(World(in_house(model="parakeet-ctc-1.1b", accelerator=accelerator)))
    world.settle()
    assert world.says(c.STALLED) == "-"
    assert len(world.names("ReplicaSet")) == 1


def small_class(world: World) -> World:
    """With a class of accelerators that have 10 GiB each."""
    class_ = parse(
        {
            "kind": "AcceleratorClass",
            "metadata": {"name": "small"},
            "spec": {"resourceName": "nvidia.com/mig-1g.10gb", "memoryGiB": 10, "pricePerHour": "0.4"},
        },
        type(world.catalogue.classes["cpu"].spec),
    )
    object.__setattr__(world.catalogue, "classes", {**world.catalogue.classes, "small": class_})
    return world
