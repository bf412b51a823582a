"""An open watch: a queue of events that one reader drains, at once or as an async iterator.

Knows nothing of storage; the store puts events in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import orjson

from insource.local.selectors import Test
from insource.local.store_errors import Object

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
BACKLOG = 50_000
"""Events that a reader may be behind before its watch ends with 410, seconds of churn on a busy cluster."""


@dataclass(frozen=True)
class WatchEvent:
    """`type` and the object (for BOOKMARK only kind, apiVersion and metadata.resourceVersion; for ERROR a Status)."""

    type: EventType
    object: Object

    @cached_property
    def line(self) -> bytes:
        """As a line of JSON: made once, for all who watch."""
        return orjson.dumps({"type": self.type, "object": self.object}, option=orjson.OPT_APPEND_NEWLINE)


class Watch:
    """`async for event in watch`, or `watch.drain()` for what has arrived so far. `close()` ends it."""

    def __init__(self, namespace: str | None, test: Test | None, on_close: Callable[[Watch], None]) -> None:
        self._namespace = namespace
        self._test = test
        self._on_close = on_close
        self._events: deque[WatchEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, kind: EventType, old: Object | None, new: Object, made: dict[EventType, WatchEvent]) -> None:
        """A change of an object: what this watch's selectors make of it. `made`: its events, shared by all watches."""
        if self._namespace is not None and new["metadata"].get("namespace") != self._namespace:
            return
        if self._test is not None:
            was = old is not None and self._test(old)
            now = kind != "DELETED" and self._test(new)
            if not was and not now:
                return
            kind = "DELETED" if not now else "MODIFIED" if was else "ADDED"
        event = made.get(kind)
        if event is None:
            event = made[kind] = WatchEvent(kind, new)
        self.put(event)

    def put(self, event: WatchEvent) -> None:
        """An event as it is."""
        self._events.append(event)
        self._wake()

    @property
    def behind(self) -> int:
        return len(self._events)

    def drain(self) -> list[WatchEvent]:
        """What has arrived and was not read yet; never waits."""
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Ends the watch; events that have arrived can still be read."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, limit_s: float | None = None) -> bool:
        """Waits until something can be read, at most so long; False once the watch is closed and empty."""
        loop = asyncio.get_running_loop()
        ends = None if limit_s is None else loop.time() + limit_s
        while not self._events and not self._closed:
            if ends is not None and loop.time() >= ends:
                return True
            self._waiter = loop.create_future()
            # Note: asyncio.wait_for would make a task for each event of each watch.
            timer = None if ends is None else loop.call_at(ends, self._wake)
            try:
                await self._waiter
            finally:
                if timer is not None:
                    timer.cancel()
        return bool(self._events)

    async def __aiter__(self) -> AsyncIterator[WatchEvent]:
        while await self.wait():
            yield self._events.popleft()
