"""What a download has to work with, and how often and how long it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from insource.delivery.access import Access
from insource.delivery.connection import Reach
from insource.delivery.problems import DeliveryError, TransientError
from insource.env import Env

MOST_FAILURES = 6
"""In a row without a byte: about a minute, then the pod's status should tell of it."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class Download:
    """How a model is fetched."""

    into: Path
    reach: Reach
    credentials: Access
    env: Env
    pause: Callable[[float], None]
    """Waits so many seconds."""
    limit_s: float
    """All files have to be there after this time."""


class Attempts:
    """The tries at one thing, until `deadline_s` of the monotonic clock."""

    def __init__(self, what: str, download: Download, deadline_s: float, log: structlog.stdlib.BoundLogger) -> None:
        self._what, self._download, self._deadline_s, self._log = what, download, deadline_s, log
        self._failures, self._pause_s = 0, FIRST_PAUSE_S
        self.last_words = ""

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return self._download.env.clock.monotonic() >= self._deadline_s

    def failed(self, error: TransientError, *, progressed: bool = False, **told: object) -> None:
        """Wait before the next try. Raises `DeliveryError` if there have been too many without any progress."""
        self.last_words = str(error)
        if progressed:
            self._failures, self._pause_s = 0, FIRST_PAUSE_S
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise DeliveryError(f"{self._what}: {error} ({self._failures} times in a row)") from error
        env = self._download.env
        wait_s = max(self._pause_s * env.rng.uniform(0.75, 1.25), error.wait_s)
        self._log.warning("trying_again", problem=str(error), in_s=round(wait_s, 1), **told)
        self._download.pause(min(wait_s, max(0.0, self._deadline_s - env.clock.monotonic())))
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
