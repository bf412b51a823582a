"""The one bundle of clock, ids and randomness that is handed down from each program's entry point."""

from __future__ import annotations

import random
from dataclasses import dataclass

from insource.env.clock import Clock, SystemClock
from insource.env.ids import Ids, SystemIds


@dataclass(frozen=True)
class Env:
    """Clock, ids and randomness. `rng` is for jitter and sampling, never for secrets."""

    clock: Clock
    ids: Ids
    rng: random.Random


def system_env() -> Env:
    """The real thing: system clock, operating-system randomness."""
    return Env(clock=SystemClock(), ids=SystemIds(), rng=random.Random())
