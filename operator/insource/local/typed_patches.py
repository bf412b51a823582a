"""What does not fit in the body of a server-side apply, in the words of the library that compares typed values. Pure.

Source: sigs.k8s.io/structured-merge-diff, typed/validate.go and helpers.go.
"""

from __future__ import annotations

import json
from typing import Any

from insource.local.schema_nodes import OPEN, Node
from insource.local.ssa import item_key, path_of

_FITTING: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "quantity": (str, int, float),
    "int-or-string": (str, int),
}
"""What fits without a closer look."""
_NUMERIC = ("integer", "number")
_ANY_SCALAR = ("quantity", "int-or-string")


def fits(value: Any, node: Node) -> bool:
    """Whether there is nothing to say of it: quicker, and nearly always so."""
    if type(value) in _FITTING.get(node.type, ()) or value is None:
        return True
    if isinstance(value, dict) and (node.type == "object" or node.properties):
        properties, others = node.properties, node.additional
        for name, item in value.items():
            child = properties.get(name) or others
            if child is None:
                if not node.keeps_unknown:
                    return False
            elif type(item) not in _FITTING.get(child.type, ()) and not fits(item, child):
                return False
        return True
    if isinstance(value, list) and node.type == "array" and node.list_type == "atomic":
        items = node.items or OPEN
        return all(fits(item, items) for item in value)
    if isinstance(value, list) and node.list_type == "map" and all(isinstance(item, dict) for item in value):
        items = node.items or OPEN
        keys = [node.key_of(item) for item in value]
        scalar = not any(isinstance(part, dict | list) for key in keys for _, part in key)
        return scalar and len(set(keys)) == len(keys) and all(fits(item, items) for item in value)
    return not misfits(value, node)


def misfits(value: Any, node: Node, path: str = "") -> list[str]:
    """Each as `.spec.bogus: field not declared in schema`."""
    if value is None or (node.type == "" and not node.properties and node.keeps_unknown):
        return []
    if node.type == "object" or node.properties:
        if not isinstance(value, dict):
            return [f"{path}: expected map, got {_value(value)}"]
        return _in_map(value, node, path)
    if node.type == "array":
        if not isinstance(value, list):
            return [f"{path}: expected list, got {_value(value)}"]
        return _in_list(value, node, path)
    said = _scalar(value, node.type)
    return [f"{path}: {said}"] if said else []


def _in_map(value: dict[str, Any], node: Node, path: str) -> list[str]:
    found: list[str] = []
    for name, item in value.items():
        child = node.properties.get(name) or node.additional
        if child is not None:
            if type(item) not in _FITTING.get(child.type, ()):
                found += misfits(item, child, f"{path}.{name}")
        elif not node.keeps_unknown:
            found.append(f"{path}.{name}: field not declared in schema")
    return found


def _in_list(value: list[Any], node: Node, path: str) -> list[str]:
    found: list[str] = []
    items = node.items or OPEN
    seen: set[str] = set()
    for i, item in enumerate(value):
        place = f"[{i}]"
        if node.list_type != "atomic":
            if node.list_type == "map" and not isinstance(item, dict):
                return [*found, f"{path}: element {i}: associative list with keys may not have non-map elements"]
            key = item_key(node, item)
            place = path_of(key)
            if key in seen:
                found.append(f"{path}: duplicate entries for key {place}")
            seen.add(key)
        found += misfits(item, items, path + place)
    return found


def _scalar(value: Any, wanted: str) -> str:
    if wanted == "string":
        return "" if isinstance(value, str) else f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"
    if wanted == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got {_value(value)}"
    if wanted in _NUMERIC:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number else f"expected numeric (int or float), got {_type(value)}"
    if wanted in _ANY_SCALAR and isinstance(value, dict | list):
        return f"expected any scalar, got {_value(value)}"
    return ""


def _type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "bool" if isinstance(value, bool) else "string"


def _value(value: Any) -> str:
    return f"&{{{printed(value)}}}"


def printed(value: Any) -> str:
    """As Go's `%v` prints JSON data: `map[a:1 b:[x y]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{printed(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(printed, value)) + "]"
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else json.dumps(value)


def _go(value: Any) -> str:
    """As Go's `%#v` prints JSON data."""
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f'"{k}":{_go(value[k])}' for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(_go, value)) + "}"
    return "interface {}(nil)" if value is None else json.dumps(value)
