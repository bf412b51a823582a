"""The shipped catalogue as data: whole, sourced, dated, consistent, and delivered in a way that can work."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from insource.api import catalogue
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec
from insource.api.catalogue import builtin_objects
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import Resource, parse
from insource.api.model_deployment import InHouse
from insource.api.price_book import PriceBookSpec, PriceEntry
from insource.cli.catalog_entries import Entry, read_catalogue
from insource.domain.delivery import delivery_problem
from insource.domain.pricing import QUOTED_PER
from insource.wire.vocabulary import Modality, Unit
from tests.catalogue_document import DOCUMENT, written

NOW = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)
PRICES = Path(catalogue.__file__).with_name("prices.yaml")
ENTRIES: tuple[PriceEntry, ...] = PriceBookSpec.model_validate(yaml.safe_load(PRICES.read_text())["spec"]).entries
ASKED_FOR = {
    "vllm-audio", "speaches", "kokoro-fastapi", "nim-asr", "vllm-omni", "sglang-diffusion", "vllm", "llama-cpp", "tei",
}  # fmt: skip
ROWS: dict[str, set[str]] = {
    "MAI-Transcribe": {"mai-transcribe-1", "mai-transcribe-1-5", "mai-transcribe-2", "whisper-large-v3-turbo"}
    | {"parakeet-ctc-1.1b", "whisper-tiny-en"},
    "MAI-Voice": {"mai-voice-1", "mai-voice-2", "mai-voice-2-flash", "kokoro-82m", "qwen3-tts-1.7b", "piper-joe"},
    "MAI-Image": {"mai-image-2", "mai-image-2-5", "mai-image-2-6", "z-image-turbo", "qwen-image", "flow-32"},
    "code completion": {"qwen2.5-coder-7b", "qwen2.5-coder-1.5b-q8", "gemma3-270m-it-q8"} | {"gemma3-270m"},
    "data analysis, summarisation": {"qwen3-8b"},
    "retrieval": {"qwen3-embedding-0.6b", "all-minilm-l6-v2"},
}
"""Of the table of what is to be taken in-house; what its own CPU servers will serve comes with them."""


def parsed(kind: str, spec: Any) -> dict[str, Resource[Any]]:
    found = [parse(obj, spec) for obj in builtin_objects() if obj["kind"] == kind]
    return {item.name: item for item in found}


MODELS: dict[str, Resource[CatalogModelSpec]] = parsed("CatalogModel", CatalogModelSpec)
RUNTIMES: dict[str, Resource[InferenceRuntimeSpec]] = parsed("InferenceRuntime", InferenceRuntimeSpec)
CLASSES: dict[str, Resource[AcceleratorClassSpec]] = parsed("AcceleratorClass", AcceleratorClassSpec)
READ = read_catalogue(builtin_objects(), NOW)


def test_every_row_of_the_table_has_its_entries() -> None:
    assert set().union(*ROWS.values()) == MODELS.keys()
    assert RUNTIMES.keys() >= ASKED_FOR
    assert {model.spec.modality for model in MODELS.values()} == set(Modality)
    assert READ.problems == ()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.vendor}/{entry.model}/{entry.unit}")
def test_every_price_is_sourced_dated_and_decimal_text(entry: PriceEntry) -> None:
    assert re.search(r"https://[^\s,;]+\.[a-z]+", entry.source), "where it was read"
    (read,) = re.findall(r"read (20\d\d-\d\d-\d\d)\b", entry.source)
    assert date.fromisoformat(read) <= NOW.date()
    assert date.fromisoformat(entry.effective_from) <= NOW.date()
    assert entry.unit in QUOTED_PER, "a unit that the catalogue cannot show"
    assert entry.per == QUOTED_PER[entry.unit][0]
    assert float(entry.price) > 0


def test_money_is_text_in_the_file_too() -> None:
    """YAML would read 0.10 as a number, and a number has lost its last digit."""
    for entry in yaml.safe_load(PRICES.read_text())["spec"]["entries"]:
        assert isinstance(entry["price"], str)
        assert isinstance(entry["effectiveFrom"], str)


@pytest.mark.parametrize("entry", READ.entries, ids=lambda entry: entry.name)
def test_every_vendor_equivalent_has_a_price(entry: Entry) -> None:
    assert [offer for offer in entry.offers if not offer.prices] == []
    units = {price.per for offer in entry.offers for price in offer.prices}
    assert (
        units
        <= {
            Modality.TRANSCRIPTION: {"audio hour"},
            Modality.SPEECH: {"1M characters"},
            Modality.IMAGE: {"1M input tokens", "1M input image tokens", "1M image tokens"},
            Modality.TEXT: {"1M input tokens", "1M output tokens"},
            Modality.EMBEDDING: {"1M input tokens"},
        }[entry.modality]
    )


def test_every_price_is_of_a_model_that_an_entry_takes_the_place_of() -> None:
    named = {(item.vendor, item.model) for model in MODELS.values() for item in model.spec.vendor_equivalents}
    assert {(entry.vendor, entry.model) for entry in ENTRIES} == named


def test_a_vendors_model_shuts_down_on_one_day_wherever_it_is_named() -> None:
    days: dict[tuple[str, str], set[str | None]] = {}
    for model in MODELS.values():
        for item in model.spec.vendor_equivalents:
            days.setdefault((item.vendor, item.model), set()).add(item.shutdown_on)
    assert {name: found for name, found in days.items() if len(found) > 1} == {}
    known = {name: found.pop() for name, found in days.items()}
    for day in known.values():
        assert day is None or date.fromisoformat(day)
    assert known["openai", "whisper-1"] == "2027-02-26"
    assert known["openai", "tts-1"] == "2027-01-06"


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_every_model_says_whose_it_is_and_can_be_delivered(model: Resource[CatalogModelSpec]) -> None:
    assert model.spec.publisher
    assert model.spec.version
    assert model.spec.licence
    lifecycle = model.spec.lifecycle
    if lifecycle is not None and lifecycle.successor is not None:
        assert MODELS[lifecycle.successor].spec.modality == model.spec.modality
    for source in model.spec.sources:
        runtime = RUNTIMES[source.runtime]
        assert model.spec.modality in runtime.spec.modalities
        assert delivery_problem(source, runtime.spec, InHouse(model=model.name)) == ""
        assert {profile.class_ for profile in source.profiles} <= CLASSES.keys()
    entry = next(item for item in READ.entries if item.name == model.name)
    assert {place.runtime for place in entry.places} == {source.runtime for source in model.spec.sources}


def test_checksums_are_those_that_somebody_has_computed() -> None:
    sources = [(model.name, source) for model in MODELS.values() for source in model.spec.sources]
    packaged = {"whisper-tiny-en", "piper-joe", "gemma3-270m", "all-minilm-l6-v2", "flow-32"}
    assert {name for name, source in sources if source.sha256} == packaged
    assert not [file for _, source in sources for file in source.files if file.sha256]


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=lambda runtime: runtime.name)
def test_images_are_pinned_by_tag(runtime: Resource[InferenceRuntimeSpec]) -> None:
    for image in (runtime.spec.image, *runtime.spec.accelerator_images.values()):
        name, _, tag = image.rpartition("/")[2].partition(":")
        assert name
        assert re.search(r"\d", tag), image
        assert "latest" not in tag
    assert runtime.spec.accelerator_images.keys() <= CLASSES.keys()


def test_units_that_nothing_is_billed_in_are_not_in_the_vocabulary_twice() -> None:
    assert len({unit.value for unit in Unit}) == len(Unit)
    assert QUOTED_PER.keys() == set(Unit)


def test_the_document_has_the_tables_of_what_ships() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text), "run `python -m tests.catalogue_document`"
