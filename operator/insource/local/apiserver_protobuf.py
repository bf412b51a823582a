"""Decodes the Kubernetes protobuf bodies that typed Go clients send (helm, `kubectl create`, `kubectl auth`).

Tables of field numbers from k8s.io/api's generated.proto. Answers stay JSON. A kind that is not listed is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from insource.local.store_admission import timestamp
from insource.local.store_errors import ApiError, Object, bad_request

MAGIC = b"k8s\0"
Decoder = Callable[[Any], Any]
Message = dict[int, tuple[str, "Decoder", str]]
"""Field number -> (JSON name, decoder, shape: one, many, map)."""


def _text(raw: Any) -> str:
    return bytes(raw).decode()


def _base64(raw: Any) -> str:
    return base64.b64encode(raw).decode()


def _integer(raw: Any) -> int:
    return int(raw) if raw < 1 << 63 else int(raw) - (1 << 64)


def _flag(raw: Any) -> bool:
    return bool(raw)


def _time(raw: Any) -> str | None:
    seconds = dict(_fields(raw)).get(1)
    return timestamp(datetime.fromtimestamp(int(seconds), UTC)) if isinstance(seconds, int) and seconds else None


def _nested(message: Message) -> Decoder:
    return lambda raw: _decode(raw, message)


def _one(name: str, decoder: Decoder) -> tuple[str, Decoder, str]:
    return (name, decoder, "one")


def _many(name: str, decoder: Decoder) -> tuple[str, Decoder, str]:
    return (name, decoder, "many")


def _map(name: str, decoder: Decoder) -> tuple[str, Decoder, str]:
    return (name, decoder, "map")


_OWNER: Message = {
    1: _one("kind", _text),
    3: _one("name", _text),
    4: _one("uid", _text),
    5: _one("apiVersion", _text),
    6: _one("controller", _flag),
    7: _one("blockOwnerDeletion", _flag),
}
_METADATA: Message = {
    1: _one("name", _text),
    2: _one("generateName", _text),
    3: _one("namespace", _text),
    5: _one("uid", _text),
    6: _one("resourceVersion", _text),
    7: _one("generation", _integer),
    8: _one("creationTimestamp", _time),
    9: _one("deletionTimestamp", _time),
    11: _map("labels", _text),
    12: _map("annotations", _text),
    13: _many("ownerReferences", _nested(_OWNER)),
    14: _many("finalizers", _text),
}
_ATTRIBUTES: Message = {
    1: _one("namespace", _text),
    2: _one("verb", _text),
    3: _one("group", _text),
    4: _one("version", _text),
    5: _one("resource", _text),
    6: _one("subresource", _text),
    7: _one("name", _text),
}
_PATH: Message = {1: _one("path", _text), 2: _one("verb", _text)}
_META: Message = {1: _one("metadata", _nested(_METADATA))}
_BOUND: Message = {
    1: _one("kind", _text),
    2: _one("apiVersion", _text),
    3: _one("name", _text),
    4: _one("uid", _text),
}
_EXPRESSION: Message = {1: _one("key", _text), 2: _one("operator", _text), 3: _many("values", _text)}
_SELECTOR: Message = {1: _map("matchLabels", _text), 2: _many("matchExpressions", _nested(_EXPRESSION))}
_RULE: Message = {
    number: _many(name, _text)
    for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
}
_ROLE: Message = {
    **_META,
    2: _many("rules", _nested(_RULE)),
    3: _one("aggregationRule", _nested({1: _many("clusterRoleSelectors", _nested(_SELECTOR))})),
}
_SUBJECT: Message = {
    number: _one(name, _text) for number, name in enumerate(("kind", "apiGroup", "name", "namespace"), 1)
}
_BINDING: Message = {
    **_META,
    2: _many("subjects", _nested(_SUBJECT)),
    3: _one("roleRef", _nested({1: _one("apiGroup", _text), 2: _one("kind", _text), 3: _one("name", _text)})),
}
_ACCESS: Message = {
    **_META,
    2: _one(
        "spec",
        _nested(
            {
                1: _one("resourceAttributes", _nested(_ATTRIBUTES)),
                2: _one("nonResourceAttributes", _nested(_PATH)),
                3: _one("user", _text),
                4: _many("groups", _text),
            }
        ),
    ),
}
KINDS: dict[str, Message] = {
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "Secret": {
        **_META,
        2: _map("data", _base64),
        3: _one("type", _text),
        4: _map("stringData", _text),
        5: _one("immutable", _flag),
    },
    "ConfigMap": {**_META, 2: _map("data", _text), 3: _map("binaryData", _base64), 4: _one("immutable", _flag)},
    "Namespace": _META,
    "ServiceAccount": _META,
    "TokenRequest": {
        **_META,
        2: _one(
            "spec",
            _nested(
                {
                    1: _many("audiences", _text),
                    3: _one("boundObjectRef", _nested(_BOUND)),
                    4: _one("expirationSeconds", _integer),
                }
            ),
        ),
    },
    "DeleteOptions": {
        1: _one("gracePeriodSeconds", _integer),
        2: _one("preconditions", _nested({1: _one("uid", _text), 2: _one("resourceVersion", _text)})),
        3: _one("orphanDependents", _flag),
        4: _one("propagationPolicy", _text),
        5: _many("dryRun", _text),
    },
    "SelfSubjectReview": _META,
    "SubjectAccessReview": _ACCESS,
    "LocalSubjectAccessReview": _ACCESS,
    "SelfSubjectAccessReview": {
        **_META,
        2: _one(
            "spec",
            _nested(
                {
                    1: _one("resourceAttributes", _nested(_ATTRIBUTES)),
                    2: _one("nonResourceAttributes", _nested(_PATH)),
                }
            ),
        ),
    },
    "SelfSubjectRulesReview": {**_META, 2: _one("spec", _nested({1: _one("namespace", _text)}))},
}


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


def _decode(raw: bytes, message: Message) -> Object:
    found: Object = {}
    for number, value in _fields(raw):
        known = message.get(number)
        if known is None:
            continue
        name, decoder, shape = known
        if shape == "map":
            pair = dict(_fields(value))
            found.setdefault(name, {})[_text(pair.get(1, b""))] = decoder(pair.get(2, b""))
        elif shape == "many":
            found.setdefault(name, []).append(decoder(value))
        else:
            decoded = decoder(value)
            # Go writes its zero values; JSON clients leave them out.
            if decoded not in ("", None, {}) and not (name == "generation" and decoded == 0):
                found[name] = decoded
    return found


def decode(body: bytes) -> Object:
    """The JSON form of a protobuf body. Raises ApiError 400 for a broken one, 415 for a kind that is not decoded."""
    if body[:4] != MAGIC:
        raise bad_request("the request body is not Kubernetes protobuf")
    try:
        envelope = dict(_fields(body[4:]))
        type_meta = dict(_fields(envelope[1]))
        kind = _text(type_meta.get(2, b""))
        message = KINDS.get(kind)
        if message is None:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                f"the embedded API server does not decode protobuf of kind {kind!r}: send application/json",
            )
        return {
            "apiVersion": _text(type_meta.get(1, b"")),
            "kind": kind,
            **_decode(envelope.get(2, b""), message),
        }
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise bad_request(f"the protobuf body cannot be decoded: {error}") from error


# --- writing: only a Status, for a client that would read nothing else


def _number(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _field(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(raw)) + raw


def status(message: str, reason: str, code: int) -> bytes:
    """A v1 Status of a failure, in the envelope that `decode` reads."""
    list_meta = _field(1, "") + _field(2, "") + _field(3, "")
    said = _field(2, "Failure") + _field(3, message) + _field(4, reason)
    body = _field(1, list_meta) + said + _number(6 << 3) + _number(code)
    type_meta = _field(1, "v1") + _field(2, "Status")
    return MAGIC + _field(1, type_meta) + _field(2, body) + _field(3, "") + _field(4, "")
