"""The CRDs: structural, bounded, as the models say, and as committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field
from syrupy.assertion import SnapshotAssertion

from insource.api import crdgen
from insource.api.catalogue import builtin_objects
from insource.api.fields import Spec
from insource.api.kinds import BY_KIND, KINDS, Kind

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"$ref", "anyOf", "oneOf", "allOf", "not", "title", "uniqueItems", "const", "definitions", "nullable"}


def nodes(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield where, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{where}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{where}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{where}{{}}")


def root(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = crdgen.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_schemas_are_structural_and_bounded(kind: Kind) -> None:
    for where, node in nodes(root(kind)):
        assert "type" in node, where
        assert not FORBIDDEN & node.keys(), where
        assert not ("properties" in node and "additionalProperties" in node), where
        if where in ("", ".metadata", ".apiVersion", ".kind"):
            continue
        if node["type"] == "array":
            assert node["maxItems"] <= 1024, where
            if node.get("x-kubernetes-list-type") == "map":
                for key in node["x-kubernetes-list-map-keys"]:
                    item = node["items"]
                    assert key in item.get("required", ()) or "default" in item["properties"][key], where
            elif node["items"]["type"] == "string":
                assert node["x-kubernetes-list-type"] in ("set", "atomic"), where
        if node["type"] == "string":
            assert "maxLength" in node or "enum" in node, where
        if node["type"] == "object" and "properties" not in node:
            assert "maxProperties" in node, where
        for item in node.get("x-kubernetes-validations", ()):
            assert item["rule"], where
            assert len(item["message"]) > 20, where


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_lists_of_named_items_are_maps(kind: Kind) -> None:
    for where, node in nodes(root(kind)):
        is_pods = where.startswith(".spec.backends[].inHouse.pod.")  # as Kubernetes has them, named or not
        if node["type"] == "array" and node["items"]["type"] == "object" and "tolerations" not in where and not is_pods:
            assert node["x-kubernetes-list-type"] == "map", where


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_has_status_and_an_age_column(kind: Kind) -> None:
    version = crdgen.definition(kind)["spec"]["versions"][0]
    assert version["subresources"]["status"] == {}
    assert version["additionalPrinterColumns"][-1]["name"] == "Age"


def test_a_model_deployment_can_be_scaled_and_has_its_columns_and_short_name() -> None:
    crd = crdgen.definition(BY_KIND["ModelDeployment"])
    version = crd["spec"]["versions"][0]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    names = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert names == ["Modality", "Ready", "Primary", "Replicas", "Reason", "Age"]
    assert crd["spec"]["names"]["shortNames"] == ["mdep"]


def test_committed_files_are_what_the_models_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main(["--check", str(ROOT / "crds")]) == 0
    assert capsys.readouterr().err == ""


def test_check_names_what_differs_and_writing_repairs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main([str(tmp_path)]) == 0
    (tmp_path / "vendors.insource.dev.yaml").write_text("old")
    (tmp_path / "left.yaml").write_text("over")
    assert crdgen.main(["--check", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "vendors.insource.dev.yaml differs" in told
    assert "left.yaml differs" in told
    assert crdgen.main([str(tmp_path)]) == 0
    assert crdgen.main(["--check", str(tmp_path)]) == 0


def test_golden(snapshot: SnapshotAssertion) -> None:
    assert crdgen.render(crdgen.definition(BY_KIND["ModelDeployment"])) == snapshot


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_defaults_in_the_schema_are_the_models(kind: Kind) -> None:
    sample = next(iter([obj["spec"] for obj in samples() if obj["kind"] == kind.kind]))
    assert kind.spec.model_validate(sample) == kind.spec.model_validate(
        defaulted(root(kind)["properties"]["spec"], sample)
    )


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """What the API server stores."""
    if schema["type"] == "object" and "properties" in schema:
        filled = dict(value)
        for name, child in schema["properties"].items():
            if name in filled:
                filled[name] = defaulted(child, filled[name])
            elif "default" in child:
                filled[name] = child["default"]
        return filled
    if schema["type"] == "array":
        return [defaulted(schema["items"], item) for item in value]
    return value


def samples() -> list[dict[str, Any]]:
    objects = builtin_objects()
    for name in ("transcription.yaml", "vendor-openai.yaml", "vendor-azure-speech.yaml", "vendor-azure-images.yaml"):
        objects += yaml.safe_load_all((ROOT / "examples" / name).read_text())
    return [obj for obj in objects if obj["kind"] in BY_KIND]


class Recursive(Spec):
    again: Recursive | None = None


class Union(Spec):
    value: Annotated[str, Field(max_length=3)] | int = 1


class EndlessText(Spec):
    value: str = ""


class EndlessList(Spec):
    value: tuple[int, ...] = ()


class EndlessMap(Spec):
    value: dict[str, int] = {}


class Anything(Spec):
    value: Any = None


class Fraction(Spec):
    value: float = 1.0


class Odd(Spec):
    value: Annotated[int, Field(multiple_of=3)] = 3


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Recursive, "contains itself"),
        (Union, "a union"),
        (EndlessText, "a text needs a greatest length"),
        (EndlessList, "a list needs a greatest length"),
        (EndlessMap, "a map needs a greatest size"),
        (Anything, "no structural form"),
        (Fraction, "no structural form for type 'number'"),
        (Odd, "no structural form for multipleOf"),
    ],
)
def test_what_cannot_be_said_is_an_error_that_says_where(model: type[Spec], words: str) -> None:
    with pytest.raises(crdgen.UnstructuralError, match=words):
        crdgen.schema_of(model)
