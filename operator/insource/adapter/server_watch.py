"""Watches the model server of an in-house pod: warm it up before Ready, notice when it stops answering.

A server that is stopped or hung keeps its connections, so nothing but silence tells. Two health probes without an
answer: no new work, not Ready. Silence for `stalled_after_s`: attempts in flight are cut, so that Envoy can still
rescue them elsewhere. A server that comes back is warmed up again first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import structlog

from insource.adapter.refusals import Refusal, timed_out
from insource.adapter.settings import Patience
from insource.env import Env

log = structlog.get_logger(__name__)
_SUSPECT_AFTER = 2


class ServerWatch:
    """The server's state, level-triggered: each probe decides anew."""

    def __init__(
        self,
        health_url: str,
        warm_up: Callable[[], Awaitable[None]],
        session: aiohttp.ClientSession,
        env: Env,
        patience: Patience,
        warm_up_s: float | None = None,
    ) -> None:
        """`warm_up` has the server do a little work, or raises Refusal; None: it gets the deadline's floor."""
        self._warm_up_s = patience.deadline_floor_s if warm_up_s is None else warm_up_s
        self._health_url = health_url
        self._warm_up = warm_up
        self._session = session
        self._env = env
        self._patience = patience
        self._silences = 0
        self._failures = 0
        self._answered_at = env.clock.monotonic()
        self._in_flight: set[asyncio.Timeout] = set()
        self.warm = False
        """A warm-up has succeeded, and the server has been healthy since."""
        self.stalled = False
        """The server has been silent for so long that work in flight was given up."""
        self.problem = ""
        """Why the server is not warm, without counters; empty if it is, or has not been asked yet."""

    @property
    def ready(self) -> bool:
        """Whether work should come here."""
        return self.warm

    def check(self) -> None:
        """Raise 503 if the server does not answer at present."""
        if self._silences >= _SUSPECT_AFTER:
            raise timed_out("The model server does not respond.", reason="server_stalled")

    def cut_when_stalled(self, scope: asyncio.Timeout) -> None:
        """From now on a stall makes `scope` expire, until `spare`."""
        self._in_flight.add(scope)

    def spare(self, scope: asyncio.Timeout) -> None:
        """Leave `scope` alone again."""
        self._in_flight.discard(scope)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await self._env.clock.sleep(self._patience.probe_every_s)

    async def probe(self) -> None:
        """Ask once, and act on the answer."""
        try:
            async with (
                asyncio.timeout(self._patience.probe_timeout_s),
                self._session.get(self._health_url, allow_redirects=False) as answer,
            ):
                healthy = answer.status == 200
                problem = f"the model server's health check answers {answer.status}"
                self._silences = 0
        except TimeoutError:
            healthy, problem = False, "the model server does not answer its health check"
            self._silences += 1
        except (aiohttp.ClientError, OSError):
            healthy, problem = False, "the model server takes no connection for its health check"
            self._silences = 0
        if healthy:
            self._healthy()
            if not self.warm:
                await self._try_warm_up()
        else:
            self._unhealthy()
            self.problem = "" if self.warm else problem

    def _healthy(self) -> None:
        self._failures = 0
        self.stalled = False
        self._answered_at = self._env.clock.monotonic()

    def _unhealthy(self) -> None:
        self._failures += 1
        if self._failures >= _SUSPECT_AFTER and self.warm:
            log.warning("server_unhealthy", silent_probes=self._silences)
            self.warm = False
        silent_for = self._env.clock.monotonic() - self._answered_at
        if self._silences >= _SUSPECT_AFTER and silent_for >= self._patience.stalled_after_s:
            if not self.stalled:
                log.error("server_stalled", silent_s=round(silent_for, 1), cut=len(self._in_flight))
            self.stalled = True
            now = asyncio.get_running_loop().time()
            for scope in list(self._in_flight):
                if not scope.expired():
                    scope.reschedule(now)

    async def _try_warm_up(self) -> None:
        try:
            async with asyncio.timeout(self._warm_up_s):
                await self._warm_up()
        except (Refusal, TimeoutError) as problem:
            reason = str(getattr(problem, "reason", "timeout"))
            log.info("warm_up_failed", problem=reason)
            words = problem.message if isinstance(problem, Refusal) else "no answer in time"
            self.problem = f"the model server fails its warm-up request: {reason}: {words}"
            return
        self.warm = True
        self.problem = ""
        log.info("warm")
