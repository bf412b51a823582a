"""The OpenAPI v3 schemas of kinds: Kubernetes' own word for word, from builtin_openapi.json; ours as a CRD gives them.

Source of what is added to a CRD's schema: k8s.io/apiextensions-apiserver, pkg/controller/openapi/builder.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

PREFIX = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PACKAGES = {
    "": "io.k8s.api.core.v1",
    "apps": "io.k8s.api.apps.v1",
    "autoscaling": "io.k8s.api.autoscaling.v1",
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
}
_EMBEDDED = {
    "apiVersion": "apiVersion defines the versioned schema of this representation of an object. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    "kind": "kind is a string value representing the type of this object. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
}


@cache
def builtin_schemas() -> dict[str, Object]:
    """Every schema of Kubernetes' own types, by name. Read only."""
    found: dict[str, Object] = orjson.loads(Path(__file__).with_name("builtin_openapi.json").read_bytes())
    return found


def name_of(group: str, version: str, kind: str, *, custom: bool) -> str:
    """`io.k8s.api.apps.v1.Deployment`, `dev.insource.v1alpha1.ModelDeployment`."""
    if custom:
        return ".".join((*reversed(group.split(".")), version, kind))
    package = _PACKAGES.get(group) or f"io.k8s.api.{group.partition('.')[0]}.v1"
    return f"{package}.{kind}"


def with_all_they_use(names: list[str]) -> dict[str, Object]:
    """The built-in schemas of these names, and those that they refer to."""
    found: dict[str, Object] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = builtin_schemas()[name]
            waiting += references(found[name])
    return found


def references(value: Any) -> Iterator[str]:
    """The names of the schemas that a schema refers to."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if name == "$ref" and isinstance(inside, str):
                yield inside.rpartition("/")[2]
            else:
                yield from references(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from references(inside)


def custom_schema(kind: ResourceKind) -> Object:
    """A CRD's schema as the API server publishes it."""
    published = _completed(kind.openapi or {})
    shared = builtin_schemas()["io.k8s.api.core.v1.ConfigMap"]["properties"]
    published["properties"] = {
        **(published.get("properties") or {}),
        "apiVersion": shared["apiVersion"],
        "kind": shared["kind"],
        "metadata": _metadata(),
    }
    published["x-kubernetes-group-version-kind"] = [
        {"group": kind.group, "version": kind.version, "kind": kind.kind},
    ]
    if kind.selectable_fields:
        published["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in kind.selectable_fields]
    return published


def _metadata() -> Object:
    described = builtin_schemas()["io.k8s.api.core.v1.ConfigMap"]["properties"]["metadata"]["description"]
    return {"description": described, "allOf": [{"$ref": f"{PREFIX}{_META}.ObjectMeta"}]}


def _completed(declared: Object) -> Object:
    """A copy, with what int-or-string and embedded resources mean spelt out."""
    schema = dict(declared)
    if "properties" in schema:
        schema["properties"] = {name: _completed(inside) for name, inside in (schema["properties"] or {}).items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            schema[name] = _completed(schema[name])
    if schema.get("x-kubernetes-int-or-string") and not schema.get("anyOf") and not schema.get("allOf"):
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("x-kubernetes-embedded-resource"):
        shared = builtin_schemas()["io.k8s.api.core.v1.ConfigMap"]["properties"]
        own = {name: {**shared[name], "description": text} for name, text in _EMBEDDED.items()}
        schema["properties"] = {**(schema.get("properties") or {}), **own, "metadata": _metadata()}
        required = list(schema.get("required") or [])
        schema["required"] = required + [name for name in ("kind", "apiVersion") if name not in required]
    return schema
