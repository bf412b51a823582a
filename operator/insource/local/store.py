"""Kubernetes API semantics in memory: what the embedded API server, the controllers and the simulation all use.

SIGNATURES FIRST; implementation being written (21:40). Signatures below are final.

Single-threaded and synchronous; knows nothing of HTTP, files or controllers.

Objects that the store returns are **shared and read-only**: copy (`copy.deepcopy`) before changing one. The store
never changes an object in place either, so one that you hold stays as it was. What you pass in is copied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from insource.env import Env
from insource.local.store_errors import ApiError, Object
from insource.local.store_kinds import KindRef, Kinds, ResourceKind

__all__ = ["ApiError", "KindRef", "Page", "Store", "Watch", "WatchEvent"]

PatchType = Literal["merge", "json", "strategic", "apply"]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


@dataclass(frozen=True)
class Page:
    """`items` in (namespace, name) order; `continue_` is empty on the last page."""

    items: list[Object]
    resource_version: str
    continue_: str = ""
    remaining: int | None = None


@dataclass(frozen=True)
class WatchEvent:
    """`type` and the object (for BOOKMARK only kind, apiVersion and metadata.resourceVersion; for ERROR a Status)."""

    type: EventType
    object: Object


class Watch:
    """An open watch: `async for event in watch`, or `watch.drain()` for what has arrived so far. `close()` ends it."""

    def drain(self) -> list[WatchEvent]: ...
    def close(self) -> None: ...
    def __aiter__(self) -> AsyncIterator[WatchEvent]: ...


class Store:
    """The API server's state and rules. `history`: number of changes that a watch may start back from before 410."""

    kinds: Kinds
    """Registry: `store.kinds.find((group, plural))`, `.of_object(apiVersion, kind)`, iteration over ResourceKind."""

    def __init__(self, env: Env, history: int = 10_000) -> None: ...

    resource_version: int

    def get(self, kind: KindRef | ResourceKind, namespace: str | None, name: str) -> Object:
        """Raises ApiError 404 NotFound."""

    def find(self, kind: KindRef | ResourceKind, namespace: str | None, name: str) -> Object | None:
        """Like get, None instead of 404."""

    def list(self, kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = "",
             limit: int = 0, continue_: str = "") -> Page:
        """All namespaces if `namespace` is None. Raises 410 for a token older than the history, 400 for a bad selector."""

    def owned_by(self, uid: str) -> list[Object]:
        """Objects with an owner reference to `uid` (any kind), by an index."""

    def create(self, kind, obj: Object, namespace: str | None = None, *, field_manager: str = "unknown",
               field_validation: str = "Warn", dry_run: bool = False) -> Object:
        """409 AlreadyExists, 404 missing namespace, 403 terminating namespace, 422 Invalid, 400."""

    def update(self, kind, namespace: str | None, name: str, obj: Object, *, subresource: str = "",
               field_manager: str = "unknown", field_validation: str = "Warn", dry_run: bool = False) -> Object:
        """PUT; a metadata.resourceVersion in `obj` that is stale raises 409 Conflict."""

    def patch(self, kind, namespace: str | None, name: str, patch: Any, patch_type: PatchType, *,
              subresource: str = "", field_manager: str = "unknown", force: bool = False,
              field_validation: str = "Warn", dry_run: bool = False) -> Object:
        """`subresource`: "", "status" or "scale". `apply` creates what is missing. 409 on ownership conflicts."""

    def delete(self, kind, namespace: str | None, name: str, *, propagation: str = "Background",
               preconditions: Mapping[str, str] | None = None, grace_period_seconds: int | None = None,
               dry_run: bool = False) -> Object | None:
        """The object if it stays (finalizers, pod grace, namespace), else None. The node ends a pod with
        `grace_period_seconds=0`."""

    def watch(self, kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = "",
              resource_version: str = "", initial_events: bool = False) -> Watch:
        """`resource_version` "": current objects first as ADDED, then changes; "N": changes after N; 410 as ERROR event."""

    def subscribe(self, callback: Callable[[str, ResourceKind, Object], None]) -> Callable[[], None]:
        """`callback(event_type, kind, object)` after each committed change, in order, in the writer's call. It may write
        to the store: its changes are delivered after the present ones. Answers a function that ends the subscription."""
