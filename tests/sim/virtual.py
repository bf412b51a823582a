"""Virtual time for tests: a clock that moves only when somebody sleeps, and an Env from a seed."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from insource.env import Env, SeededIds


class VirtualClock:
    """Starts at a fixed moment; `sleep` returns at once and moves it."""

    def __init__(self) -> None:
        self.time = 1_790_000_000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


def virtual_env(seed: int) -> tuple[Env, VirtualClock]:
    """The same seed, the same run."""
    clock = VirtualClock()
    rng = random.Random(seed)
    return Env(clock, SeededIds(random.Random(rng.random())), rng), clock
