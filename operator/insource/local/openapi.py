"""OpenAPI v3 documents, as much as kubectl and helm read: the fieldValidation parameter, and schemas for `explain`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import orjson

from insource.local.discovery import REVIEWS, GroupVersion
from insource.local.openapi_schemas import PREFIX, custom_schema, name_of, references, with_all_they_use
from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

VERSION = "v1.37.2"
"""Of the Kubernetes whose types these are."""
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
    group, version = pair
    paths: Object = {}
    schemas: dict[str, Object] = {}
    names: list[str] = []
    for kind in kinds:
        name = name_of(group, version, kind.kind, custom=kind.custom)
        paths.update(_paths(pair, kind.plural, kind.kind, name, namespaced=kind.namespaced))
        if kind.custom:
            schemas[name] = custom_schema(kind)
            names += references(schemas[name])
        else:
            names.append(name)
    for plural, review in REVIEWS.get(pair, {}).items():
        name = name_of(group, version, review, custom=False)
        names.append(name)
        paths.update(_paths(pair, plural, review, name, namespaced=plural.startswith("local")))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {"schemas": with_all_they_use(names) | schemas},
    }


def _paths(pair: GroupVersion, plural: str, kind: str, schema: str, *, namespaced: bool) -> Object:
    content = {"application/json": {"schema": {"$ref": PREFIX + schema}}}
    operation = {
        "x-kubernetes-group-version-kind": {"group": pair[0], "version": pair[1], "kind": kind},
        "responses": {"200": {"description": "OK", "content": content}},
    }
    base = f"/{_path(pair)}/namespaces/{{namespace}}" if namespaced else f"/{_path(pair)}"
    return {
        f"{base}/{plural}": {
            "get": {**operation, "x-kubernetes-action": "list"},
            "post": {**operation, "x-kubernetes-action": "post", "parameters": _PARAMETERS},
        },
        f"{base}/{plural}/{{name}}": {
            "get": {**operation, "x-kubernetes-action": "get"},
            "patch": {**operation, "x-kubernetes-action": "patch", "parameters": _PARAMETERS},
        },
    }
