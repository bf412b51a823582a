"""events.k8s.io/v1 Events are core v1 Events under other names: one storage, two spellings.

Every other kind passes through unchanged. Used at the HTTP edge and by nobody else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from insource.local.store import Page, Store
from insource.local.store_errors import Object, unsupported
from insource.local.store_kinds import ResourceKind
from insource.local.watch import Watch, WatchEvent

NEW = ("events.k8s.io", "events")
CORE = ("", "events")
_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: new for new, core in _NAMES.items()}


def stored(store: Store, kind: ResourceKind) -> ResourceKind:
    """The kind under which objects of `kind` are stored."""
    return store.kinds.resolve(CORE) if kind.ref == NEW else kind


def to_core(obj: Any) -> Any:
    if not isinstance(obj, dict):
        return obj
    return {_NAMES.get(name, name): "v1" if name == "apiVersion" else value for name, value in obj.items()}


def from_core(obj: Object) -> Object:
    shown = {_BACK.get(name, name): value for name, value in obj.items()}
    return {**shown, "apiVersion": "events.k8s.io/v1"}


def _shown(kind: ResourceKind, obj: Object) -> Object:
    return from_core(obj) if kind.ref == NEW else obj


def _fields(kind: ResourceKind, selector: str) -> str:
    return selector.replace("regarding.", "involvedObject.") if kind.ref == NEW else selector


def find(store: Store, kind: ResourceKind, namespace: str | None, name: str) -> Object | None:
    return store.find(stored(store, kind), namespace, name)


def get(store: Store, kind: ResourceKind, namespace: str | None, name: str) -> Object:
    return _shown(kind, store.get(stored(store, kind), namespace, name))


def list_page(store: Store, kind: ResourceKind, namespace: str | None, *, field_selector: str, **options: Any) -> Page:
    page = store.list(stored(store, kind), namespace, field_selector=_fields(kind, field_selector), **options)
    return page if kind.ref != NEW else replace(page, items=[from_core(obj) for obj in page.items])


def watch(store: Store, kind: ResourceKind, namespace: str | None, *, field_selector: str, **options: Any) -> Watch:
    return store.watch(stored(store, kind), namespace, field_selector=_fields(kind, field_selector), **options)


def event(kind: ResourceKind, seen: WatchEvent) -> WatchEvent:
    if kind.ref != NEW or seen.type == "ERROR":
        return seen
    return replace(seen, object=from_core(seen.object))


def create(store: Store, kind: ResourceKind, obj: Any, namespace: str | None, **options: Any) -> Object:
    body = to_core(obj) if kind.ref == NEW else obj
    return _shown(kind, store.create(stored(store, kind), body, namespace, **options))


def update(store: Store, kind: ResourceKind, namespace: str | None, name: str, obj: Any, **options: Any) -> Object:
    body = to_core(obj) if kind.ref == NEW else obj
    return _shown(kind, store.update(stored(store, kind), namespace, name, body, **options))


def patch(
    store: Store, kind: ResourceKind, namespace: str | None, name: str, body: Any, form: Any, **options: Any
) -> Object:
    if kind.ref == NEW:
        if form == "json":
            raise unsupported("JSON patches of events.k8s.io/v1 Events: use a merge patch")
        body = to_core(body)
    return _shown(kind, store.patch(stored(store, kind), namespace, name, body, form, **options))
