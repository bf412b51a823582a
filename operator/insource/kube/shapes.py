"""How much of an object is read: a shape names the fields that somebody looks at, the rest is left unread.

An object of a shape is a plain dict that lacks all else. Most of an object is managedFields, defaults and other
people's fields: not to build Python objects of them is most of what parsing costs, in time and in memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypedDict, TypeVar

import msgspec

T = TypeVar("T")
Shape = Any
"""A TypedDict, or `dict[str, Any]`: a type that `decode` fills. Fields of type `Unread` stay JSON text."""
WHOLE: Shape = dict[str, Any]
"""Everything."""
Unread = msgspec.Raw
"""A field that is kept as it came, to be read when it is wanted, if ever."""


class Metadata(TypedDict, total=False):
    """What is read of metadata: all but managedFields."""

    name: str
    namespace: str
    uid: str
    resourceVersion: str
    generation: int
    labels: dict[str, str] | None
    annotations: dict[str, str] | None
    ownerReferences: Unread
    finalizers: Unread
    deletionTimestamp: str


class NotAnObjectError(ValueError):
    """Text that is not JSON, or not of the shape."""


def decode(body: bytes | Unread, shape: Shape) -> Any:
    """The value of a shape that JSON text holds. `NotAnObjectError` if it holds none."""
    try:
        return _decoder(shape).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAnObjectError(str(error)) from None


def encode(value: Any) -> bytes:
    """JSON text of a value, unread fields as they came."""
    return msgspec.json.encode(value)


def text_of(value: Any) -> bytes:
    """JSON text of an unread field, on its own: the text around it may go. Of any other value, its encoding."""
    return bytes(value) if isinstance(value, Unread) else encode(value)


@lru_cache(maxsize=64)
def _decoder(shape: Shape) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)
