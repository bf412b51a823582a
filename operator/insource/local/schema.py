"""Structural schemas: compiling a CRD's openAPIV3Schema, and what is pruned and defaulted by it.

The tree is in `schema_nodes`; what is wrong with a value says `schema_validation`. Built-in kinds write their own
trees. Knows nothing of kinds, metadata or storage.
"""

from __future__ import annotations

from typing import Any

from insource.local.cel import compile_rules
from insource.local.schema_checks import Fits, checks_of, enum_check
from insource.local.schema_nodes import OPEN, Node
from insource.local.schema_validation import validate_structure
from insource.local.store_errors import Cause, Object


def compile_schema(declared: Object, path: str = "") -> Node:
    """Compiles an openAPIV3Schema. Raises ApiError 501 for what cannot be enforced here."""
    properties = {
        name: compile_schema(child, f"{path}.{name}" if path else name)
        for name, child in (declared.get("properties") or {}).items()
    }
    additional = declared.get("additionalProperties")
    items = declared.get("items")
    kind = "int-or-string" if declared.get("x-kubernetes-int-or-string") else str(declared.get("type") or "")
    keeps = bool(declared.get("x-kubernetes-preserve-unknown-fields")) or additional is True
    if declared.get("x-kubernetes-embedded-resource"):
        for name in ("apiVersion", "kind", "metadata"):
            properties.setdefault(name, OPEN)
    of_values = compile_schema(additional, f"{path}.*") if isinstance(additional, dict) else None
    of_items = compile_schema(items, f"{path}[*]") if isinstance(items, dict) else None
    rules = compile_rules(declared.get("x-kubernetes-validations") or [], path or "the root")
    inside = [*properties.values(), *(each for each in (of_values, of_items) if each is not None)]
    return Node(
        type=kind,
        properties=properties,
        additional=of_values,
        items=of_items,
        keeps_unknown=keeps or not kind,
        nullable=bool(declared.get("nullable")),
        default=declared.get("default"),
        required=tuple(declared.get("required") or ()),
        list_type=declared.get("x-kubernetes-list-type") or "atomic",
        keys=tuple(sorted(declared.get("x-kubernetes-list-map-keys") or ())),
        atomic=declared.get("x-kubernetes-map-type") == "atomic",
        checks=tuple(checks_of(declared, _fitting)),
        among=enum_check(declared),
        rules=rules,
        ruled=bool(rules) or any(each.ruled for each in inside),
        defaulted=tuple((name, child.default) for name, child in properties.items() if child.default is not None),
    )


def _fitting(declared: Object) -> Fits:
    node = compile_schema(declared)

    def fits(value: Any, path: str) -> bool:
        causes: list[Cause] = []
        validate_structure(value, None, node, path, causes)
        return not causes

    return fits


def admit(value: Any, node: Node, path: str, unknown: list[str], *, defaulting: bool = True) -> Any:
    """A fresh copy of `value`: undeclared fields pruned (and named in `unknown`), nulls dropped, defaults filled in."""
    if isinstance(value, dict):
        return _admit_object(value, node, path, unknown, defaulting=defaulting)
    if isinstance(value, list):
        items = node.items or OPEN
        return [admit(item, items, f"{path}[{i}]", unknown, defaulting=defaulting) for i, item in enumerate(value)]
    return value


def _admit_object(value: Object, node: Node, path: str, unknown: list[str], *, defaulting: bool) -> Object:
    admitted: Object = {}
    properties, additional, keeps = node.properties, node.additional, node.keeps_unknown
    for name, item in value.items():
        child = properties.get(name) or additional
        if child is None:
            if keeps:
                admitted[name] = copied(item)
            else:
                unknown.append(f"{path}.{name}" if path else name)
        elif item is None:
            if child.nullable or (child.keeps_unknown and child.type == ""):
                admitted[name] = None
        elif isinstance(item, dict | list):
            inside = f"{path}.{name}" if path else name
            admitted[name] = admit(item, child, inside, unknown, defaulting=defaulting)
        else:
            admitted[name] = item
    for name, default in node.defaulted if defaulting else ():
        if name not in admitted:
            admitted[name] = admit(default, properties[name], path, [])
    return admitted


def copied(value: Any) -> Any:
    """A deep copy of JSON data (faster than copy.deepcopy)."""
    if isinstance(value, dict):
        return {key: copied(item) if isinstance(item, dict | list) else item for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) if isinstance(item, dict | list) else item for item in value]
    return value
