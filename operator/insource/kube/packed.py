"""A child object as a cache keeps it: small, and whole only until it has been compared. Knows no particular kind.

Kept as JSON text, which takes less memory than Python dicts. Not compressed: bench/notes/reconcile.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from sys import intern
from typing import Any, cast

from insource.kube.resources import Object
from insource.kube.shapes import WHOLE, decode, encode

_VOLATILE = ("managedFields", "resourceVersion", "generation")
_BESIDE = ("apiVersion", "kind", "status", "metadata")


class Packed:
    """Identity and labels of an object, and its body (all but status and bookkeeping) as JSON, until `settle`.

    `summary` is whatever the cache's owner wants to have at hand of it, status included.
    """

    __slots__ = ("_body", "deleting", "digest", "labels", "namespace", "summary", "uid", "wanted")

    def __init__(self, obj: Object, summary: Any = None) -> None:
        metadata = {name: value for name, value in obj["metadata"].items() if name not in _VOLATILE}
        body = encode({**{k: v for k, v in obj.items() if k not in _BESIDE}, "metadata": metadata})
        self.summary = summary
        self.uid: str = metadata["uid"]
        self.labels: dict[str, str] = metadata.get("labels") or {}
        self.namespace: str = intern(metadata.get("namespace") or "")
        self.deleting: bool = "deletionTimestamp" in metadata
        self.digest: bytes = digest(body)
        """Changes exactly when something other than status and bookkeeping changes."""
        self.wanted: str | None = None
        """What it is known to be level with, but for its status: an intent of ours, "" for what is wanted now."""
        self._body: bytes | None = body

    def same(self, other: Packed) -> bool:
        """True if nothing but bookkeeping differs."""
        return self.digest == other.digest and self.summary == other.summary

    def settle(self, wanted: str) -> None:
        """It has been compared, or is what the API made of `wanted`: its body need not be kept."""
        self.wanted = wanted
        self._body = None

    def inherit(self, old: Packed) -> Packed:
        """Itself, knowing what was known of the object before, where that still holds."""
        if self.digest == old.digest:
            self.digest = old.digest
            if old.wanted is not None:
                self.settle(old.wanted)
        return self

    def unpack(self) -> Object | None:
        """The object, without apiVersion, kind, status, managedFields and resourceVersion; None if it is not kept."""
        return None if self._body is None else cast(Object, decode(self._body, WHOLE))


class PackedJson(Mapping[str, Any]):
    """A JSON object that is kept as text and read when somebody looks: the last few that were, stay read."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __getitem__(self, name: str) -> Any:
        return _opened(self._text)[name]

    def get(self, name: str, default: Any = None) -> Any:
        return _opened(self._text).get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in _opened(self._text)

    def __iter__(self) -> Iterator[str]:
        return iter(_opened(self._text))

    def __len__(self) -> int:
        return len(_opened(self._text))

    def __bool__(self) -> bool:
        return self._text not in (b"{}", b"null")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedJson):
            return self._text == other._text or _opened(self._text) == _opened(other._text)
        return _opened(self._text) == other

    __hash__ = None  # type: ignore[assignment]


@lru_cache(maxsize=64)
def _opened(text: bytes) -> dict[str, Any]:
    # Note: shared by all who look; nobody changes it.
    return cast(dict[str, Any], decode(text, WHOLE | None) or {})


def shared_labels(labels: dict[str, str]) -> dict[str, str]:
    """The same labels, their texts shared with all others that are alike: thousands of objects repeat them."""
    return {intern(name): intern(value) for name, value in labels.items()}


def digest(body: bytes) -> bytes:
    """A short fingerprint of a serialised object."""
    return blake2b(body, digest_size=12).digest()
