"""The probes of one pod's containers: begun when a container has started, told to its runner, ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from insource.env import Clock
from insource.local import probes
from insource.local.probes import Tally, Target, Verdict

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Change(Protocol):
    """(container, what is different now): the runner's own record of the container."""

    def __call__(self, name: str, **changes: Any) -> None: ...


class Probing:
    """Startup probes first; readiness and liveness from when the container counts as started."""

    def __init__(
        self,
        specs: Mapping[str, Mapping[str, Any]],
        target: Callable[[str], Target],
        clock: Clock,
        change: Change,
        unhealthy: Callable[[str], None],
        spawn: Spawn,
    ) -> None:
        """`unhealthy` hears what a failed probe had to say; `spawn` runs a task that ends with the pod."""
        self._specs = specs
        self._target = target
        self._clock = clock
        self._change = change
        self._unhealthy = unhealthy
        self._spawn = spawn
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, name: str) -> None:
        """A container's program has started."""
        if self._specs[name].get("startupProbe"):
            self._watch(name, "startupProbe", self._told_startup, passing=False)
        else:
            self._begin_lasting(name)

    def end(self, name: str) -> None:
        """The container's program has ended."""
        for task in self._tasks.pop(name, []):
            task.cancel()

    def _begin_lasting(self, name: str) -> None:
        if self._specs[name].get("readinessProbe"):
            self._watch(name, "readinessProbe", self._told_readiness, passing=False)
        if self._specs[name].get("livenessProbe"):
            self._watch(name, "livenessProbe", self._told_liveness, passing=True)

    def _watch(self, name: str, which: str, told: Callable[[str, Tally, Verdict], bool], *, passing: bool) -> None:
        asking = probes.watch(
            self._specs[name][which],
            self._target(name),
            self._clock,
            lambda tally, verdict: told(name, tally, verdict),
            passing=passing,
        )
        self._tasks.setdefault(name, []).append(self._spawn(asking))

    def _told_startup(self, name: str, tally: Tally, verdict: Verdict) -> bool:
        self._say("Startup", verdict)
        if tally.passing:
            self._change(name, has_started=True, ready=not self._specs[name].get("readinessProbe"))
            self._begin_lasting(name)
            return False
        if tally.failures >= int(self._specs[name]["startupProbe"].get("failureThreshold") or 3):
            self._change(name, unhealthy=f"failed startup probe: {verdict.message}")
            return False
        return True

    def _told_readiness(self, name: str, tally: Tally, verdict: Verdict) -> bool:
        self._say("Readiness", verdict)
        self._change(name, ready=tally.passing)
        return True

    def _told_liveness(self, name: str, tally: Tally, verdict: Verdict) -> bool:
        self._say("Liveness", verdict)
        if not tally.passing:
            self._change(name, unhealthy=f"failed liveness probe: {verdict.message}")
        return tally.passing

    def _say(self, probe: str, verdict: Verdict) -> None:
        if not verdict.ok:
            self._unhealthy(f"{probe} probe failed: {verdict.message}")
