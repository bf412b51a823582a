"""Decodes the Kubernetes protobuf bodies that typed Go clients send (helm, `kubectl create`, `kubectl auth`).

By the field numbers of builtin_types.json. Answers stay JSON. A kind that is not listed there is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from struct import unpack
from typing import Any

from insource.local.builtin_types import GoType, Struct, is_known, struct, struct_of
from insource.local.store_errors import ApiError, Object, bad_request

MAGIC = b"k8s\0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(raw, position)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, position = _varint(raw, position)
        if size is None or position + size > len(raw):
            raise ValueError(f"wire type {wire} at byte {position}")
        yield number, raw[position : position + size]
        position += size


def _struct(raw: bytes, of: Struct) -> Object:
    found: Object = {}
    for number, value in _fields(raw):
        field = of.numbered.get(number)
        if field is None:
            continue  # of a newer client, as for the real server
        type_ = field.type
        if not field.name:
            found.update(_struct(value, struct(type_.struct)))
        elif type_.shape == "map" and type_.inside is not None:
            pair = dict(_fields(value))
            of_values = type_.inside
            empty = b"" if of_values.shape != "integer" else 0
            found.setdefault(field.name, {})[_text(pair.get(1, b""))] = _map_value(pair.get(2, empty), of_values)
        elif type_.shape == "list" and type_.inside is not None:
            found.setdefault(field.name, []).append(_value(value, type_.inside))
        else:
            decoded = _value(value, type_)
            # Go sends the empty values of what is no pointer; in JSON those are left out.
            if type_.pointer or decoded not in ("", None, 0, False, {}):
                found[field.name] = decoded
    return found


def _map_value(raw: Any, of: GoType) -> Any:
    if of.shape == "list" and of.inside is not None:  # a message with the items as its first field
        return [_value(item, of.inside) for _, item in _fields(raw)]
    return _value(raw, of)


def _value(raw: Any, of: GoType) -> Any:
    match of.shape:
        case "string":
            return _text(raw)
        case "bool":
            return bool(raw)
        case "integer":
            return raw if raw < 1 << 63 else raw - (1 << 64)
        case "number":
            return unpack("<d", raw)[0]
        case "bytes":
            return base64.b64encode(raw).decode()
        case "time" | "micro-time":
            return _time(raw, "microseconds" if of.shape == "micro-time" else "seconds")
        case "quantity":
            return _text(dict(_fields(raw)).get(1, b""))
        case "int-or-string":
            either = dict(_fields(raw))
            return _text(either.get(3, b"")) if either.get(1) else _value(either.get(2, 0), _INTEGER)
        case "struct":
            return _struct(raw, struct(of.struct))
    return _any(raw, of.said)


def _any(raw: bytes, said: str) -> Any:
    """Of types that write themselves: JSON as it is, or one of several forms of a schema."""
    parts = list(_fields(raw))
    if said in ("v1.FieldsV1", "runtime.RawExtension", "v1.JSON"):
        return json.loads(dict(parts)[1])
    schema = struct("apiextensions.JSONSchemaProps")
    numbers = dict(parts)
    match said:
        case "v1.JSONSchemaPropsOrBool":
            return _struct(numbers[2], schema) if 2 in numbers else bool(numbers.get(1))
        case "v1.JSONSchemaPropsOrArray":
            return _struct(numbers[1], schema) if 1 in numbers else [_struct(part, schema) for _, part in parts]
        case "v1.JSONSchemaPropsOrStringArray":
            return _struct(numbers[1], schema) if 1 in numbers else [_text(part) for _, part in parts]
    raise ValueError(f"protobuf of {said}")


_INTEGER = GoType("integer", "int32")


def _text(raw: Any) -> str:
    return bytes(raw).decode()


def _time(raw: bytes, precision: str) -> str | None:
    parts = dict(_fields(raw))
    seconds = _value(parts.get(1, 0), _INTEGER)
    if not seconds or seconds < 0:  # Go's zero time is in the year 1
        return None
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=parts.get(2, 0) // 1000)
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def decode(body: bytes) -> Object:
    """The JSON form of a protobuf body. Raises ApiError 400 for a broken one, 415 for a kind that is not decoded."""
    if body[:4] != MAGIC:
        raise bad_request("the request body is not Kubernetes protobuf")
    try:
        envelope = dict(_fields(body[4:]))
        type_meta = dict(_fields(envelope[1]))
        version, kind = _text(type_meta.get(1, b"")), _text(type_meta.get(2, b""))
        group = "meta.k8s.io" if kind == "DeleteOptions" else version.rpartition("/")[0]
        if not is_known(group, kind):
            raise ApiError(
                415,
                "UnsupportedMediaType",
                f"the embedded API server does not decode protobuf of kind {kind!r}: send application/json",
            )
        return {"apiVersion": version, "kind": kind, **_struct(envelope.get(2, b""), struct_of(group, kind))}
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise bad_request(f"the protobuf body cannot be decoded: {error}") from error


# --- writing: only a Status, for a client that would read nothing else


def _number(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def number_field(number: int, value: int) -> bytes:
    """One field that holds a whole number, not negative."""
    return _number(number << 3) + _number(value)


def bytes_field(number: int, value: bytes | str) -> bytes:
    """One field that holds text, bytes or another message."""
    raw = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(raw)) + raw


def status(message: str, reason: str, code: int) -> bytes:
    """A v1 Status of a failure, in the envelope that `decode` reads."""
    list_meta = bytes_field(1, "") + bytes_field(2, "") + bytes_field(3, "")
    said = bytes_field(2, "Failure") + bytes_field(3, message) + bytes_field(4, reason)
    body = bytes_field(1, list_meta) + said + number_field(6, code)
    type_meta = bytes_field(1, "v1") + bytes_field(2, "Status")
    return MAGIC + bytes_field(1, type_meta) + bytes_field(2, body) + bytes_field(3, "") + bytes_field(4, "")
