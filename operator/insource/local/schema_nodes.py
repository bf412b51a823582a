"""One compiled schema: a tree of `Node`, and how its values are named and written. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from insource.local.cel import Rule
from insource.local.store_errors import Cause, Object

Check = Callable[[Any, str], Cause | None]


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
    among: Check | None = None
    """Of an enum: asked of a value whose type is wrong, too."""
    rules: tuple[Rule, ...] = ()
    ruled: bool = False
    """There are rules here or further inside."""
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


def compact(value: Any) -> str:
    """JSON with sorted keys and no spaces, as Go prints it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


_SHORT = {
    '"': r"\"", "\\": r"\\", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
}  # fmt: skip


def quoted(text: str) -> str:
    """A text in quotes, as Go shows it: what cannot be printed is escaped."""
    return (
        '"' + "".join(_SHORT.get(char) or (char if char.isprintable() else _escaped(ord(char))) for char in text) + '"'
    )


def _escaped(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_type(value: Any) -> str:
    if value is None:
        return "null"
    for python, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, python):
            return name
    return "object"
