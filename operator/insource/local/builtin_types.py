"""The field names and types of the built-in kinds, from builtin_types.json: as schema nodes and as OpenAPI v3.

Whether a field is required, and what values it may have, is not in the table: see `builtin`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from insource.local.schema_nodes import OPEN, Node, json_type
from insource.local.store_errors import Object

MODELS = {
    ("", "Event"): "CoreV1Event",
    ("events.k8s.io", "Event"): "EventsV1Event",
}
"""(group, Kind) -> model, where it is not `V1<Kind>`."""
_SCALARS = {
    "str": "string",
    "bytes": "string",
    "datetime": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "quantity": "quantity",
}
_FITTING = {
    "": frozenset({str, int, float, bool, dict, list}),
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "quantity": frozenset({str, int, float}),
}
"""Type of a node -> Python types that fit without a closer look. A node without a type takes anything."""
_NONE: frozenset[type] = frozenset()


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("builtin_types.json").read_text())
    return table


def model_of(group: str, kind: str) -> str:
    return MODELS.get((group, kind), f"V1{kind}")


def closed(group: str, kind: str, merging: Node) -> Node:
    """`merging` (how lists and maps merge) with every field of the kind declared, and no other allowed."""
    return _node(model_of(group, kind), merging, {})


def _node(declared: str, merging: Node, plain: dict[str, Node]) -> Node:
    if declared == "object":
        return merging
    if declared in _SCALARS:
        return Node(type=_SCALARS[declared], default=merging.default)
    if declared.startswith("List["):
        items = _node(declared[5:-1], merging.items or OPEN, plain)
        return Node(type="array", items=items, list_type=merging.list_type, keys=merging.keys)
    if declared.startswith("Dict["):
        inner = _node(declared.partition(", ")[2][:-1], OPEN, plain)
        return Node(type="object", additional=inner, atomic=merging.atomic)
    shared = not merging.properties and not merging.struct and not merging.atomic
    if shared and declared in plain:
        return plain[declared]
    node = Node(type="object", atomic=merging.atomic, struct=merging.struct, defaulted=merging.defaulted)
    if shared:
        plain[declared] = node  # before its properties: a type may contain itself
    for name, inside in _table()[declared].items():
        node.properties[name] = _node(inside, merging.properties.get(name, OPEN), plain)
    return node


def mistyped(value: Any, old: Any, node: Node, path: str) -> str | None:
    """Why Go could not decode `value`, or None; what equals the old value is not judged again."""
    if value is None or value is old or type(value) in _FITTING.get(node.type, _NONE):
        return None
    if isinstance(value, dict) and node.type == "object":
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            child = node.properties.get(name) or node.additional
            inside = f"{path}.{name}" if name in node.properties else path  # Go names fields, not a map's keys
            wrong = mistyped(item, before.get(name), child, inside) if child is not None else None
            if wrong is not None:
                return wrong
        return None
    if isinstance(value, list) and node.type == "array":
        if value == old:
            return None
        known = old[: len(value)] if isinstance(old, list) else []
        for item, was in zip_longest(value, known):
            wrong = mistyped(item, was, node.items or OPEN, path)
            if wrong is not None:
                return wrong
        return None
    said = json_type(value)
    if said == node.type:
        return None
    said = {"integer": "number", "boolean": "bool"}.get(said, said)
    return f"json: cannot unmarshal {said} into Go struct field {path} of type {node.type}"


# --- as OpenAPI


def _inside(declared: str) -> str:
    """`V1EnvVar` of `List[V1EnvVar]`."""
    return declared.rpartition("[")[2].rpartition(" ")[2].rstrip("]")


def _closure(model: str, found: dict[str, None]) -> Iterator[str]:
    if model in found or model not in _table():
        return
    found[model] = None
    yield model
    for declared in _table()[model].values():
        yield from _closure(_inside(declared), found)


def _schema(declared: str) -> Object:
    if declared == "object":
        return {"x-kubernetes-preserve-unknown-fields": True}
    if declared == "quantity":
        return {"oneOf": [{"type": "string"}, {"type": "number"}]}
    if declared in _SCALARS:
        formats = {"datetime": "date-time", "bytes": "byte", "float": "double"}
        shown: Object = {"type": _SCALARS[declared]}
        return {**shown, "format": formats[declared]} if declared in formats else shown
    if declared.startswith("List["):
        return {"type": "array", "items": _schema(declared[5:-1])}
    if declared.startswith("Dict["):
        return {"type": "object", "additionalProperties": _schema(declared.partition(", ")[2][:-1])}
    return {"allOf": [{"$ref": f"#/components/schemas/{schema_name(declared)}"}]}


def schema_name(model: str) -> str:
    """`v1.PodSpec`, of which kubectl shows the last part, for the model V1PodSpec."""
    prefix, _, name = model.partition("V1")
    return f"{prefix.lower()}.v1.{name}".lstrip(".")


def openapi_schemas(group: str, kind: str) -> Object:
    """The kind's model and all that it uses, as OpenAPI v3 schemas by `schema_name`."""
    return {
        schema_name(model): {
            "type": "object",
            "properties": {name: _schema(declared) for name, declared in sorted(_table()[model].items())},
        }
        for model in _closure(model_of(group, kind), {})
    }
