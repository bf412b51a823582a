"""From the outbox to the ledger, at least once, for as long as it takes. Its mark moves only when the ledger has it.

Apart from the log's reader, so that a ledger which is away stops nothing but the shipping.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import structlog

from insource.env import Env
from insource.gateway.follower import Follower, load_state
from insource.gateway.outbox import Mark
from insource.gateway.snapshot import write_private

SHIP_POLL_S = 1.0
"""A message to the ledger costs far more than a line in it, and nobody waits for sightings."""
MOST_SIGHTINGS = 1000

_log = structlog.get_logger(__name__)
Ship = Callable[[list[bytes]], Awaitable[bool]]
"""Sends sightings, a line of JSON each; False if they must be sent again."""


class Shipper:
    """Carries what the follower has committed to the ledger."""

    def __init__(self, follower: Follower, state: Path, env: Env, ship: Ship) -> None:
        self._follower = follower
        self._outbox = follower.outbox
        self._state = state
        self._env = env
        self._ship = ship
        document = load_state(state)
        try:
            self._shipped = Mark(**document) if document else None
        except TypeError:
            _log.error("sightings_shipped_anew", path=str(state))
            self._shipped = None
        if self._shipped is not None and self._shipped > follower.mark:
            # The outbox was begun anew.
            self._shipped = None
        self.shipped_total = 0
        self.lost_bytes = 0
        """Dropped before the ledger had it, for want of room."""

    async def run(self) -> None:
        """Ship until cancelled."""
        while True:
            if not await self.step():
                await self._env.clock.sleep(SHIP_POLL_S)

    @property
    def unshipped(self) -> bool:
        """True while the ledger does not have all that the follower has committed."""
        return bool(self._outbox.read(self._shipped, self._follower.mark, 1)[0])

    async def step(self) -> bool:
        """Ship one batch. True if there is probably more."""
        # Note: bounded memory. Nothing more is read before this is acknowledged.
        until = self._follower.mark
        lines, mark = self._outbox.read(self._shipped, until, MOST_SIGHTINGS)
        if not lines:
            return False
        while not await self._ship(lines):
            await self._env.clock.sleep(self._env.rng.uniform(0.5, 1.5))
        self.shipped_total += len(lines)
        self._shipped = mark
        write_private(self._state, orjson.dumps({"segment": mark.segment, "offset": mark.offset}))
        self._outbox.drop_before(mark)
        return mark < until

    def keep_below(self, limit_bytes: int) -> None:
        """Drop the oldest sightings while there are more bytes than this: the disk is finite."""
        while self._outbox.size_bytes() > limit_bytes and (dropped := self._outbox.drop_oldest()):
            self.lost_bytes += dropped
            _log.error("sightings_dropped", bytes=dropped, reason="the ledger has been away for too long")
