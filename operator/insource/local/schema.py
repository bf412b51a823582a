"""Structural schemas: what is pruned, defaulted and validated, and how lists and maps merge.

A CRD's openAPIV3Schema is compiled once into a tree of `Node`; built-in kinds write their own, mostly open, trees.
Knows nothing of kinds, metadata or storage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from insource.local.cel import Rule, compile_rules
from insource.local.store_errors import Cause, Object

Check = Callable[[Any, str], Cause | None]

SKIPPED_RULES = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
_UNCHECKED_AFTER = frozenset(
    {"FieldValueTypeInvalid", "FieldValueRequired", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany"}
)


@dataclass(eq=False)
class Node:
    """One position in a schema."""

    type: str = ""
    """`object`, `array`, `string`, `integer`, `number`, `boolean`, `int-or-string`, or "" for anything."""
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    items: Node | None = None
    keeps_unknown: bool = False
    nullable: bool = False
    default: Any = None
    required: tuple[str, ...] = ()
    list_type: str = "atomic"
    """`atomic`, `set` or `map` (then `keys`)."""
    keys: tuple[str, ...] = ()
    atomic: bool = False
    """A map or object that has one owner as a whole."""
    struct: bool = False
    """Built-in kinds: a Go struct by value, which never appears as `.` in managed fields."""
    checks: tuple[Check, ...] = ()
    rules: tuple[Rule, ...] = ()
    defaulted: tuple[tuple[str, Any], ...] = ()
    """Properties with a default."""

    @staticmethod
    def open() -> Node:
        """Anything goes."""
        return Node(keeps_unknown=True)

    def child(self, name: str) -> Node:
        """The node of a property or map value; an open node where nothing is declared."""
        return self.properties.get(name) or self.additional or OPEN

    def key_of(self, item: Object) -> tuple[tuple[str, Any], ...]:
        """A map-list item's key, with defaulted key fields filled in."""
        known = self.items or OPEN
        found = []
        for name in self.keys:
            value = item.get(name)
            if value is None:
                value = known.properties[name].default if name in known.properties else None
            found.append((name, value))
        return tuple(found)


OPEN = Node.open()


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
    return Node(
        type=kind,
        properties=properties,
        additional=compile_schema(additional, f"{path}.*") if isinstance(additional, dict) else None,
        items=compile_schema(items, f"{path}[*]") if isinstance(items, dict) else None,
        keeps_unknown=keeps or not kind,
        nullable=bool(declared.get("nullable")),
        default=declared.get("default"),
        required=tuple(declared.get("required") or ()),
        list_type=declared.get("x-kubernetes-list-type") or "atomic",
        keys=tuple(sorted(declared.get("x-kubernetes-list-map-keys") or ())),
        atomic=declared.get("x-kubernetes-map-type") == "atomic",
        checks=tuple(_checks(declared)),
        rules=compile_rules(declared.get("x-kubernetes-validations") or [], path or "the root"),
        defaulted=tuple((name, child.default) for name, child in properties.items() if child.default is not None),
    )


def admit(value: Any, node: Node, path: str, unknown: list[str]) -> Any:
    """A fresh copy of `value`: undeclared fields pruned (and named in `unknown`), nulls dropped, defaults filled in."""
    if isinstance(value, dict):
        return _admit_object(value, node, path, unknown)
    if isinstance(value, list):
        items = node.items or OPEN
        return [admit(item, items, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    return value


def _admit_object(value: Object, node: Node, path: str, unknown: list[str]) -> Object:
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
            admitted[name] = admit(item, child, f"{path}.{name}" if path else name, unknown)
        else:
            admitted[name] = item
    for name, default in node.defaulted:
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


def validate(value: Any, old: Any, node: Node, path: str) -> list[Cause]:
    """What is wrong with `value`, structure first; rules are asked only of a structurally sound value.

    Subtrees that equal the old value are not judged again (Kubernetes' "ratcheting").
    """
    causes: list[Cause] = []
    _validate_structure(value, old, node, path, causes)
    if causes:
        if any(cause.reason in _UNCHECKED_AFTER for cause in causes):
            causes.append(SKIPPED_RULES)
        return causes
    _validate_rules(value, old, node, path, causes)
    return causes


def _validate_structure(value: Any, old: Any, node: Node, path: str, causes: list[Cause]) -> None:
    if old is not None and value == old:
        return
    if value is None and node.nullable:
        return
    if node.type and not _is(value, node.type):
        said = json_type(value)
        text = f'Invalid value: "{said}": {path} in body must be of type {_type_name(node.type)}: "{said}"'
        causes.append(Cause("FieldValueTypeInvalid", text, path))
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
                _validate_structure(item, before.get(name), child, f"{path}.{name}" if path else name, causes)
    elif isinstance(value, list) and node.items is not None:
        matched = _matched(old, node)
        for i, item in enumerate(value):
            _validate_structure(item, matched(item, i), node.items, f"{path}[{i}]", causes)
        _validate_uniqueness(value, node, path, causes)


def _validate_uniqueness(value: list[Any], node: Node, path: str, causes: list[Cause]) -> None:
    if node.list_type == "atomic":
        return
    seen: set[str] = set()
    for i, item in enumerate(value):
        shown = dict(node.key_of(item)) if node.list_type == "map" and isinstance(item, dict) else item
        text = compact(shown)
        if text in seen:
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


def compact(value: Any) -> str:
    """JSON with sorted keys and no spaces, as Go prints it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def json_type(value: Any) -> str:
    if value is None:
        return "null"
    for python, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, python):
            return name
    return "object"


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


def _checks(declared: Object) -> list[Check]:
    """The value checks that a schema asks for."""
    checks: list[Check] = []
    for word, test, phrase in (
        ("minimum", lambda v, n: v >= n, "greater than or equal to"),
        ("maximum", lambda v, n: v <= n, "less than or equal to"),
    ):
        if declared.get(word) is not None:
            strict = bool(declared.get("exclusiveMinimum" if word == "minimum" else "exclusiveMaximum"))
            checks.append(_bound(declared[word], test, phrase, strict))
    if declared.get("enum") is not None:
        checks.append(_enum(declared["enum"]))
    if declared.get("pattern"):
        checks.append(_pattern(declared["pattern"]))
    if declared.get("format"):
        checks.extend(_format(declared["format"]))
    checks.extend(_lengths(declared))
    combined = [word for word in ("oneOf", "anyOf", "allOf", "not") if declared.get(word)]
    checks.extend(_combination(word, declared[word], declared) for word in combined)
    if declared.get("multipleOf"):
        checks.append(_multiple(declared["multipleOf"]))
    return checks


def _bound(limit: float, test: Callable[[Any, Any], bool], phrase: str, strict: bool) -> Check:
    said = phrase.replace(" or equal to", "") if strict else phrase

    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) or (test(value, limit) and not (strict and value == limit)):
            return None
        text = f"Invalid value: {compact(value)}: {path} in body should be {said} {compact(limit)}"
        return Cause("FieldValueInvalid", text, path)

    return check


def _multiple(factor: float) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) or value % factor == 0:
            return None
        text = f"Invalid value: {compact(value)}: {path} in body should be a multiple of {compact(factor)}"
        return Cause("FieldValueInvalid", text, path)

    return check


def _enum(allowed: list[Any]) -> Check:
    shown = ", ".join(compact(item) for item in allowed)

    def check(value: Any, path: str) -> Cause | None:
        if value in allowed:
            return None
        text = f"Unsupported value: {compact(value)}: supported values: {shown}"
        return Cause("FieldValueNotSupported", text, path)

    return check


def _pattern(pattern: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any, path: str) -> Cause | None:
        if not isinstance(value, str) or compiled.search(value):
            return None
        text = f"Invalid value: {compact(value)}: {path} in body should match '{pattern}'"
        return Cause("FieldValueInvalid", text, path)

    return check


_FORMATS = {
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z"),
    "date": re.compile(r"\d{4}-\d\d-\d\d\Z"),
    "uuid": re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z"),
    "duration": re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+\Z|0\Z"),
}
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _format(name: str) -> list[Check]:
    if name in _RANGES:
        low, high = _RANGES[name]

        def in_range(value: Any, path: str) -> Cause | None:
            if not isinstance(value, int) or low <= value <= high:
                return None
            text = f"Invalid value: {compact(value)}: {path} in body must be of type {name}: {compact(value)}"
            return Cause("FieldValueInvalid", text, path)

        return [in_range]
    expected = _FORMATS.get(name)
    if expected is None:
        return []  # as the real server: unknown formats say nothing

    def formed(value: Any, path: str) -> Cause | None:
        if not isinstance(value, str) or expected.match(value):
            return None
        text = f"Invalid value: {compact(value)}: {path} in body must be of type {name}: {compact(value)}"
        return Cause("FieldValueInvalid", text, path)

    return [formed]


def _lengths(declared: Object) -> list[Check]:
    checks: list[Check] = []
    for word, unit in (("Length", "bytes"), ("Items", "items"), ("Properties", "properties")):
        least, most = declared.get(f"min{word}"), declared.get(f"max{word}")
        if least is not None:
            checks.append(_least(int(least), word))
        if most is not None:
            checks.append(_most(int(most), word, unit))
    return checks


def _least(limit: int, word: str) -> Check:
    noun = {"Length": "chars long", "Items": "items", "Properties": "properties"}[word]

    def check(value: Any, path: str) -> Cause | None:
        if len(value) >= limit:
            return None
        verb = "be at least" if word == "Length" else "have at least"
        text = f"Invalid value: {compact(value)}: {path} in body should {verb} {limit} {noun}"
        return Cause("FieldValueInvalid", text, path)

    return check


def _most(limit: int, word: str, unit: str) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if len(value) <= limit:
            return None
        if word == "Length":
            return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} {unit}", path)
        return Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {limit} items", path)

    return check


def _combination(word: str, alternatives: Any, declared: Object) -> Check:
    """oneOf, anyOf, allOf, not: value checks only (structural schemas forbid types and defaults inside them)."""
    listed = alternatives if isinstance(alternatives, list) else [alternatives]
    # Inside int-or-string the alternatives name types, which the node itself has checked.
    nodes = [] if declared.get("x-kubernetes-int-or-string") else [compile_schema(item) for item in listed]

    def check(value: Any, path: str) -> Cause | None:
        if not nodes:
            return None
        fits = 0
        for node in nodes:
            causes: list[Cause] = []
            _validate_structure(value, None, node, path, causes)
            fits += not causes
        wanted = {"oneOf": fits == 1, "anyOf": fits >= 1, "allOf": fits == len(nodes), "not": fits == 0}[word]
        if wanted:
            return None
        phrase = {
            "oneOf": "must validate one and only one schema (oneOf)",
            "anyOf": "must validate at least one schema (anyOf)",
            "allOf": "must validate all the schemas (allOf)",
            "not": "must not validate the schema (not)",
        }[word]
        return Cause("FieldValueInvalid", f'Invalid value: "": "{path}" {phrase}', path)

    return check
