"""Which keys want work, and when: deduplicated, by priority, with back-off per key. Knows nothing of the work.

A key that is added while it is worked on becomes ready again when that work is done, so no change is ever missed and
no key is ever worked on twice at once. All time is the injected clock's.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from enum import Enum, IntEnum
from typing import Generic, TypeVar

from insource.env import Env

K = TypeVar("K", bound=Hashable)
_FRESH_S = 0.5


class Priority(IntEnum):
    """Lower goes first."""

    EDIT = 0
    """A person is waiting."""
    CHANGE = 1
    """Something that we look after has changed."""
    RESYNC = 2
    """Start-up and periodic checks: thousands at once."""


class Lane(Enum):
    """How the next key is chosen."""

    ANY = "any"
    """The oldest of the highest priority."""
    NEWEST_EDIT = "newest edit"
    """Whoever edits one object waits neither for other work nor for somebody's change of thousands a second ago. Those
    are left to the lane that takes the oldest."""
    FRESH_EDIT = "fresh edit"
    """The same, but only an edit of this moment: in a change of thousands its places are soon free, and stay so."""


class WorkQueue(Generic[K]):
    """One consumer calls `get`; any number of keys may be in flight until `done`."""

    def __init__(self, env: Env, *, backoff_s: float = 0.25, backoff_limit_s: float = 300.0) -> None:
        self._clock = env.clock
        self._rng = env.rng
        self._backoff_s = backoff_s
        self._backoff_limit_s = backoff_limit_s
        self._sequence = 0
        self._wanted: dict[K, Priority] = {}
        self._ready: dict[Priority, OrderedDict[K, float]] = {priority: OrderedDict() for priority in Priority}
        """Those of the wanted keys that are not in flight, oldest first, and since when."""
        self._delayed: list[tuple[float, int, K, Priority]] = []
        self._due: dict[K, float] = {}
        self._in_flight: dict[K, Lane] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are ready to be worked on."""
        return len(self._wanted)

    @property
    def in_flight(self) -> int:
        """Keys that are being worked on."""
        return len(self._in_flight)

    def add(self, key: K, priority: Priority = Priority.CHANGE) -> None:
        """Work on `key` as soon as possible."""
        present = self._wanted.get(key)
        if present is not None and present <= priority:
            return
        if present is not None:
            self._ready[present].pop(key, None)
        self._wanted[key] = priority
        if key not in self._in_flight:
            self._make_ready(key, priority)

    def add_after(self, key: K, delay_s: float, priority: Priority = Priority.CHANGE) -> None:
        """Work on `key` in `delay_s` seconds; the earliest of several such wishes counts.

        Work on it that begins earlier fulfils the wish; one that is uttered while it is under way stands.
        """
        due = self._clock.monotonic() + delay_s
        present = self._due.get(key)
        if present is not None and present <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._delayed, (due, self._sequence, key, priority))
        self._wake.set()

    def retry(self, key: K, *, at_least_s: float = 0.0, at_most_s: float = math.inf) -> float:
        """Work on `key` again after its back-off, which doubles with each call until `forget`. Returns the delay.

        `at_most_s` bounds the back-off, `at_least_s` the delay.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(at_most_s, self._backoff_limit_s, self._backoff_s * 2 ** min(failures, 32))
        delay: float = max(at_least_s, ceiling * self._rng.uniform(0.5, 1.0))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The work on `key` went well: its next back-off starts from the beginning."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often in a row the work on `key` has failed."""
        return self._failures.get(key, 0)

    def pop(self, lane: Lane = Lane.ANY) -> K | None:
        """The next key to work on, now in flight; None if the lane has none."""
        self._promote()
        if lane is not Lane.ANY:
            return self._pop_newest_edit(lane)
        for ready in self._ready.values():
            if ready:
                return self._take(ready.popitem(last=False)[0], lane)
        return None

    def done(self, key: K) -> None:
        """The work on `key` is over; if it was added meanwhile, it is ready again."""
        self._in_flight.pop(key, None)
        priority = self._wanted.get(key)
        if priority is not None:
            self._make_ready(key, priority)
        self._wake.set()

    async def get(self, places: Mapping[Lane, int] = {Lane.ANY: sys.maxsize}) -> K:
        """Wait for the next key to work on, in a lane in which fewer than its `places` are in flight."""
        while True:
            taken = Counter(self._in_flight.values())
            for lane, limit in places.items():
                key = self.pop(lane) if taken[lane] < limit else None
                if key is not None:
                    return key
            self._wake.clear()
            due = self.next_due()
            if due is None:
                await self._wake.wait()
            else:
                await self._wait_until(due)

    def next_due(self) -> float | None:
        """When the next delayed key becomes ready (monotonic seconds), None if nothing is delayed."""
        while self._delayed and self._due.get(self._delayed[0][2]) != self._delayed[0][0]:
            heapq.heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    async def _wait_until(self, due: float) -> None:
        alarm = asyncio.ensure_future(self._clock.sleep(max(0.0, due - self._clock.monotonic())))
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((alarm, wake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            wake.cancel()

    def _promote(self) -> None:
        now = self._clock.monotonic()
        while (due := self.next_due()) is not None and due <= now:
            _, _, key, priority = heapq.heappop(self._delayed)
            del self._due[key]
            self.add(key, priority)

    def _make_ready(self, key: K, priority: Priority) -> None:
        self._ready[priority][key] = self._clock.monotonic()
        self._wake.set()

    def _pop_newest_edit(self, lane: Lane) -> K | None:
        edits = self._ready[Priority.EDIT]
        if not edits:
            return None
        newest = next(reversed(edits))
        if lane is Lane.FRESH_EDIT and self._clock.monotonic() - edits[newest] > _FRESH_S:
            return None
        del edits[newest]
        return self._take(newest, lane)

    def _take(self, key: K, lane: Lane) -> K:
        del self._wanted[key]
        self._due.pop(key, None)
        self._in_flight[key] = lane
        return key
