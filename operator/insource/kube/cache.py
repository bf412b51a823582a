"""What we last saw of one kind: projections by key, fed by events and by whole lists, in any order.

An event or list that is older than what is held never wins, so that a watch and a relist may overlap.
Knows nothing of where objects come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Set
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from insource.kube.resources import Key, Object, is_newer, key_of
from insource.kube.shapes import WHOLE, Shape

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class OnChange(Protocol[T_contra]):
    """Called after the cache has changed; `new` is None on DELETED. Must not block or raise.

    `old` is None on ADDED, and on a MODIFIED whose change came with the answer to a write of our own.
    """

    def __call__(self, change: ChangeType, key: Key, old: T_contra | None, new: T_contra | None, /) -> None: ...


class _Write(Generic[T]):
    """A write of ours that is under way: what was held before it, and what was observed of the object since."""

    __slots__ = ("before", "seen")

    def __init__(self, before: str) -> None:
        self.before = before
        self.seen: list[tuple[str, ChangeType, T | None]] = []


class _Answered(NamedTuple):
    """A write of ours whose answer came before its event: changes by others may be hidden in the answer."""

    before: str
    answer: str


class Entry(NamedTuple, Generic[T]):
    """A projection and the resourceVersion that it was made from."""

    resource_version: str
    value: T


def _no_groups(_: object) -> Iterable[Hashable]:
    return ()


class Cache(Generic[T]):
    """Projections of the objects of one kind; `groups_of` says by what else than its key each can be found."""

    def __init__(
        self,
        project: Callable[[Object], T],
        groups_of: Callable[[T], Iterable[Hashable]] = _no_groups,
        *,
        again: Callable[[Object, T], T] | None = None,
        shape: Shape = WHOLE,
    ) -> None:
        """`again` projects an object of which the last projection is at hand; `shape` is what the two look at."""
        self.shape = shape
        self._project = project
        self._again = again
        self._groups_of = groups_of
        self._groups: dict[Hashable, set[Key]] = {}
        self._entries: dict[Key, Entry[T]] = {}
        self._tombstones: dict[Key, str] = {}
        self._listeners: list[OnChange[T]] = []
        self._writing: dict[Key, _Write[T]] = {}
        self._answered: dict[Key, _Answered] = {}
        self._echoes: dict[str, Key] = {}
        self._unlisted: set[str] = set()
        self.synced = asyncio.Event()
        """Set once a whole list has been seen, of each namespace that is read by itself."""

    def subscribe(self, listener: OnChange[T]) -> None:
        """Call `listener` on every later change."""
        self._listeners.append(listener)

    def expect(self, namespace: str) -> None:
        """Somebody will list this namespace ("": all of them) and tell by `prune`. Before the first list."""
        self._unlisted.add(namespace)

    def get(self, key: Key) -> T | None:
        """The projection, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def resource_version(self, key: Key) -> str:
        """The version that is held, "" if none."""
        entry = self._entries.get(key)
        return "" if entry is None else entry.resource_version

    def members(self, group: Hashable) -> Set[Key]:
        """Live view of the keys of all objects in a group."""
        return self._groups.get(group, frozenset())

    def keys(self) -> Iterable[Key]:
        """Live view of the keys."""
        return self._entries.keys()

    def values(self) -> Iterable[T]:
        """Every projection."""
        return (entry.value for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def observe(self, obj: Object) -> None:
        """Take note of an event: of an object that exists."""
        key, version = key_of(obj), obj["metadata"]["resourceVersion"]
        answered = self._answered.get(key)
        if answered is not None and version == answered.answer:
            del self._answered[key]  # events come in order: nothing of others is hidden before this one any more
        if self._observed(key, obj) or answered is None:
            return
        if is_newer(version, answered.before) and is_newer(answered.answer, version):
            # Somebody else's change, which we already hold because our write was answered with it: nobody was told.
            self._tell("MODIFIED", key, None, self._entries[key].value)

    def observe_listed(self, obj: Object) -> None:
        """Take note of an object in a list, which shows the last of several changes only."""
        self._observed(key_of(obj), obj)

    def _observed(self, key: Key, obj: Object) -> bool:
        old = self.get(key)
        if not self.adopt(obj):
            return False
        change: ChangeType = "ADDED" if old is None else "MODIFIED"
        write = self._writing.get(key)
        if write is not None:
            # Most likely the echo of our own write, which came before the answer: `end_write` will know.
            write.seen.append((obj["metadata"]["resourceVersion"], change, old))
            return True
        self._answered.pop(key, None)
        self._tell(change, key, old, self._entries[key].value)
        return True

    def begin_write(self, key: Key) -> None:
        """We are about to write the object: until `end_write`, what is observed of it is noted but told to nobody."""
        self._writing[key] = _Write(self.resource_version(key))

    def end_write(self, key: Key, answer: Object | None) -> None:
        """Our write is over; `answer` is the object that it made, None if that is not known.

        Listeners are told if somebody else was at the object meanwhile: now, or when the event of that comes.
        """
        write = self._writing.pop(key, None)
        if write is None:
            return
        version = answer["metadata"]["resourceVersion"] if answer is not None else ""
        if answer is not None:
            self.adopt(answer)
        entry = self._entries.get(key)
        if entry is None:
            return
        echoed = any(seen == version for seen, _, _ in write.seen)
        if entry.resource_version == version and version != write.before and not echoed:
            self._answered[key] = _Answered(write.before, version)
            self._echoes[version] = key
        others = [(change, old) for seen, change, old in write.seen if seen != version]
        if others:
            self._tell(others[0][0], key, others[0][1], entry.value)

    def is_echo(self, version: str) -> bool:
        """True, once, if an event's resourceVersion is that of an answer to our own write.

        Notes the event: it need not be observed, nor even be read.
        """
        key = self._echoes.pop(version, None)
        if key is None:
            return False
        answered = self._answered.get(key)
        if answered is not None and answered.answer == version:
            del self._answered[key]  # as in `observe`
        return True

    def adopt(self, obj: Object) -> bool:
        """Take note of the answer to our own write, and tell nobody; the event that follows is then no news.

        This is how we read our own writes: a cache never goes back behind them. False if `obj` was no news.
        """
        key, version = key_of(obj), obj["metadata"]["resourceVersion"]
        entry = self._entries.get(key)
        if entry is not None and not is_newer(version, entry.resource_version):
            return False
        tombstone = self._tombstones.get(key)
        if tombstone is not None:
            if not is_newer(version, tombstone):
                return False
            del self._tombstones[key]
        if entry is None:
            value = self._project(obj)
            self._group(key, self._groups_of(value))
        else:
            value = self._project(obj) if self._again is None else self._again(obj, entry.value)
            before, after = tuple(self._groups_of(entry.value)), tuple(self._groups_of(value))
            if before != after:
                self._ungroup(key, before)
                self._group(key, after)
        self._entries[key] = Entry(version, value)
        return True

    def observe_deleted(self, obj: Object) -> None:
        """Take note of a deletion; `obj` is the last state, with the deletion's own resourceVersion."""
        self._remove(key_of(obj), obj["metadata"]["resourceVersion"])

    def replace(self, objects: Iterable[Object], resource_version: str) -> None:
        """Take note of a whole list as of `resource_version`: what is not in it was deleted unseen."""
        present = set()
        for obj in objects:
            present.add(key_of(obj))
            self.observe_listed(obj)
        self.prune(present, resource_version)

    def prune(self, present: set[Key], resource_version: str, namespace: str = "") -> None:
        """The end of a list that was observed page by page: drop what it did not contain.

        `namespace`: of which it was a list; "" for all. The others' objects are not its business.
        """

        def listed(key: Key) -> bool:
            return not namespace or key.namespace == namespace

        gone = [
            key
            for key, entry in self._entries.items()
            if key not in present and listed(key) and not is_newer(entry.resource_version, resource_version)
        ]
        for key in gone:
            self._remove(key, resource_version)
        self._tombstones = {
            key: version
            for key, version in self._tombstones.items()
            if not listed(key) or is_newer(version, resource_version)
        }
        # One that has not come back by now may never.
        self._echoes = {version: key for version, key in self._echoes.items() if not listed(key)}
        unsure = [
            key
            for key, answered in self._answered.items()
            if listed(key) and not is_newer(answered.answer, resource_version)
        ]
        for key in unsure:
            # A list hides what came before our write: better one look too many than a change that nobody sees.
            del self._answered[key]
            self._tell("MODIFIED", key, None, self._entries[key].value)
        self._unlisted.discard(namespace)
        if not self._unlisted:
            self.synced.set()

    def _remove(self, key: Key, version: str) -> None:
        entry = self._entries.get(key)
        if entry is not None and is_newer(entry.resource_version, version):
            return
        # Note: kept also for a key we never held, for a page of a list may still bring it, older than this.
        self._tombstones[key] = version
        if entry is not None:
            del self._entries[key]
            self._answered.pop(key, None)
            self._ungroup(key, self._groups_of(entry.value))
            self._tell("DELETED", key, entry.value, None)

    def _group(self, key: Key, groups: Iterable[Hashable]) -> None:
        for group in groups:
            self._groups.setdefault(group, set()).add(key)

    def _ungroup(self, key: Key, groups: Iterable[Hashable]) -> None:
        for group in groups:
            members = self._groups.get(group)
            if members is not None:
                members.discard(key)
                if not members:
                    del self._groups[group]

    def _tell(self, change: ChangeType, key: Key, old: T | None, new: T | None) -> None:
        for listener in self._listeners:
            listener(change, key, old, new)
