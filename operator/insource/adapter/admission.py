"""Who may work now: slots with a short queue, and a vendor's requests per minute. Refuses at once, never piles up."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager, nullcontext

from insource.adapter.refusals import shed
from insource.env import Env

_WINDOW_S = 60.0


class Admission:
    """`slots` requests at the backend at once and `slots // 2` (at least 1) more in the house; 0 slots: no limit."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._most = slots + max(1, slots // 2) if slots else 0
        self._free = asyncio.Semaphore(slots) if slots else None
        self.inside = 0
        """Requests admitted and not yet over."""

    def enter(self) -> None:
        """Take a place, on headers, before any body is read; `leave` gives it back. Raises shed when all are taken."""
        if self._most and self.inside >= self._most:
            raise shed(
                f"All {self.slots} slots and the queue of this backend are taken; try again shortly.", reason="full"
            )
        self.inside += 1

    def leave(self) -> None:
        """Give the place back."""
        self.inside -= 1

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for a slot of the backend and hold it."""
        return nullcontext() if self._free is None else self._free


class RequestWindow:
    """At most `per_minute` requests in any 60 seconds, and none before a time that the vendor named. 0: no limit."""

    def __init__(self, per_minute: int, env: Env) -> None:
        self._per_minute = per_minute
        self._env = env
        self._taken: deque[float] = deque()
        self._closed_until = 0.0

    def check(self) -> None:
        """Raise a shed refusal if a request now would be one too many; take nothing."""
        now = self._env.clock.monotonic()
        while self._taken and self._taken[0] <= now - _WINDOW_S:
            self._taken.popleft()
        if now < self._closed_until:
            raise _wait(self._closed_until - now, "vendor_limit")
        if self._per_minute and len(self._taken) >= self._per_minute:
            raise _wait(self._taken[0] + _WINDOW_S - now, "requests_per_minute")

    def take(self) -> None:
        """Count a request made now; raises as `check` does."""
        self.check()
        if self._per_minute:
            self._taken.append(self._env.clock.monotonic())

    def close_for(self, seconds: float) -> None:
        """The vendor asked for silence: Retry-After."""
        self._closed_until = max(self._closed_until, self._env.clock.monotonic() + seconds)


def _wait(seconds: float, reason: str) -> Exception:
    return shed("The vendor's rate limit is reached; try again later.", reason=reason, retry_after_s=int(seconds) + 1)
