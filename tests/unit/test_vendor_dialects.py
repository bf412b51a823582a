"""What each wire format of a vendor serves: the same in the domain's table, in the adapter, and in the documents."""

from __future__ import annotations

from typing import Any

import pytest

from insource.adapter.dialects.seam import Dialects
from insource.adapter.dialects.vendors import vendor_dialects
from insource.api import conditions as c
from insource.api.kinds import parse
from insource.api.vendor import VendorSpec
from insource.domain.build.vendor_deployment import build_vendor_deployment
from insource.domain.dialects import MODALITIES, dialect_problem
from insource.env import system_env
from insource.wire.vocabulary import Dialect, Modality
from tests.unit.domain_world import SETTINGS, World, spec, vendor_object
from tests.vendors_document import DOCUMENT, written

FACES = {
    Modality.TRANSCRIPTION: ("transcription",),
    Modality.SPEECH: ("speech",),
    Modality.IMAGE: ("image_generation", "image_edit"),
    Modality.TEXT: ("completion", "chat_completion"),
    Modality.EMBEDDING: ("embedding",),
}
HOST = "https://acme.cognitiveservices.azure.com"


def spoken(dialect: Dialect, **changes: Any) -> Dialects:
    def calls(path: str) -> Any:
        return path

    options = {"endpoint": HOST, "api_version": "2024-10-21", **changes}
    return vendor_dialects(dialect, calls, system_env(), lambda: "key", **options)


@pytest.mark.parametrize("dialect", Dialect)
def test_the_domains_table_is_what_the_adapter_speaks(dialect: Dialect) -> None:
    faces = spoken(dialect)
    for modality, names in FACES.items():
        found = {getattr(faces, name) is not None for name in names}
        assert found == {modality in MODALITIES[dialect]}, modality


def test_a_problem_names_the_dialects_that_can() -> None:
    assert dialect_problem(Dialect.AZURE_IMAGES, Modality.IMAGE) == ""
    assert dialect_problem(Dialect.AZURE_SPEECH, Modality.IMAGE) == (
        "speaks dialect AzureSpeech, which has Speech, Transcription but no Image; "
        "name a Vendor with one of the dialects OpenAI, OpenAICompatible, AzureOpenAI, AzureImages"
    )


def test_a_vendor_that_cannot_serve_the_modality_stalls_by_name_and_leaves_alone_what_serves() -> None:
    world = World().serve()
    traffic, live = world.status["traffic"], dict(world.live)
    good = dict(world.vendors)
    images = vendor_object(dialect="AzureImages", endpoint="https://acme.services.ai.azure.com")
    world.vendors = {**good, "openai": images}
    world.settle()
    stalled = world.condition(c.STALLED)
    assert stalled["reason"] == "DialectCannotServe"
    assert 'backend "openai": Vendor "openai" speaks dialect AzureImages' in stalled["message"]
    assert world.status["traffic"] == traffic
    assert world.live == live
    assert world.events[-1] == "Warning DialectCannotServe"
    world.vendors = good
    world.settle()
    assert world.is_ready()


def test_a_new_deployment_at_such_a_vendor_creates_nothing() -> None:
    backends = [{"name": "mai", "vendor": {"name": "openai", "model": "MAI-Image-2"}}]
    world = World(
        spec(backends=backends, traffic={"primary": "mai"}),
        openai=vendor_object(dialect="AzureImages", endpoint="https://acme.services.ai.azure.com"),
    )
    plan = world.step()
    assert plan.applies == ()
    assert world.condition(c.STALLED)["reason"] == "DialectCannotServe"


def test_the_adapter_is_told_a_version_only_where_there_is_one() -> None:
    def environment(**changes: Any) -> dict[str, str]:
        built = build_vendor_deployment(parse(vendor_object(**changes), VendorSpec), SETTINGS)
        (container,) = built["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each.get("value", "") for each in container["env"]}

    assert "INSOURCE_API_VERSION" not in environment()
    assert type(environment()["INSOURCE_DIALECT"]) is str  # an enumeration's member is no text to every encoder
    azure = environment(dialect="AzureOpenAI", endpoint="https://acme.openai.azure.com", apiVersion="2024-10-21")
    assert azure["INSOURCE_DIALECT"] == "AzureOpenAI"
    assert azure["INSOURCE_API_VERSION"] == "2024-10-21"


def test_the_document_says_what_the_adapter_does() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == written(text), "run `python -m tests.vendors_document`"
