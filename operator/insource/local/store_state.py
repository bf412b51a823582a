"""What the store holds: objects with their indexes, the history of changes, open watches, subscribers.

Every change goes through `commit` or `remove`: one counter, one log. A change that the journal refuses has not
happened. Knows no rules of the API.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from insource.local.selectors import Test
from insource.local.store_errors import ApiError, Object, expired
from insource.local.store_kinds import KindRef, Kinds, ResourceKind
from insource.local.watch import BACKLOG, EventType, Watch, WatchEvent

Key = tuple[KindRef, str, str]
"""(kind, namespace or "", name)."""
Subscriber = Callable[[str, ResourceKind, Object], None]


@dataclass(frozen=True)
class Change:
    """One committed change. `old` is None for ADDED."""

    resource_version: int
    type: EventType
    key: Key
    new: Object
    old: Object | None


class State:
    """Objects, indexes and history."""

    def __init__(self, history: int) -> None:
        self.kinds = Kinds()
        self.resource_version = 1
        self.journal: Callable[[Change], None] | None = None
        """Called with each change before it is made; what it raises reaches the writer, and nothing has changed."""
        self._objects: dict[KindRef, dict[str, dict[str, Object]]] = {}
        self._by_uid: dict[str, Key] = {}
        self._dependents: dict[str, dict[Key, None]] = {}
        self._in_namespace: dict[str, dict[Key, None]] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._forgotten = 1
        self._watches: dict[KindRef, dict[Watch, None]] = {}
        self.pending: deque[Change] = deque()
        """Changes whose consequences (garbage collection, subscribers) are still to be worked off."""

    def find(self, key: Key) -> Object | None:
        by_namespace = self._objects.get(key[0])
        names = by_namespace.get(key[1]) if by_namespace is not None else None
        return names.get(key[2]) if names is not None else None

    def objects(self, ref: KindRef, namespace: str | None) -> Iterator[Object]:
        """In (namespace, name) order."""
        by_namespace = self._objects.get(ref, {})
        for space in sorted(by_namespace) if namespace is None else (namespace,):
            names = by_namespace.get(space, {})
            for name in sorted(names):
                yield names[name]

    def everything(self) -> Iterator[tuple[Key, Object]]:
        """All objects, CRDs before the rest (their kinds must be known first)."""
        for ref in sorted(self._objects, key=lambda ref: (ref[1] != "customresourcedefinitions", ref)):
            for obj in self.objects(ref, None):
                yield (ref, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), obj

    def by_uid(self, uid: str) -> Key | None:
        return self._by_uid.get(uid)

    def dependents(self, uid: str) -> list[Key]:
        return list(self._dependents.get(uid, ()))

    def in_namespace(self, namespace: str) -> list[Key]:
        return list(self._in_namespace.get(namespace, ()))

    def commit(self, key: Key, old: Object | None, new: Object) -> None:
        """Stores `new` (whose metadata this call completes) as the successor of `old`."""
        version = self.resource_version + 1
        new["metadata"]["resourceVersion"] = str(version)
        change = Change(version, "ADDED" if old is None else "MODIFIED", key, new, old)
        self._journal(change)
        self._put(key, old, new)
        self._record(change)

    def remove(self, key: Key, last: Object) -> None:
        """Removes an object; its DELETED event carries a new, higher resourceVersion."""
        version = self.resource_version + 1
        gone = {**last, "metadata": {**last["metadata"], "resourceVersion": str(version)}}
        change = Change(version, "DELETED", key, gone, last)
        self._journal(change)
        self._take(key, last)
        self._record(change)

    def restore(self, key: Key, obj: Object) -> None:
        """Puts an object back as it was before a restart: no event, no new version."""
        self._put(key, self.find(key), obj)

    def forget(self, key: Key) -> None:
        """Undoes `restore`."""
        last = self.find(key)
        if last is not None:
            self._take(key, last)

    def restored(self, resource_version: int) -> None:
        """Ends a restart: nothing before `resource_version` can be watched."""
        self.resource_version = max(self.resource_version, resource_version)
        self._forgotten = self.resource_version

    def _put(self, key: Key, old: Object | None, new: Object) -> None:
        ref, namespace, name = key
        self._objects.setdefault(ref, {}).setdefault(namespace, {})[name] = new
        metadata = new["metadata"]
        before = _owners(old) if old is not None else []
        after = _owners(new)
        if before != after:
            for uid in before:
                self._unlink(uid, key)
            for uid in after:
                self._dependents.setdefault(uid, {})[key] = None
        if old is None:
            self._by_uid[metadata["uid"]] = key
            if namespace:
                self._in_namespace.setdefault(namespace, {})[key] = None

    def _take(self, key: Key, last: Object) -> None:
        ref, namespace, name = key
        names = self._objects[ref][namespace]
        del names[name]
        if not names:
            del self._objects[ref][namespace]
        self._by_uid.pop(last["metadata"]["uid"], None)
        for uid in _owners(last):
            self._unlink(uid, key)
        if namespace:
            inside = self._in_namespace[namespace]
            del inside[key]
            if not inside:
                del self._in_namespace[namespace]

    def _unlink(self, uid: str, key: Key) -> None:
        dependents = self._dependents.get(uid)
        if dependents is not None:
            dependents.pop(key, None)
            if not dependents:
                del self._dependents[uid]

    def _journal(self, change: Change) -> None:
        if self.journal is not None:
            self.journal(change)

    def _record(self, change: Change) -> None:
        self.resource_version = change.resource_version
        if self._history.maxlen == len(self._history):
            self._forgotten = self._history[0].resource_version if self._history else change.resource_version
        self._history.append(change)
        made: dict[EventType, WatchEvent] = {}
        for watch in list(self._watches.get(change.key[0], ())):
            watch.offer(change.type, change.old, change.new, made)
            if watch.behind > BACKLOG:
                error = expired(f"the watch fell {BACKLOG} events behind")
                watch.drain()
                watch.put(WatchEvent("ERROR", error.status()))
                watch.close()
        self.pending.append(change)

    def changes_after(self, resource_version: int) -> Iterator[Change]:
        """Changes of all kinds, oldest first. Raises ApiError 410 if some of them are forgotten."""
        if resource_version < self._forgotten:
            raise expired(f"too old resource version: {resource_version} ({self._forgotten})")
        if not self._history:
            return iter(())
        start = max(0, resource_version + 1 - self._history[0].resource_version)
        return iter([self._history[i] for i in range(start, len(self._history))])

    def snapshot(self, ref: KindRef, namespace: str | None, resource_version: int) -> list[Object]:
        """The objects as they were at `resource_version`. Raises ApiError 410."""
        changed = [change for change in self.changes_after(resource_version) if change.key[0] == ref]
        if not changed:
            return list(self.objects(ref, namespace))
        then = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in self.objects(ref, namespace)}
        for change in reversed(changed):
            place = change.key[1:]
            if namespace is not None and place[0] != namespace:
                continue
            if change.old is None:
                then.pop(place, None)
            else:
                then[place] = change.old
        return [then[place] for place in sorted(then)]

    def open_watch(self, ref: KindRef, namespace: str | None, test: Test | None) -> Watch:
        watches = self._watches.setdefault(ref, {})
        watch = Watch(namespace, test, lambda closed: watches.pop(closed, None) and None)
        watches[watch] = None
        return watch

    def close_watches(self, ref: KindRef | None = None) -> None:
        """Ends the watches of one kind, or all."""
        for watched, watches in list(self._watches.items()):
            if ref is None or watched == ref:
                for watch in list(watches):
                    watch.close()

    def key(self, kind: ResourceKind, namespace: str | None, name: str) -> Key:
        if kind.namespaced and not namespace:
            raise ApiError(400, "BadRequest", f"{kind.plural} live in namespaces: name one")
        return (kind.ref, (namespace or "") if kind.namespaced else "", name)


def _owners(obj: Object) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]
