"""What is wrong with a value by its schema, in the real server's words and order. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from insource.local.schema_nodes import Node, compact, json_type
from insource.local.store_errors import Cause

SKIPPED_RULES = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
_UNCHECKED_AFTER = frozenset(
    {"FieldValueTypeInvalid", "FieldValueRequired", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany"}
)


def validate(value: Any, old: Any, node: Node, path: str) -> list[Cause]:
    """What is wrong with `value`, structure first; rules are not asked of a value whose structure may break them.

    Subtrees that equal the old value are not judged again (Kubernetes' "ratcheting").
    """
    causes: list[Cause] = []
    validate_structure(value, old, node, path, causes)
    if any(cause.reason in _UNCHECKED_AFTER for cause in causes):
        return [*causes, SKIPPED_RULES] if node.ruled else causes
    _validate_rules(value, old, node, path, causes)
    return causes


def validate_structure(value: Any, old: Any, node: Node, path: str, causes: list[Cause]) -> None:
    if old is not None and value == old:
        return
    if value is None and node.nullable:
        return
    if node.type and not _is(value, node.type):
        said = json_type(value)
        text = f'Invalid value: "{said}": {path} in body must be of type {_type_name(node.type)}: "{said}"'
        causes.append(Cause("FieldValueTypeInvalid", text, path))
        unlisted = node.among(value, path) if node.among is not None else None
        if unlisted is not None:
            causes.append(unlisted)
        return
    for check in node.checks:
        cause = check(value, path)
        if cause is not None:
            causes.append(cause)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        missing = [f"{path}.{name}" if path else name for name in node.required if name not in value]
        causes.extend(Cause("FieldValueRequired", "Required value", where) for where in missing)
        for name, item in value.items():
            child = node.properties.get(name) or node.additional
            if child is not None:
                validate_structure(item, before.get(name), child, f"{path}.{name}" if path else name, causes)
    elif isinstance(value, list) and node.items is not None:
        matched = _matched(old, node)
        for i, item in enumerate(value):
            validate_structure(item, matched(item, i), node.items, f"{path}[{i}]", causes)
        _validate_uniqueness(value, node, path, causes)


def _validate_uniqueness(value: list[Any], node: Node, path: str, causes: list[Cause]) -> None:
    if node.list_type == "atomic":
        return
    seen: set[str] = set()
    told: set[str] = set()
    for i, item in enumerate(value):
        if node.list_type == "map" and not isinstance(item, dict):
            text = f"Invalid value: {compact(item)}: must be an object for an array of list-type map"
            causes.append(Cause("FieldValueInvalid", text, f"{path}[{i}]"))
            continue
        shown = dict(node.key_of(item)) if node.list_type == "map" else item
        text = compact(shown)
        if text in seen and text not in told:
            told.add(text)
            causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {text}", f"{path}[{i}]"))
        seen.add(text)


def _validate_rules(value: Any, old: Any, node: Node, path: str, causes: list[Cause]) -> None:
    if old is not None and value == old:
        return
    for rule in node.rules:
        cause = rule.broken_by(value, old, path)
        if cause is not None:
            causes.append(cause)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            child = node.properties.get(name) or node.additional
            if child is not None:
                _validate_rules(item, before.get(name), child, f"{path}.{name}" if path else name, causes)
    elif isinstance(value, list) and node.items is not None:
        matched = _matched(old, node)
        for i, item in enumerate(value):
            _validate_rules(item, matched(item, i), node.items, f"{path}[{i}]", causes)


def _matched(old: Any, node: Node) -> Callable[[Any, int], Any]:
    """How a list item finds its old self: by key in a map list; items of other lists have none."""
    if isinstance(old, list) and node.list_type == "map":
        by_key = {node.key_of(item): item for item in old if isinstance(item, dict)}
        return lambda item, _: by_key.get(node.key_of(item)) if isinstance(item, dict) else None
    return lambda _item, _index: None


def _is(value: Any, wanted: str) -> bool:
    kind = json_type(value)
    if wanted == "number":
        return kind in ("integer", "number")
    if wanted == "int-or-string":
        return kind in ("integer", "string")
    if wanted == "integer":
        return kind == "integer" or (kind == "number" and float(value).is_integer())
    return kind == wanted


def _type_name(wanted: str) -> str:
    return "integer,string" if wanted == "int-or-string" else wanted
