"""Label and field selectors, compiled once into a test. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from insource.local import label_selectors
from insource.local.store_errors import Object, bad_request

Test = Callable[[Object], bool]


@lru_cache(maxsize=1024)
def label_test(selector: str) -> Test | None:
    """A test of objects, or None for an empty selector. Raises ApiError 400."""
    if not label_selectors.parse(selector):
        return None
    fits = label_selectors.matcher(selector)
    return lambda obj: fits(obj["metadata"].get("labels") or {})


@lru_cache(maxsize=1024)
def field_test(selector: str, selectable: tuple[str, ...], custom: bool) -> Test | None:
    """A test of objects, or None for an empty selector. Raises ApiError 400 for a field that cannot be selected."""
    tests: list[Test] = []
    for part in filter(None, (part.strip() for part in selector.split(","))):
        match = re.fullmatch(r"([^=!]+?)\s*(==|=|!=)\s*(.*)", part)
        if match is None:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
        path, operator, value = match.groups()
        if path not in ("metadata.name", "metadata.namespace") and path not in selectable:
            if custom or selectable:
                raise bad_request(f"field label not supported: {path}")
            known = '"metadata.name", "metadata.namespace"'
            raise bad_request(f'"{path}" is not a known field selector: only {known}')
        tests.append(_field_requirement(tuple(path.split(".")), operator == "!=", value))
    if not tests:
        return None
    return lambda obj: all(test(obj) for test in tests)


def _field_requirement(path: tuple[str, ...], unequal: bool, value: str) -> Test:
    return lambda obj: (as_text(lookup(obj, path)) == value) != unequal


def lookup(obj: Any, path: Iterable[str]) -> Any:
    """The value at a path of field names, or None."""
    for name in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj


def as_text(value: Any) -> str:
    """How a field looks to a selector."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def both(first: Test | None, second: Test | None) -> Test | None:
    if first is None or second is None:
        return first or second
    one, two = first, second
    return lambda obj: one(obj) and two(obj)


def match_labels(selector: Object | None, labels: dict[str, str] | None) -> bool:
    """A LabelSelector object (matchLabels, matchExpressions) against labels; an absent selector matches nothing."""
    if selector is None:
        return False
    found = labels or {}
    if any(found.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule["key"], rule["operator"], rule.get("values") or []
        held = {
            "In": found.get(key) in values,
            "NotIn": found.get(key) not in values,
            "Exists": key in found,
            "DoesNotExist": key not in found,
        }.get(operator)
        if held is None:
            raise bad_request(f"{operator!r} is not a valid label selector operator")
        if not held:
            return False
    return True


def selector_text(selector: Object | None) -> str:
    """A LabelSelector object as the text that list and watch take."""
    if not selector:
        return ""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or []:
        values = ",".join(sorted(rule.get("values") or []))
        parts.append(
            {
                "In": f"{rule['key']} in ({values})",
                "NotIn": f"{rule['key']} notin ({values})",
                "Exists": rule["key"],
                "DoesNotExist": f"!{rule['key']}",
            }[rule["operator"]]
        )
    return ",".join(parts)
