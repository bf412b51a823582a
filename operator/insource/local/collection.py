"""Finishes garbage collection that could not be written at its time, such as on a full disk."""

from __future__ import annotations

from collections.abc import Iterable

from insource.local.control_loop import Key
from insource.local.store import Store
from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

EVERYTHING: Key = ("", "everything")


class CollectionController:
    """The store collects in the writer's call; this one only sees to what it had to leave."""

    name = "collection"

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        del kind, held
        if self._store.unfinished:
            yield EVERYTHING

    def reconcile(self, key: Key) -> float | None:
        """Raises ApiError 500 while the store cannot be written: the loop comes again, ever less often."""
        del key
        if self._store.unfinished:
            self._store.resume()
        return None
