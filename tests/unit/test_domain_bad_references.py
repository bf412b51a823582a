"""What is missing or unfit is named, what serves stays untouched, and it heals."""

from __future__ import annotations

from typing import Any

import pytest

from insource.api import conditions as c
from insource.api.catalog_model import CatalogModelSpec
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import parse
from insource.domain.references import resolve
from insource.domain.snapshot import Catalogue, VendorAdapter
from tests.unit.domain_world import World, builtin_catalogue, spec, vendor_object


def in_house(**changes: Any) -> dict[str, Any]:
    wanted = spec()
    wanted["backends"][0]["inHouse"].update(changes)
    return wanted


CASES = [
    (in_house(model="nope"), "ModelNotFound", 'CatalogModel "nope" not found; create it or choose one of: parakeet-'),
    (in_house(accelerator={"class": "tpu"}), "AcceleratorClassNotFound", 'AcceleratorClass "tpu" not found; create it'),
    (in_house(runtime="speaches"), "RuntimeNotSupported", "choose one of: faster-whisper-cpu"),
    (
        {**spec(), "backends": [spec()["backends"][0], {"name": "openai", "vendor": {"name": "acme", "model": "m"}}]},
        "VendorNotFound",
        'Vendor "acme" not found in namespace "voice"; create it or choose one of: openai',
    ),
]


@pytest.mark.parametrize(("wanted", "reason", "words"), CASES)
def test_a_bad_reference_stalls_by_name_and_leaves_alone_what_serves(
    wanted: dict[str, Any], reason: str, words: str
) -> None:
    world = World().serve()
    traffic, live = world.status["traffic"], dict(world.live)
    world.edit(wanted)
    world.settle()
    assert world.condition(c.STALLED)["reason"] == reason
    assert words in world.condition(c.STALLED)["message"]
    assert (world.says(c.READY), world.says(c.RECONCILING)) == ("False", "-")
    assert world.status["traffic"] == traffic
    assert world.live == live
    assert world.events[-1] == f"Warning {reason}"
    world.edit(spec())
    world.settle()
    assert world.is_ready()
    assert world.says(c.STALLED) == "-"


@pytest.mark.parametrize("wanted", [case[0] for case in CASES])
def test_a_new_deployment_with_a_bad_reference_creates_nothing(wanted: dict[str, Any]) -> None:
    world = World(wanted)
    plan = world.step()
    assert plan.applies == ()
    assert "traffic" not in world.status
    assert world.step().empty


def test_it_heals_when_what_is_missing_appears() -> None:
    world = World()
    whole = world.catalogue
    world.catalogue = builtin_catalogue(runtimes="faster-whisper-cpu")
    world.settle()
    assert 'InferenceRuntime "faster-whisper-cpu" not found' in world.condition(c.STALLED)["message"]
    world.catalogue = whole
    world.serve()
    assert world.is_ready()


def test_an_empty_catalogue_says_create_it() -> None:
    world = World()
    world.catalogue = Catalogue()
    world.settle()
    assert world.condition(c.READY)["message"].endswith('CatalogModel "whisper-tiny-en" not found; create it')


def test_a_long_catalogue_is_not_recited() -> None:
    world = World(in_house(model="nope"))
    one = world.catalogue.models["whisper-tiny-en"]
    models = {
        f"m{n:02}": parse(
            {"kind": "CatalogModel", "metadata": {"name": f"m{n:02}"}, "spec": one.spec.model_dump(by_alias=True)},
            CatalogModelSpec,
        )
        for n in range(20)
    }
    world.catalogue = Catalogue(models, world.catalogue.runtimes, world.catalogue.classes)
    world.settle()
    assert world.condition(c.READY)["message"].endswith("m08, m09, ...")


@pytest.mark.parametrize("what", ["model", "runtime"])
def test_the_wrong_modality_is_named(what: str) -> None:
    world = World()
    snapshot = world.snapshot()
    catalogue = world.catalogue
    speech: Any = "Speech"
    if what == "model":
        spec_ = catalogue.models["whisper-tiny-en"].spec.model_copy(update={"modality": speech})
        model: Any = parse(
            {"kind": "CatalogModel", "metadata": {"name": "whisper-tiny-en"}, "spec": {**CATALOG}}, CatalogModelSpec
        )
        object.__setattr__(model, "spec", spec_)
        catalogue = Catalogue({"whisper-tiny-en": model}, catalogue.runtimes, catalogue.classes)
    else:
        runtime: Any = parse({"metadata": {"name": "faster-whisper-cpu"}, "spec": {**RUNTIME}}, InferenceRuntimeSpec)
        object.__setattr__(runtime, "spec", runtime.spec.model_copy(update={"modalities": (speech,)}))
        catalogue = Catalogue(catalogue.models, {"faster-whisper-cpu": runtime}, catalogue.classes)
    world.catalogue = catalogue
    problem = resolve(world.snapshot())
    assert snapshot is not None
    assert problem.reason == "WrongModality"  # type: ignore[union-attr]
    assert "Transcription" in problem.message  # type: ignore[union-attr]


CATALOG = {"modality": "Transcription", "sources": [{"runtime": "r", "uri": "package://x"}]}
RUNTIME = {"modalities": ["Transcription"], "image": "i"}


@pytest.mark.parametrize(
    ("allowed", "labels", "ok"),
    [
        ({"names": ["dictation"]}, {}, True),
        ({"names": ["other"]}, {}, False),
        ({"matchLabels": {"team": "a"}}, {"team": "a"}, True),
        ({"matchLabels": {"team": "a"}}, {"team": "b"}, False),
        ({}, {}, False),
    ],
)
def test_a_vendor_serves_only_whom_its_owner_allows(allowed: dict[str, Any], labels: dict[str, str], ok: bool) -> None:
    world = World(None, openai=vendor_object(allowedDeployments=allowed))
    world.object["metadata"]["labels"] = labels
    world.settle()
    assert (world.says(c.STALLED) == "-") is ok
    if not ok:
        assert world.condition(c.STALLED)["reason"] == "VendorNotAllowed"


def test_a_missing_vendor_key_stalls_and_names_the_secret() -> None:
    world = World()
    world.adapters = {
        "openai": VendorAdapter(credentials_resolved=False, credentials_message="Secret openai-key missing")
    }
    world.settle()
    world.ready(1)
    world.settle()
    assert world.condition(c.STALLED)["reason"] == "CredentialsMissing"
    assert "openai-key" in world.condition(c.STALLED)["message"]
    assert world.weights[0][0] == "inhouse", "serving goes on"
    world.adapters = {"openai": VendorAdapter(ready=1, credentials_resolved=True)}
    world.settle()
    assert world.is_ready()
    world.adapters = {"openai": VendorAdapter()}
    world.settle()
    assert world.is_ready(), "one that cannot be asked has not lost its key"
    world.adapters = {"openai": VendorAdapter(credentials_resolved=False)}
    world.settle()
    assert "its key was not found" in world.condition(c.STALLED)["message"]


def test_ready_waits_until_the_vendors_key_is_known() -> None:
    world = World()
    world.adapters = {}
    world.settle()
    world.ready(1)
    assert world.step().requeue_after_s is not None
    assert world.condition(c.READY)["reason"] == "WaitingForVendor"
