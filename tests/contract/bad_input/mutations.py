"""From the CRDs and one good object of each kind: every object that is wrong in one place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from insource.api import crdgen
from insource.api.kinds import BY_KIND
from tests.pod_settings import EVERYTHING

Json = Any
Place = tuple[str | int, ...]
SAMPLES = Path(__file__).with_name("samples.yaml")
OTHER_TYPE = {"string": 7, "integer": "seven", "boolean": "yes", "object": ["a list"], "array": {"an": "object"}}
LONGEST = 300
"""No text or list is made longer than this: what is bounded above it costs more to send than it tells."""


@dataclass(frozen=True)
class Mutation:
    """`where` and what is wrong there; the whole object."""

    title: str
    obj: dict[str, Json]


def samples() -> dict[str, dict[str, Json]]:
    """The good objects, by kind."""
    found = {each["kind"]: each for each in yaml.safe_load_all(SAMPLES.read_text())}
    found["ModelDeployment"]["spec"]["backends"][0]["inHouse"]["pod"] = copy.deepcopy(EVERYTHING)
    return found


def mutations(kind: str) -> Iterator[Mutation]:
    """Of one kind: what its schema forbids, then what its rules forbid."""
    sample = samples()[kind]
    schema = crdgen.definition(BY_KIND[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield from _below(sample, schema["properties"]["spec"], ("spec",), sample["spec"])
    for number, changes in enumerate(yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text())[kind], 1):
        obj = copy.deepcopy(sample)
        for path, value in changes.items():
            _put(obj, tuple(path.split(".")), value)
        yield Mutation(f"rule {number}: {', '.join(changes)}", obj)


def _below(root: Json, node: dict[str, Json], path: Place, value: Json) -> Iterator[Mutation]:
    yield from _at(root, node, path, value)
    if isinstance(value, dict):
        for name, child in value.items():
            below = node.get("properties", {}).get(name) or node["additionalProperties"]
            yield from _below(root, below, (*path, name), child)
    if isinstance(value, list) and value:
        yield from _below(root, node["items"], (*path, 0), value[0])


def _at(root: Json, node: dict[str, Json], path: Place, value: Json) -> Iterator[Mutation]:
    for what, wrong in _wrong(node, value):
        obj = copy.deepcopy(root)
        _put(obj, path, wrong)
        yield Mutation(f"{'.'.join(map(str, path))}: {what}", obj)


def _wrong(node: dict[str, Json], value: Json) -> Iterator[tuple[str, Json]]:
    yield "another type", OTHER_TYPE[node["type"]]
    match node["type"]:
        case "string":
            if "enum" in node:
                yield "no such word", "Nonsense"
            if node.get("minLength"):
                yield "empty", ""
            if "pattern" in node:
                yield "not of that form", " ?! "
            if node.get("maxLength", LONGEST) < LONGEST:
                yield "too long", "a" * (node["maxLength"] + 1)
        case "integer":
            if "minimum" in node:
                yield "too small", node["minimum"] - 1
            if "maximum" in node:
                yield "too large", node["maximum"] + 1
        case "array":
            if node.get("minItems"):
                yield "empty", []
            if value and node["maxItems"] < LONGEST:
                yield "too many", [_numbered(value[0], number) for number in range(node["maxItems"] + 1)]
            if value and node.get("x-kubernetes-list-type") in ("map", "set"):
                yield "twice the same", [value[0], *value]
        case "object":
            for name in node.get("required", ()):
                yield f"without {name}", {key: item for key, item in value.items() if key != name}
            if "properties" in node:
                yield "a field that is none", {**value, "nonsense": 1}
            elif node.get("maxProperties", LONGEST) < LONGEST:
                yield "too many", {f"key-{n}": next(iter(value.values())) for n in range(node["maxProperties"] + 1)}


def _numbered(item: Json, number: int) -> Json:
    """Another one of its kind, so that only their number is wrong."""
    if isinstance(item, str):
        return f"{item}-{number}"
    return {key: f"{text}-{number}" if isinstance(text, str) and key == "name" else text for key, text in item.items()}


def _put(obj: Json, path: Place, value: Json) -> None:
    *parents, last = (int(part) if isinstance(part, str) and part.isdigit() else part for part in path)
    for part in parents:
        obj = obj[part]
    if value == "(absent)":
        del obj[last]
    else:
        obj[last] = value
