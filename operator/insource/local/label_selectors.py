"""Label selectors (`team=a,tier in (x,y),!old,n>3`), read the way the API server reads them. Pure.

The grammar and the words of its errors are those of k8s.io/apimachinery/pkg/labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from insource.local import labels as rules
from insource.local.schema_nodes import compact
from insource.local.store_errors import ApiError, bad_request

Labels = Mapping[str, str]
_TOKENS = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_SYMBOLS = frozenset(("==", "!=", "=", "!", "(", ")", ",", "<", ">", ""))
_OPERATORS = frozenset(("in", "notin", "=", "==", "!=", "<", ">"))
_INTEGER = re.compile(r"-?\d+\Z")


@dataclass(frozen=True)
class Requirement:
    """One comma's worth. `operator`: in, notin, exists, absent, < or >."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        found = labels.get(self.key)
        match self.operator:
            case "in":
                return found in self.values
            case "notin":
                return found not in self.values
            case "exists":
                return found is not None
            case "absent":
                return found is None
        if found is None or not _INTEGER.match(found):
            return False
        (limit,) = self.values
        return int(found) > int(limit) if self.operator == ">" else int(found) < int(limit)


@lru_cache(maxsize=1024)
def parse(selector: str) -> tuple[Requirement, ...]:
    """The requirements, all of which must hold. Raises ApiError 400."""
    return _Parser(selector).requirements()


def matcher(selector: str) -> Callable[[Labels], bool]:
    """Whether labels fit. Raises ApiError 400."""
    requirements = parse(selector)
    return lambda labels: all(requirement.holds(labels) for requirement in requirements)


def _unreadable(why: str) -> ApiError:
    return bad_request(f"unable to parse requirement: {why}")


class _Parser:
    """`""` is the end of the text, as a token."""

    def __init__(self, text: str) -> None:
        self._tokens = [match.group(1) for match in _TOKENS.finditer(text)]
        self._next = 0

    def _ahead(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._ahead()
        self._next += 1
        return token

    def requirements(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while token := self._ahead():
            if token in _SYMBOLS and token != "!":
                raise bad_request(f"found '{token}', expected: !, identifier, or 'end of string'")
            found.append(self._requirement())
            after = self._take()
            if not after:
                break
            if after != ",":
                raise bad_request(f"found '{after}', expected: ',' or 'end of string'")
            following = self._ahead()
            if following in _SYMBOLS and following != "!":
                raise bad_request(f"found '{following}', expected: identifier after ','")
        return tuple(found)

    def _requirement(self) -> Requirement:
        negated = self._ahead() == "!"
        if negated:
            self._take()
        key = self._take()
        if key in _SYMBOLS:
            raise _unreadable(f"found '{key}', expected: identifier")
        wrong = rules.wrong_key(key)
        if wrong is not None:
            raise _unreadable(f"<nil>: Invalid value: {compact(key)}: {wrong}")
        if negated:
            return Requirement(key, "absent")
        if self._ahead() in ("", ","):
            return Requirement(key, "exists")
        operator = self._take()
        if operator not in _OPERATORS:
            raise _unreadable(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._listed() if operator in ("in", "notin") else [self._exact()]
        self._check(key, operator, values)
        named = {"=": "in", "==": "in", "!=": "notin"}
        return Requirement(key, named.get(operator, operator), frozenset(values))

    def _exact(self) -> str:
        if self._ahead() in ("", ","):
            return ""
        value = self._take()
        if value in _SYMBOLS:
            raise _unreadable(f"found '{value}', expected: identifier")
        return value

    def _listed(self) -> list[str]:
        opening = self._take()
        if opening != "(":
            raise _unreadable(f"found '{opening}' expected: '('")
        values: list[str] = []
        last = ","
        while (token := self._take()) != ")":
            if token == ",":
                if last == ",":
                    values.append("")
            elif token in _SYMBOLS and last == ",":
                raise _unreadable(f"found '{token}', expected: ',', ')' or identifier")
            elif token in _SYMBOLS or last != ",":
                raise _unreadable(f"found '{token}', expected: ',' or ')'")
            else:
                values.append(token)
            last = token
        return [*values, ""] if last == "," else values

    def _check(self, key: str, operator: str, values: list[str]) -> None:
        if operator in ("<", ">") and not _INTEGER.match(values[0]):
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise _unreadable(f"values[0]: Invalid value: {compact(values[0])}: {why}")
        for i, value in enumerate(sorted(set(values))):
            if not rules.is_value(value):
                raise _unreadable(f"values[{i}][{key}]: Invalid value: {compact(value)}: {rules.VALUE_RULE}")
