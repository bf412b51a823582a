"""What is wrong with a CustomResourceDefinition, in the real server's words: names, versions, structural schemas. Pure.

Sources: k8s.io/apiextensions-apiserver, pkg/apis/apiextensions/validation and pkg/apiserver/schema/validation.go; of
their checks those whose neglect would change what is stored or served.
"""

from __future__ import annotations

from typing import Any

from insource.local.schema_nodes import compact
from insource.local.store_errors import Cause, Object

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_EMPTY = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def faults(crd: Object, old: Object | None) -> list[Cause]:
    """In the order in which the real server names them."""
    spec = crd["spec"]
    names = spec.get("names") or {}
    causes = []
    if crd["metadata"]["name"] != f"{names.get('plural', '')}.{spec.get('group', '')}":
        causes.append(_invalid("metadata.name", crd["metadata"]["name"], 'must be spec.names.plural+"."+spec.group'))
    causes += _group(spec.get("group", ""))
    causes += _scope(spec.get("scope", ""))
    versions = spec.get("versions") or []
    hoisted = _shared_schema(versions)
    if hoisted is None:
        causes += [
            _required(f"spec.versions[{i}].schema.openAPIV3Schema")
            for i, version in enumerate(versions)
            if not (version.get("schema") or {}).get("openAPIV3Schema")
        ]
    if sum(bool(version.get("storage")) for version in versions) != 1:
        causes.append(_invalid("spec.versions", versions, "must have exactly one version marked as storage version"))
    causes += [
        _required(f"spec.names.{name}") for name in ("plural", "singular", "kind", "listKind") if not names.get(name)
    ]
    if names.get("kind") and names["kind"] == names.get("listKind"):
        causes.append(_invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    causes += _schemas(versions, hoisted)
    for i, version in enumerate(versions):
        where = "spec" if len(versions) == 1 else f"spec.versions[{i}]"
        causes += _subresources(version.get("subresources") or {}, f"{where}.subresources")
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            causes += _column(column, f"{where}.additionalPrinterColumns[{j}]")
    if old is not None:
        causes += _immutable(spec, old["spec"])
    return causes


def _required(field: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


def _invalid(field: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {compact(value)}: {why}", field)


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _group(group: str) -> list[Cause]:
    if not group:
        return [_required("spec.group")]
    return [] if "." in group else [_invalid("spec.group", group, "should be a domain with at least one dot")]


def _scope(scope: str) -> list[Cause]:
    if not scope:
        return [_required("spec.scope")]
    if scope in ("Cluster", "Namespaced"):
        return []
    said = f'Unsupported value: {compact(scope)}: supported values: "Cluster", "Namespaced"'
    return [Cause("FieldValueNotSupported", said, "spec.scope")]


def _immutable(spec: Object, old: Object) -> list[Cause]:
    def part(of: Object, path: str) -> Any:
        for name in path.split(".")[1:]:
            of = of.get(name) or {}
        return of

    paths = ("spec.scope", "spec.names.kind", "spec.group", "spec.names.plural")
    changed = [path for path in paths if part(spec, path) != part(old, path)]
    return [_invalid(path, part(spec, path), "field is immutable") for path in changed]


def _shared_schema(versions: list[Object]) -> Object | None:
    """The schema that all versions have: inside, the server keeps it once, and so it names its place."""
    schemas = [(version.get("schema") or {}).get("openAPIV3Schema") for version in versions]
    return schemas[0] if schemas and all(schema and schema == schemas[0] for schema in schemas) else None


def _schemas(versions: list[Object], hoisted: Object | None) -> list[Cause]:
    if hoisted is not None:
        return _schema(hoisted, "spec.validation.openAPIV3Schema")
    causes = []
    for i, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema:
            causes += _schema(schema, f"spec.versions[{i}].schema.openAPIV3Schema")
    return causes


def _schema(schema: Object, path: str) -> list[Cause]:
    causes = _lists(schema, path)
    return causes + sorted(_structure(schema, path, "root"), key=Cause.text)


def _structure(schema: Object, path: str, level: str) -> list[Cause]:
    kind = schema.get("type", "")
    causes = []
    items, additional = schema.get("items"), schema.get("additionalProperties")
    if kind == "array" and items is None:
        causes.append(_required(f"{path}.items", "must be specified"))
    if isinstance(items, dict):
        causes += _structure(items, f"{path}.items", "item")
    for name, inside in (schema.get("properties") or {}).items():
        # What the root says of metadata is another matter: it may only restrict names.
        if level != "root" or name != "metadata":
            causes += _structure(inside, f"{path}.properties[{name}]", "field")
    if additional is not None:
        if level == "root":
            causes.append(_forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(additional, dict):
            causes += _structure(additional, f"{path}.additionalProperties", "field")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not kind and not free:
        causes.append(_required(f"{path}.type", _EMPTY[level]))
    if level == "root" and kind and kind != "object":
        causes.append(_invalid(f"{path}.type", kind, "must be object at the root"))
    return causes


def _lists(schema: Object, path: str) -> list[Cause]:
    """Lists, maps and what is not allowed at all, from the outside in."""
    causes = []
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(_forbidden(f"{path}.uniqueItems", why))
    if additional is not None and additional is not True and properties:
        why = "additionalProperties and properties are mutual exclusive"
        causes.append(_forbidden(f"{path}.additionalProperties", why))
    if isinstance(additional, dict):
        causes += _lists(additional, f"{path}.additionalProperties")
    for name, inside in properties.items():
        causes += _lists(inside, f"{path}.properties[{name}]")
    items = schema.get("items")
    if isinstance(items, dict):
        causes += _lists(items, f"{path}.items")
    return causes + _list_type(schema, path)


def _list_type(schema: Object, path: str) -> list[Cause]:
    causes = []
    of, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    items = schema.get("items")
    if of is not None and schema.get("type") != "array":
        why = "must be array if x-kubernetes-list-type is specified"
        typed = schema.get("type")
        causes.append(_invalid(f"{path}.type", typed, why) if typed else _required(f"{path}.type", why))
    if of not in (None, "atomic", "set", "map"):
        said = f'Unsupported value: {compact(of)}: supported values: "atomic", "map", "set"'
        causes.append(Cause("FieldValueNotSupported", said, f"{path}.x-kubernetes-list-type"))
    if keys and of != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        where = f"{path}.x-kubernetes-list-type"
        causes.append(_required(where, why) if of is None else _invalid(where, of, why))
    if of == "map" and not keys:
        where = f"{path}.x-kubernetes-list-map-keys"
        causes.append(_required(where, "must not be empty if x-kubernetes-list-type is map"))
    if of == "map" and isinstance(items, dict):
        known = items.get("properties") or {}
        if items.get("type") != "object":
            why = "must be object if parent array's x-kubernetes-list-type is map"
            causes.append(_invalid(f"{path}.items.type", items.get("type", ""), why))
        elif any(key not in known for key in keys):
            where = f"{path}.x-kubernetes-list-map-keys"
            causes.append(_invalid(where, keys, "entries must all be names of item properties"))
        else:
            needed = items.get("required") or []
            causes += [
                _required(f"{path}.items.properties[{key}].default", _KEY_RULE)
                for key in keys
                if key not in needed and "default" not in known[key]
            ]
    return causes


_KEY_RULE = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"


def _subresources(subresources: Object, path: str) -> list[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return []
    causes = []
    for name, under in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        where, said = f"{path}.scale.{name}", scale.get(name, "")
        if not said:
            causes.append(_required(where))
        elif not said.startswith(under):
            causes.append(_invalid(where, said, f"should be a json path under {under.rstrip('.')}"))
    return causes


def _column(column: Object, path: str) -> list[Cause]:
    causes = []
    kind, one_of = column.get("type", ""), f"must be one of {','.join(_COLUMN_TYPES)}"
    if not column.get("name"):
        causes.append(_required(f"{path}.name"))
    if not kind:
        causes.append(_required(f"{path}.type", one_of))
    elif kind not in _COLUMN_TYPES:
        causes.append(_invalid(f"{path}.type", kind, one_of))
    if not column.get("jsonPath"):
        causes.append(_required(f"{path}.JSONPath"))
    return causes
