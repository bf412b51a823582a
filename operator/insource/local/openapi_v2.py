"""OpenAPI v2, which kubectl reads in protobuf to check a `kind: List`: the same schemas, as v2 can say them.

Sources: k8s.io/apiextensions-apiserver, pkg/controller/openapi/v2 (what v2 cannot say is left out);
github.com/google/gnostic-models, openapiv2/OpenAPIv2.proto (field numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import pack
from typing import Any

import orjson

from insource.local.apiserver_protobuf import bytes_field, number_field
from insource.local.discovery import GroupVersion
from insource.local.openapi import VERSION, document
from insource.local.openapi_schemas import PREFIX
from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_LEFT_OUT = frozenset({"allOf", "anyOf", "oneOf", "not", "default", "nullable"})
_UNTYPED = "x-kubernetes-preserve-unknown-fields"
_STRINGS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_NUMBERS = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_INTEGERS = {
    "exclusiveMaximum": 8, "exclusiveMinimum": 10, "maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15,
    "uniqueItems": 16, "maxProperties": 17, "minProperties": 18,
}  # fmt: skip


def document_v2(served: Mapping[GroupVersion, list[ResourceKind]]) -> Object:
    """`/openapi/v2`: definitions only; nobody here reads its paths."""
    definitions: dict[str, Object] = {}
    for pair, kinds in served.items():
        for name, schema in document(pair, kinds)["components"]["schemas"].items():
            definitions[name] = _root(schema) if "x-kubernetes-group-version-kind" in schema else as_v2(schema)
    info = {"title": "Kubernetes", "version": VERSION}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions}


def _root(schema: Object) -> Object:
    """A kind whose unknown fields are kept is an object and no more: kubectl would refuse those fields."""
    if schema.get(_UNTYPED):
        named = "x-kubernetes-group-version-kind"
        return {"type": "object", named: schema[named]}
    return as_v2(schema)


def as_v2(schema: Object) -> Object:
    """One OpenAPI v3 schema in the words of v2."""
    every = schema.get("allOf") or []
    target = schema.get("$ref") or (every[0].get("$ref") if len(every) == 1 else None)
    if target:
        said = {name: value for name, value in schema.items() if name == "description" or name.startswith("x-")}
        return {"$ref": target.replace(PREFIX, "#/definitions/"), **said}
    kept = {name: value for name, value in schema.items() if name not in _LEFT_OUT}
    if schema.get("oneOf") and "type" not in schema:
        kept["type"] = "string"  # quantities, and what may be a number or a string
    if schema.get("nullable") or schema.get(_UNTYPED):
        for name in ("type", "items", "properties"):
            kept.pop(name, None)
        return kept
    if "properties" in kept:
        kept["properties"] = {name: as_v2(inside) for name, inside in kept["properties"].items()}
        if "required" in kept:
            inside = schema["properties"]
            kept["required"] = [name for name in kept["required"] if not (inside.get(name) or {}).get("nullable")]
    for name in ("items", "additionalProperties"):
        if isinstance(kept.get(name), dict):
            kept[name] = as_v2(kept[name])
    if kept.get("type") == "array" and "items" not in kept:
        del kept["type"]
    return kept


def encoded(document: Object) -> bytes:
    """The document as a protobuf `openapi.v2.Document`."""
    info = bytes_field(1, document["info"]["title"]) + bytes_field(2, document["info"]["version"])
    definitions = _named(1, document["definitions"].items())
    head = bytes_field(1, document["swagger"]) + bytes_field(2, info)
    return head + bytes_field(8, b"") + bytes_field(9, definitions)


def _named(number: int, schemas: Iterable[tuple[str, Object]]) -> bytes:
    return b"".join(
        bytes_field(number, bytes_field(1, name) + bytes_field(2, _schema(schema))) for name, schema in sorted(schemas)
    )


def _schema(schema: Object) -> bytes:
    found = [bytes_field(number, schema[name]) for name, number in _STRINGS.items() if name in schema]
    found += [
        _double(number, schema[name]) for name, number in _NUMBERS.items() if isinstance(schema.get(name), int | float)
    ]
    found += [number_field(number, int(schema[name])) for name, number in _INTEGERS.items() if name in schema]
    found += [bytes_field(19, name) for name in schema.get("required") or ()]
    found += [bytes_field(20, _any(value)) for value in schema.get("enum") or ()]
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        found.append(bytes_field(21, bytes_field(1, _schema(additional))))
    elif additional is not None:
        found.append(bytes_field(21, number_field(2, int(additional))))
    if "type" in schema:
        found.append(bytes_field(22, bytes_field(1, schema["type"])))
    if "items" in schema:
        found.append(bytes_field(23, bytes_field(1, _schema(schema["items"]))))
    if "properties" in schema:
        found.append(bytes_field(25, _named(1, schema["properties"].items())))
    found += [
        bytes_field(31, bytes_field(1, name) + bytes_field(2, _any(value)))
        for name, value in schema.items()
        if name.startswith("x-")
    ]
    return b"".join(found)


def _double(number: int, value: float) -> bytes:
    return bytes((number << 3 | 1,)) + pack("<d", value)


def _any(value: Any) -> bytes:
    return bytes_field(2, orjson.dumps(value))  # JSON is YAML
