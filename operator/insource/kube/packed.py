"""A child object as a cache keeps it: small, and whole again when it must be compared. Knows no particular kind.

Kept as JSON text, which takes less memory than Python dicts. Not compressed: bench/notes/reconcile.md has the figures.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, cast

import orjson

from insource.kube.resources import Object

_VOLATILE = ("managedFields", "resourceVersion", "generation")


class Packed:
    """Identity, labels and status of an object, and its body (all but status and bookkeeping) as JSON.

    `summary` is whatever the cache's owner wants to have at hand of it.
    """

    __slots__ = ("_body", "_status", "deleting", "digest", "labels", "namespace", "summary", "uid")

    def __init__(self, obj: Object, summary: Any = None) -> None:
        self.summary = summary
        metadata = {name: value for name, value in obj["metadata"].items() if name not in _VOLATILE}
        body = orjson.dumps({**{k: v for k, v in obj.items() if k not in ("status", "metadata")}, "metadata": metadata})
        self.uid: str = metadata["uid"]
        self.labels: dict[str, str] = metadata.get("labels") or {}
        self.namespace: str = metadata.get("namespace") or ""
        self.deleting: bool = "deletionTimestamp" in metadata
        self.digest: bytes = digest(body)
        """Changes exactly when something other than status and bookkeeping changes."""
        self._body = body
        status = obj.get("status")
        generation = obj["metadata"].get("generation", 0)
        self._status = orjson.dumps((status, generation))

    @property
    def status(self) -> Object:
        """`status`, empty if there is none."""
        return cast(Object, orjson.loads(self._status)[0] or {})

    def same(self, other: Packed) -> bool:
        """True if nothing but bookkeeping differs."""
        return self.digest == other.digest and self._status == other._status

    def unpack(self) -> Object:
        """The object, without managedFields and resourceVersion; `status` and `metadata.generation` as last seen."""
        obj = cast(Object, orjson.loads(self._body))
        status, generation = orjson.loads(self._status)
        if status is not None:
            obj["status"] = status
        if generation:
            obj["metadata"]["generation"] = generation
        return obj


def digest(body: bytes) -> bytes:
    """A short fingerprint of a serialised object."""
    return blake2b(body, digest_size=12).digest()
