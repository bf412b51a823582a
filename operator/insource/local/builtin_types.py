"""The Go types of the built-in kinds, from builtin_types.json: their fields, by name in JSON and by number in protobuf.

Whether a field is required, and what values it may have, is not in the table: see `builtin`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from insource.local.schema_nodes import OPEN, Node

Shape = Literal[
    "string", "bool", "integer", "number", "bytes", "time", "micro-time", "quantity", "int-or-string", "any",
    "struct", "list", "map",
]  # fmt: skip
_SHAPES: dict[str, Shape] = {
    "string": "string",
    "bool": "bool",
    "int": "integer",
    "int32": "integer",
    "int64": "integer",
    "float64": "number",
    "[]byte": "bytes",
    "Time": "time",
    "MicroTime": "micro-time",
    "Quantity": "quantity",
    "IntOrString": "int-or-string",
    "any": "any",
}
_NODE_TYPES = {
    "string": "string",
    "bytes": "string",
    "time": "string",
    "micro-time": "string",
    "bool": "boolean",
    "integer": "integer",
    "number": "number",
    "quantity": "quantity",
    "int-or-string": "int-or-string",
}


@dataclass(frozen=True, eq=False)
class GoType:
    """One type; `inside` is of a list's items or a map's values, `struct` the name of a struct in the table."""

    shape: Shape
    said: str
    """As Go names it in an error: `int32`, `v1.PullPolicy`, `[]v1.Container`."""
    pointer: bool = False
    inside: GoType | None = None
    struct: str = ""


@dataclass(frozen=True, eq=False)
class Field:
    """One field of a struct."""

    name: str
    """In JSON; of an inlined struct, which JSON does not name, empty."""
    type: GoType
    number: int
    """In protobuf; 0 if it is not there."""
    omits_empty: bool
    omits_zero: bool

    @cached_property
    def always(self) -> bool:
        """Go writes it whatever it holds: a struct by value, of which `omitempty` says nothing, or without that tag."""
        of = self.type
        if not of.pointer and of.shape in ("struct", "time", "micro-time"):
            return not self.omits_zero
        return not self.omits_empty


@dataclass(frozen=True, eq=False)
class Struct:
    """One Go struct. `fields` in the order in which Go writes them, those of inlined structs among them."""

    name: str
    """Without its package: `DeploymentSpec`."""
    fields: dict[str, Field] = field(default_factory=dict)
    numbered: dict[int, Field] = field(default_factory=dict)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(Path(__file__).with_name("builtin_types.json").read_text())
    return table


@cache
def struct(name: str) -> Struct:
    """The struct of that name in the table, such as `apps.DeploymentSpec`."""
    found = Struct(name.rpartition(".")[2])
    for json_name, told in _table()["structs"][name].items():
        inlined = json_name.startswith("+")
        type_ = _go_type(told["type"], told.get("said", ""))
        told_field = Field(
            "" if inlined else json_name,
            type_,
            told.get("number", 0),
            told.get("omitempty", False),
            told.get("omitzero", False),
        )
        found.numbered[told_field.number] = told_field
        if inlined:
            found.fields.update(struct(type_.struct).fields)
        else:
            found.fields[json_name] = told_field
    return found


def struct_of(group: str, kind: str) -> Struct:
    """The struct of a built-in kind."""
    return struct(_table()["kinds"][f"{group}/{kind}"])


def is_known(group: str, kind: str) -> bool:
    return f"{group}/{kind}" in _table()["kinds"]


def _go_type(declared: str, said: str = "") -> GoType:
    bare = declared.removeprefix("*")
    pointer = bare != declared
    said = said or bare
    if bare in _SHAPES:
        return GoType(_SHAPES[bare], said, pointer)
    if bare.startswith("[]"):
        return GoType("list", said, inside=_go_type(bare[2:], said[2:] if said.startswith("[]") else ""))
    if bare.startswith("map["):
        inner = said.partition("]")[2] if said.startswith("map[") else ""
        return GoType("map", said, inside=_go_type(bare.partition("]")[2], inner))
    return GoType("struct", said, pointer, struct=bare)


# --- as a schema


def closed(group: str, kind: str, merging: Node) -> Node:
    """`merging` (how lists and maps merge) with every field of the kind declared, and no other allowed."""
    root = _struct_node(struct_of(group, kind), merging, {})
    text = Node(type="string")
    root.properties.update(apiVersion=text, kind=text)
    return root


def _struct_node(of: Struct, merging: Node, plain: dict[Struct, Node]) -> Node:
    node = Node(type="object", atomic=merging.atomic, struct=merging.struct, defaulted=merging.defaulted)
    shared = not merging.properties and not merging.struct and not merging.atomic
    if shared:
        if of in plain:
            return plain[of]
        plain[of] = node  # before its properties: a type may contain itself
    for name, inside in of.fields.items():
        node.properties[name] = _node(inside.type, merging.properties.get(name, OPEN), plain)
    return node


def _node(of: GoType, merging: Node, plain: dict[Struct, Node]) -> Node:
    if of.shape == "struct":
        return _struct_node(struct(of.struct), merging, plain)
    if of.shape == "any":
        return merging
    if of.inside is not None and of.shape == "list":
        items = _node(of.inside, merging.items or OPEN, plain)
        return Node(type="array", items=items, list_type=merging.list_type, keys=merging.keys)
    if of.inside is not None:
        return Node(type="object", additional=_node(of.inside, OPEN, plain), atomic=merging.atomic)
    return Node(type=_NODE_TYPES[of.shape], default=merging.default)
