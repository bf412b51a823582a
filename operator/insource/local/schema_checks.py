"""The value checks of a schema: bounds, lengths, patterns, formats, combinations, each with the real server's words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from insource.local.schema_nodes import Check, compact
from insource.local.store_errors import Cause, Object

Fits = Callable[[Any, str], bool]
"""(value, path) -> whether an inner schema takes it."""


def checks_of(declared: Object, fitting: Callable[[Object], Fits]) -> list[Check]:
    """The value checks that a schema asks for; `fitting` compiles the schemas inside its combinations."""
    checks: list[Check] = []
    for word, test, phrase in (
        ("minimum", lambda v, n: v >= n, "greater than or equal to"),
        ("maximum", lambda v, n: v <= n, "less than or equal to"),
    ):
        if declared.get(word) is not None:
            strict = bool(declared.get("exclusiveMinimum" if word == "minimum" else "exclusiveMaximum"))
            checks.append(_bound(declared[word], test, phrase, strict))
    among = enum_check(declared)
    if among is not None:
        checks.append(among)
    of_text = [*reversed(_lengths(declared, "Length"))]  # too long, then too short
    if declared.get("pattern"):
        of_text.append(_pattern(declared["pattern"]))
    if of_text:
        checks.append(_first(of_text))
    if declared.get("format"):
        checks.extend(_format(declared["format"]))
    checks.extend(_lengths(declared, "Items"))
    checks.extend(_lengths(declared, "Properties"))
    combined = [word for word in ("oneOf", "anyOf", "allOf", "not") if declared.get(word)]
    checks.extend(_combination(word, declared[word], declared, fitting) for word in combined)
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


def enum_check(declared: Object) -> Check | None:
    """Whether it is one of those that are allowed; None if anything is. Also asked of a value whose type is wrong."""
    allowed = declared.get("enum")
    if allowed is None:
        return None
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


def _lengths(declared: Object, word: str) -> list[Check]:
    least, most = declared.get(f"min{word}"), declared.get(f"max{word}")
    unit = {"Length": "bytes", "Items": "items", "Properties": "properties"}[word]
    checks = [_least(int(least), word)] if least is not None else []
    return [*checks, _most(int(most), word, unit)] if most is not None else checks


def _first(checks: list[Check]) -> Check:
    """The first complaint, if there are several: a text's length and form are one question to the real server."""

    def check(value: Any, path: str) -> Cause | None:
        return next((cause for each in checks if (cause := each(value, path)) is not None), None)

    return check


def _least(limit: int, word: str) -> Check:
    noun = {"Length": "chars long", "Items": "items", "Properties": "properties"}[word]

    def check(value: Any, path: str) -> Cause | None:
        if len(value) >= limit:
            return None
        verb = "be at least" if word == "Length" else "have at least"
        shown = compact(value) if word == "Length" else str(len(value))
        text = f"Invalid value: {shown}: {path} in body should {verb} {limit} {noun}"
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


def _combination(word: str, alternatives: Any, declared: Object, fitting: Callable[[Object], Fits]) -> Check:
    """oneOf, anyOf, allOf, not: value checks only (structural schemas forbid types and defaults inside them)."""
    listed = alternatives if isinstance(alternatives, list) else [alternatives]
    # Inside int-or-string the alternatives name types, which the node itself has checked.
    tests = [] if declared.get("x-kubernetes-int-or-string") else [fitting(item) for item in listed]

    def check(value: Any, path: str) -> Cause | None:
        if not tests:
            return None
        fits = sum(test(value, path) for test in tests)
        wanted = {"oneOf": fits == 1, "anyOf": fits >= 1, "allOf": fits == len(tests), "not": fits == 0}[word]
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
