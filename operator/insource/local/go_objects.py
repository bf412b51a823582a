"""Objects of the built-in kinds as Go would decode them from JSON, and as it would write them again. Pure.

A built-in object on a real server has been through a Go struct: unknown fields are gone, empty ones are left out or
written as nothing, and what does not fit its type was refused in Go's words.
"""

from __future__ import annotations

import json
import re
from typing import Any

from insource.local.builtin_types import GoType, Struct, struct
from insource.local.go_times import MICROSECONDS, SECONDS, UnreadableTimeError, rewritten
from insource.local.quantities import canonical
from insource.local.schema import copied
from insource.local.schema_nodes import json_type
from insource.local.store_errors import Object, UndecodableError

_RANGES = {"int32": 2**31, "int64": 2**63, "int": 2**63}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_QUANTITY_RULE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_PLAIN = {"string": str, "bool": bool}
_ENVELOPE = ("apiVersion", "kind")


def decoded(obj: Object, old: Object | None, of: Struct, unknown: list[str]) -> Object:
    """A fresh copy of an object's JSON with what Go would know of it; unknown fields are named in `unknown`.

    Raises UndecodableError for a value that does not fit its type, unless `old` has it just so.
    """
    found = {name: obj[name] for name in _ENVELOPE if name in obj}
    inside = {name: value for name, value in obj.items() if name not in _ENVELOPE}
    return found | _struct(inside, old or {}, of, "", "", unknown)


def _struct(value: Object, old: Any, of: Struct, spoken: str, path: str, unknown: list[str]) -> Object:
    """`spoken`: the path as Go's errors have it, without indexes; `path`: with them."""
    found: Object = {}
    before = old if isinstance(old, dict) else {}
    fields = of.fields
    for name, item in value.items():
        field = fields.get(name)
        if field is None:
            unknown.append(f"{path}.{name}" if path else name)
        elif type(item) is _PLAIN.get(field.type.shape):
            found[name] = item
        elif item is not None:
            said, inside = (f"{spoken}.{name}", f"{path}.{name}") if path else (name, name)
            found[name] = _value(item, before.get(name), field.type, of, said, inside, unknown)
    return found


def _value(item: Any, old: Any, of: GoType, owner: Struct, spoken: str, path: str, unknown: list[str]) -> Any:
    shape = of.shape
    if shape == "struct":
        if isinstance(item, dict):
            return _struct(item, old, struct(of.struct), spoken, path, unknown)
    elif of.inside is not None and shape == "list":
        if isinstance(item, list):
            return _list(item, old, of.inside, owner, spoken, path, unknown)
    elif of.inside is not None:
        if isinstance(item, dict):
            plain = _PLAIN.get(of.inside.shape)
            if plain is not None and all(type(each) is plain for each in item.values()):
                return dict(item)
            before = old if isinstance(old, dict) else {}
            return {
                name: _item(each, before.get(name), of.inside, owner, spoken, f"{path}.{name}", unknown)
                for name, each in item.items()
            }
    elif shape == "any":
        return copied(item) if isinstance(item, dict | list) else item
    elif item == old and type(item) is type(old):
        return item
    elif shape not in _PLAIN:
        return _scalar(item, of, owner, spoken)
    elif type(item) is _PLAIN[shape]:
        return item
    raise _unfit(item, of, owner, spoken)


def _list(
    items: list[Any], old: Any, of: GoType, owner: Struct, spoken: str, path: str, unknown: list[str]
) -> list[Any]:
    plain = _PLAIN.get(of.shape)
    if plain is not None and all(type(each) is plain for each in items):
        return list(items)
    known = old if isinstance(old, list) else []
    return [
        _item(each, known[i] if i < len(known) else None, of, owner, spoken, f"{path}[{i}]", unknown)
        for i, each in enumerate(items)
    ]


def _item(item: Any, old: Any, of: GoType, owner: Struct, spoken: str, path: str, unknown: list[str]) -> Any:
    """As in a list or a map, where null is an empty value."""
    return _empty(of) if item is None else _value(item, old, of, owner, spoken, path, unknown)


def _scalar(item: Any, of: GoType, owner: Struct, spoken: str) -> Any:
    shape = of.shape
    if shape == "integer" and type(item) is int:
        if -_RANGES[of.said if of.said in _RANGES else "int64"] <= item < _RANGES.get(of.said, 2**63):
            return item
        raise _unfit(item, of, owner, spoken, literal=True)
    if shape == "integer" and isinstance(item, float):
        raise _unfit(item, of, owner, spoken, literal=True)
    if shape == "number" and type(item) in (int, float):
        return item
    if shape == "bytes" and isinstance(item, str):
        return _base64(item)
    if shape in ("time", "micro-time"):
        if not isinstance(item, str):
            raise UndecodableError(f"json: cannot unmarshal {_kind(item)} into Go value of type string")
        return _time(item, SECONDS if shape == "time" else MICROSECONDS)
    if shape == "quantity":
        if type(item) in (int, float, str):
            return _quantity(str(item))
        raise UndecodableError(_QUANTITY_RULE)
    if shape == "int-or-string":
        if type(item) in (int, str):
            return item
        raise UndecodableError(f"json: cannot unmarshal {_kind(item)} into Go value of type int32")
    raise _unfit(item, of, owner, spoken)


def _time(text: str, layout: str) -> str:
    try:
        return rewritten(text, layout)
    except UnreadableTimeError as error:
        raise UndecodableError(str(error)) from error


def _quantity(text: str) -> str:
    try:
        return canonical(text)
    except (ValueError, ArithmeticError) as error:
        raise UndecodableError(_QUANTITY_RULE) from error


def _base64(text: str) -> str:
    """Raises UndecodableError with the place where Go's decoder gives up."""
    plain = text.replace("\r", "").replace("\n", "")
    match = _BASE64.match(plain)
    good = match.end() if match else 0
    rest = plain[good:]
    padding = -good % 4
    if rest == "=" * padding and padding < 3:
        return plain
    if not rest:
        place = good - good % 4  # a group that is not full is told by its beginning
    elif rest[0] == "=" and good % 4 > 1:
        signs = min(padding, len(rest) - len(rest.lstrip("=")))
        place = good if signs < padding and rest[signs:] else good + signs
    else:
        place = good
    raise UndecodableError(f"illegal base64 data at input byte {place}")


def _kind(item: Any) -> str:
    said = json_type(item)
    return {"integer": "number", "boolean": "bool"}.get(said, said)


def _unfit(item: Any, of: GoType, owner: Struct, spoken: str, *, literal: bool = False) -> UndecodableError:
    said = f"number {json.dumps(item)}" if literal else _kind(item)
    return UndecodableError(
        f"json: cannot unmarshal {said} into Go struct field {owner.name}.{spoken} of type {of.said}"
    )


# --- writing


def written(obj: Object, old: Object | None, of: Struct) -> Object:
    """`obj` as Go writes it: fields in their order, empty ones left out or empty, as their tags say.

    What equals `old`, which was written so before, is taken from there.
    """
    found = {name: obj[name] for name in ("kind", "apiVersion") if name in obj}
    return found | _written_struct(obj, old, of)


def _written_struct(value: Object, old: Any, of: Struct) -> Object:
    before = old if isinstance(old, dict) else {}
    found: Object = {}
    for name, field in of.fields.items():
        item = value.get(name)
        if item is None:
            if field.always:
                found[name] = _empty(field.type)
            continue
        of_field = field.type
        if of_field.shape in _PLAIN:
            if item or of_field.pointer or field.always:
                found[name] = item
            continue
        was = before.get(name)
        if was is not None and item == was:
            found[name] = was
        elif item or of_field.pointer or field.always:
            found[name] = _written(item, was, of_field)
    return found


def _written(item: Any, old: Any, of: GoType) -> Any:
    if of.shape == "struct":
        return _written_struct(item, old, struct(of.struct))
    if of.inside is not None and of.inside.shape in ("struct", "list", "map"):
        if of.shape == "list":
            known = old if isinstance(old, list) else []
            inside = of.inside
            return [_written(each, known[i] if i < len(known) else None, inside) for i, each in enumerate(item)] or None
        before = old if isinstance(old, dict) else {}
        return {name: _written(each, before.get(name), of.inside) for name, each in item.items()} or None
    if of.inside is not None:
        return item or None
    return item


def _empty(of: GoType) -> Any:
    """What Go writes of a value that nobody has set."""
    if of.pointer:
        return None
    if of.shape == "struct":
        return _written_struct({}, None, struct(of.struct))
    return {"string": "", "bool": False, "integer": 0, "number": 0, "quantity": "0", "int-or-string": 0}.get(of.shape)
