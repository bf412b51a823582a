"""Whether this process is of use: its watches hear from the API, its caches are whole, the catalogue is there. Pure.

A watch hears something at least each minute, if only a bookmark. One that hears nothing first makes the process not
ready, then not alive: a restart opens new connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class HealthLimits:
    """Seconds without news of a kind: until the process is not ready, and until it had better be restarted."""

    ready_s: float = 150.0
    alive_s: float = 300.0


@dataclass(frozen=True)
class WatchState:
    """One kind's watch."""

    synced: Callable[[], bool]
    """A whole list has been read."""
    silent_s: Callable[[], float]
    """Seconds since the API last told us anything about this kind."""


class Health:
    """What `/healthz` and `/readyz` answer: empty text, or what is wrong. `watches` by the kind's plural."""

    def __init__(
        self,
        watches: Mapping[str, WatchState],
        *,
        leads: Callable[[], bool],
        unsettled: Callable[[], str],
        limits: HealthLimits = HealthLimits(),
    ) -> None:
        self._watches = watches
        self._leads = leads
        self._unsettled = unsettled
        self._limits = limits

    def unhealthy(self) -> str:
        """Why the process should be restarted."""
        return self._silent(self._limits.alive_s)

    def unready(self) -> str:
        """Why the process is not of use now."""
        waiting = sorted(plural for plural, watch in self._watches.items() if not watch.synced())
        if waiting:
            return f"not yet listed: {', '.join(waiting)}"
        silent = self._silent(self._limits.ready_s)
        if silent:
            return silent
        missing = self._unsettled() if self._leads() else ""
        return f"the built-in catalogue is not yet applied: {missing}" if missing else ""

    def _silent(self, limit_s: float) -> str:
        silent = sorted(plural for plural, watch in self._watches.items() if watch.silent_s() > limit_s)
        return f"no news for {limit_s:.0f} s of: {', '.join(silent)}" if silent else ""


class Progress:
    """When each of some watches was last heard from, on a monotonic clock: seconds."""

    def __init__(self, names: tuple[str, ...], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard = dict.fromkeys(names, monotonic())

    def heard(self, name: str) -> None:
        """The API answered about `name`; others are passed over."""
        if name in self._heard:
            self._heard[name] = self._monotonic()

    def silent_s(self, name: str) -> float:
        """Seconds since then, or since the start."""
        return self._monotonic() - self._heard[name]
