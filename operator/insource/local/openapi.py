"""OpenAPI, as much as kubectl and helm read: the fieldValidation parameter, and v3 schemas for `explain`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import orjson

from insource.local.builtin_types import model_of, openapi_schemas, schema_name
from insource.local.discovery import GroupVersion
from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

V2_MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2_EMPTY = b"".join(
    (b"\x0a\x032.0", b"\x12\x15", b"\x0a\x0aKubernetes", b"\x12\x07v1.37.0"),
)
"""A protobuf `Document` with `swagger` and `info` and no definitions.

kubectl checks a `kind: List` by OpenAPI v2 alone, and passes over what has no definition there: the server's own
strict field validation is what judges the items.
"""
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string"}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "force")
]


def _path(pair: GroupVersion) -> str:
    return f"apis/{pair[0]}/{pair[1]}" if pair[0] else f"api/{pair[1]}"


def index(served: Mapping[GroupVersion, list[ResourceKind]]) -> Object:
    """`/openapi/v3`."""
    paths = {}
    for pair, kinds in served.items():
        paths[_path(pair)] = {"serverRelativeURL": f"/openapi/v3/{_path(pair)}?hash={_digest(pair, tuple(kinds))}"}
    return {"paths": paths}


@lru_cache(maxsize=64)
def _digest(pair: GroupVersion, kinds: tuple[ResourceKind, ...]) -> str:
    return hashlib.sha256(orjson.dumps(document(pair, list(kinds)))).hexdigest()[:32]


def document(pair: GroupVersion, kinds: list[ResourceKind]) -> Object:
    """`/openapi/v3/apis/G/V`."""
    paths: Object = {}
    schemas: Object = openapi_schemas("", "ObjectMeta")
    for kind in kinds:
        named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        name = f"{kind.group or 'core'}.{kind.version}.{kind.kind}"
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        operation = {
            "x-kubernetes-group-version-kind": named,
            "responses": {"200": {"description": "OK", "content": content}},
        }
        base = f"/{_path(pair)}/namespaces/{{namespace}}" if kind.namespaced else f"/{_path(pair)}"
        paths[f"{base}/{kind.plural}"] = {
            "get": {**operation, "x-kubernetes-action": "list"},
            "post": {**operation, "x-kubernetes-action": "post", "parameters": _PARAMETERS},
        }
        paths[f"{base}/{kind.plural}/{{name}}"] = {
            "get": {**operation, "x-kubernetes-action": "get"},
            "patch": {**operation, "x-kubernetes-action": "patch", "parameters": _PARAMETERS},
        }
        if kind.openapi is None:
            schemas.update(openapi_schemas(kind.group, kind.kind))
        schemas[name] = {**_schema(kind, schemas), "x-kubernetes-group-version-kind": [named]}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schema(kind: ResourceKind, schemas: Object) -> Object:
    if kind.openapi is None:
        described: Object = schemas[schema_name(model_of(kind.group, kind.kind))]
        return described
    properties = {
        **(kind.openapi.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": f"#/components/schemas/{schema_name('V1ObjectMeta')}"}],
        },
    }
    return {**kind.openapi, "properties": properties}
