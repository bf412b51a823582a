"""Runs level-triggered controllers over the store: a change marks keys dirty, a loop reconciles them one by one.

A controller is a pair of `keys(kind, object)` (whom does this change concern?) and `reconcile(key)`. It knows no
event, only the present state; marking a key twice, or for nothing, is harmless.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from insource.env import Clock
from insource.local.store import ApiError, Store
from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind

Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""

RETRY_S = 0.2
LONGEST_RETRY_S = 10.0


class Controller(Protocol):
    """What a control loop drives."""

    name: str

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        """The keys that a change of this object concerns."""
        ...

    def reconcile(self, key: Key) -> float | None:
        """Bring one key to its desired state; answers in how many seconds to look again anyhow, if at all."""
        ...


class ControlLoop:
    """One dirty set for all controllers, worked off in order."""

    def __init__(self, store: Store, controllers: Sequence[Controller], clock: Clock) -> None:
        self._store = store
        self._controllers = {controller.name: controller for controller in controllers}
        self._clock = clock
        self._dirty: dict[tuple[str, Key], None] = {}
        self._later: list[tuple[float, str, Key]] = []
        self._failures: dict[tuple[str, Key], int] = {}
        self._woken = asyncio.Event()
        self._log = structlog.get_logger("controllers")
        self._unsubscribe = store.subscribe(self._changed)
        for kind in store.kinds:
            for held in store.list(kind).items:
                self._changed("ADDED", kind, held)

    def close(self) -> None:
        """Hear no more changes."""
        self._unsubscribe()

    async def run(self) -> None:
        """Until cancelled. Gives way after each key, so that requests are answered in between."""
        while True:
            self._take_due()
            if self._dirty:
                self._work_one()
                await self._clock.sleep(0)
                continue
            self._woken.clear()
            pause_s = self._later[0][0] - self._clock.monotonic() if self._later else None
            try:
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def settle(self, limit: int = 10_000) -> None:
        """Work until nothing is dirty and nothing is due: for tests and simulations.

        Raises RuntimeError past `limit` keys.
        """
        for _ in range(limit):
            self._take_due()
            if not self._dirty:
                return
            self._work_one()
        raise RuntimeError(f"controllers do not come to rest: {list(self._dirty)[:3]}")

    def _changed(self, event: str, kind: ResourceKind, held: Object) -> None:
        del event
        for name, controller in self._controllers.items():
            for key in controller.keys(kind, held):
                self._dirty[name, key] = None
        if self._dirty:
            self._woken.set()

    def _take_due(self) -> None:
        now_s = self._clock.monotonic()
        while self._later and self._later[0][0] <= now_s:
            _, name, key = heapq.heappop(self._later)
            self._dirty[name, key] = None

    def _work_one(self) -> None:
        name, key = item = next(iter(self._dirty))
        del self._dirty[item]
        try:
            again_s = self._controllers[name].reconcile(key)
        except Exception as error:
            failures = self._failures[item] = self._failures.get(item, 0) + 1
            again_s = min(RETRY_S * 2 ** min(failures, 8), LONGEST_RETRY_S)
            if isinstance(error, ApiError):
                self._log.info("retrying", controller=name, key="/".join(key), error=str(error), again_s=again_s)
            else:
                self._log.exception("failed", controller=name, key="/".join(key), again_s=again_s)
        else:
            self._failures.pop(item, None)
        if again_s is not None:
            heapq.heappush(self._later, (self._clock.monotonic() + again_s, name, key))
