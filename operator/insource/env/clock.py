"""Time: a wall clock for what people read, a monotonic one for every duration."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the program may ask about time."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. For display and storage; never subtract two of these."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back. For durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Give way for at least `seconds`."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
