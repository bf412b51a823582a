"""What a download is given in tests: a source that it trusts, and a clock on which waiting takes no time."""

from __future__ import annotations

import random
import ssl
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path

from insource.delivery.access import Credentials
from insource.delivery.attempts import Download
from insource.delivery.connection import Reach
from insource.env import Env, SystemIds


class Clock:
    """Moves when somebody waits, and a little with each look."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def now(self) -> datetime:
        raise AssertionError("a download has no use for the wall clock")

    def monotonic(self) -> float:
        self.now_s += 0.001
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a download is no coroutine")

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


def reach_of(ca: Path) -> Reach:
    """This machine, by the certificates of `ca`."""
    return Reach(ssl.create_default_context(cafile=ca), allowed=(ip_network("127.0.0.0/8"),))


def download_into(into: Path, reach: Reach, clock: Clock, credentials: Credentials | None = None) -> Download:
    """One with ten minutes' time."""
    return Download(
        into=into,
        reach=reach,
        credentials=credentials or Credentials(),
        env=Env(clock=clock, ids=SystemIds(), rng=random.Random(1)),
        pause=clock.pause,
        limit_s=600,
    )
