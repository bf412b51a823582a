"""The last rung of the ladder: holds a request that no backend can take, and sends it again when one can.

Envoy brings such a request to `hold.sock`; it goes back in by `reentry`, marked `x-insource-hop: hold`. Waiting
ends when a backend appears in the view, or by probing with back-off: only the oldest request of a deployment probes,
so that a full deployment is not flooded. Knows nothing of pods.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import structlog
from aiohttp import web

from insource.env import Env
from insource.gateway.reentry import Reentry, relay
from insource.gateway.render.clusters import FAILURES
from insource.gateway.spool import Spool, SpoolBudget, SpoolFull
from insource.gateway.view import HOLD, DeploymentKey, DeploymentView
from insource.wire import headers
from insource.wire.errors import error_body
from insource.wire.vocabulary import Outcome

PATIENT = frozenset({Outcome.SHED.value, Outcome.REFUSED_POLICY.value})
"""Outcomes that say "not now": the request was not tried."""
MOST_FAILURES = FAILURES
"""A request that backends fail on, rather than shed, is tried no more than this often: it may be what breaks them. Not
less often than it takes Envoy to find that an address fails: by then, the request meets another one."""
DEADLINE_MARGIN = 0.05
"""The share of the request's time-out that is kept for saying that it was not served."""
LAST_WORD = {"x-envoy-ratelimited": "true"}
"""Keeps Envoy from bringing the request here again; clients do not see it."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class HoldLimits:
    """What may be held at once; times in seconds."""

    requests: int = 1000
    bytes: int = 2 << 30
    backoff_s: float = 0.05
    backoff_limit_s: float = 1.0
    retry_after_s: int = 5
    taken_after_s: float = 0.05
    """A backend that is full says so within this time; after it a request counts as taken, and the next may try."""
    next_after_s: float = 0.01
    """The same, while the last one to try was taken: there is probably more room."""
    failure_pause_s: float = 0.5
    """Times the failures so far. Failing tries must outlast what takes a dead backend away: ejection and readiness."""
    failing_limit_s: float = 10.0
    """Where backends are ready by Kubernetes' word, and for this long all fail or are out, nobody waits any more."""


class _Turn:
    """One request's place in its deployment's queue, which it keeps when it was taken, as it seemed, and was not."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.wake = asyncio.Event()
        self.resting = False
        """Backends failed on it. It pauses alone, for that says nothing of how they do with the others."""


class Activator:
    """The server on `hold.sock`."""

    def __init__(
        self,
        view: Callable[[DeploymentKey], DeploymentView | None],
        reentry: Reentry,
        spool_dir: Path,
        env: Env,
        limits: HoldLimits = HoldLimits(),
    ) -> None:
        self._view = view
        self._env = env
        self._limits = limits
        self._spool_dir = spool_dir
        self._budget = SpoolBudget(limits.bytes)
        self._queues: defaultdict[DeploymentKey, list[_Turn]] = defaultdict(list)
        """Who waits, in the order in which they were complete."""
        self._flowing: set[DeploymentKey] = set()
        """Where the last one to try was taken."""
        self._failing_since: dict[DeploymentKey, float] = {}
        """Where all tries failed, or found all backends out. By the monotonic clock."""
        self._numbers = itertools.count()
        self.held: Counter[str] = Counter()
        """Requests here now, by deployment: waiting, or forwarded and not yet answered."""
        self.forwarding: Counter[str] = Counter()
        """Of these, the ones that are in Envoy a second time."""
        self.refused_total = 0
        self._reentry = reentry

    def application(self) -> web.Application:
        """To be run with `handler_cancellation`, so that a client that leaves ends its request here."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    def backends_changed(self, key: DeploymentKey) -> None:
        """The deployment's endpoints are others now: whoever waits first may try at once, and those who failed too."""
        for turn in self._queues.get(key, ()):
            if turn.resting:
                turn.wake.set()
        self._wake_first(key)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Hold one request until it is answered, its time is up, or its client leaves."""
        key = DeploymentKey(request.headers.get(headers.NAMESPACE, ""), request.headers.get(headers.DEPLOYMENT, ""))
        view = self._view(key)
        if request.headers.get(headers.HOP, "").startswith(HOLD) or view is None:
            return self._refuse(request, "No replica of this deployment can take a request now.")
        if self.held.total() >= self._limits.requests:
            return self._refuse(request, "Too many requests are waiting for a replica.")
        name = str(key)
        self.held[name] += 1
        spool = Spool(self._spool_dir, self._budget)
        try:
            deadline = self._env.clock.monotonic() + view.request_timeout_s * (1 - DEADLINE_MARGIN)
            async for chunk in request.content.iter_any():
                spool.write(chunk)
            # Only now: a client that sends slowly would otherwise keep back all who came after it.
            turn = _Turn(next(self._numbers))
            try:
                return await self._wait(request, key, turn, spool, deadline)
            finally:
                self._step_aside(key, turn)
        except SpoolFull:
            return self._refuse(request, "The requests that wait for a replica have filled their storage.")
        finally:
            spool.close()
            self.held[name] -= 1
            if not self.held[name]:
                del self.held[name]

    async def _wait(
        self, request: web.Request, key: DeploymentKey, turn: _Turn, spool: Spool, deadline: float
    ) -> web.StreamResponse:
        failures = tries = 0
        backoff = self._limits.backoff_s
        while True:
            view = self._view(key)
            if view is None:
                return self._refuse(request, "This deployment was removed while the request waited.")
            if not view.backends_ready:
                self._failing_since.pop(key, None)
            elif self._is_first(key, turn):
                self.forwarding[str(key)] += 1
                tries += 1
                try:
                    answer = await self._try(request, key, turn, spool, view.backends_ready, hop_name(request, tries))
                    self._note(key, answer)
                    if _is_failure(answer):
                        failures += 1
                        self._rest(key, turn)
                    if answer is not None and (not _may_wait(answer) or failures >= MOST_FAILURES):
                        self._step_aside(key, turn)
                        return await relay(request, answer, LAST_WORD)
                    self._flowing.discard(key)
                    if answer is not None:
                        answer.close()
                finally:
                    self.forwarding[str(key)] -= 1
            remaining = deadline - self._env.clock.monotonic()
            if remaining <= 0:
                return self._refuse(request, "No replica could take the request in time.")
            if self._fails_for_long(key):
                return self._refuse(request, "The replicas of this deployment fail.")
            probes = turn.resting or self._is_first(key, turn)
            pause = backoff * self._env.rng.uniform(0.5, 1.0) if probes else remaining
            if turn.resting:
                pause = max(pause, failures * self._limits.failure_pause_s)
            if probes:
                backoff = min(backoff * 2, self._limits.backoff_limit_s)
            await self._race(turn.wake.wait(), min(pause, remaining))
            turn.wake.clear()
            turn.resting = False

    async def _try(
        self, request: web.Request, key: DeploymentKey, turn: _Turn, spool: Spool, rungs: int, hop: str
    ) -> aiohttp.ClientResponse | None:
        """Send the request in again; None if Envoy could not be asked."""
        sending = asyncio.ensure_future(self._send(request, spool, rungs, hop))
        try:
            # A backend that is full says so at once. Silence means that the request was taken: the next may try.
            flowing = key in self._flowing
            await self._race(
                asyncio.shield(sending), self._limits.next_after_s if flowing else self._limits.taken_after_s
            )
            if not sending.done():
                self._flowing.add(key)
                self._step_aside(key, turn)
            return await sending
        finally:
            sending.cancel()

    async def _send(self, request: web.Request, spool: Spool, rungs: int, hop: str) -> aiohttp.ClientResponse | None:
        # One retry per rung that has a backend: the ladder then ends above this activator, and we see why.
        limit = {"x-envoy-max-retries": str(rungs - 1)}
        key = DeploymentKey(request.headers[headers.NAMESPACE], request.headers[headers.DEPLOYMENT])
        body = spool.chunks() if spool.size else None
        try:
            return await self._reentry.send(request, key, hop, body, spool.size, limit)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("reentry_failed", error=type(error).__name__)
            return None

    async def _race(self, event: Awaitable[object], seconds: float) -> None:
        """Until the event, at most this long."""
        racers = {asyncio.ensure_future(self._env.clock.sleep(seconds)), asyncio.ensure_future(event)}
        try:
            await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for racer in racers:
                racer.cancel()

    def _note(self, key: DeploymentKey, answer: aiohttp.ClientResponse | None) -> None:
        if answer is not None and (_is_empty(answer) or _is_failure(answer)):
            self._failing_since.setdefault(key, self._env.clock.monotonic())
        elif answer is not None:
            self._failing_since.pop(key, None)

    def _fails_for_long(self, key: DeploymentKey) -> bool:
        since = self._failing_since.get(key)
        return since is not None and self._env.clock.monotonic() - since > self._limits.failing_limit_s

    def _is_first(self, key: DeploymentKey, turn: _Turn) -> bool:
        """Whether this one is to try next; it takes its place in the queue if it is not there."""
        queue = self._queues[key]
        if turn not in queue:
            bisect.insort(queue, turn, key=lambda each: each.number)
        return next((each for each in queue if not each.resting), None) is turn

    def _rest(self, key: DeploymentKey, turn: _Turn) -> None:
        """Let the next one try while this one pauses."""
        turn.resting = True
        self._is_first(key, turn)
        self._wake_first(key)

    def _wake_first(self, key: DeploymentKey) -> None:
        for turn in self._queues.get(key, ()):
            if not turn.resting:
                turn.wake.set()
                return

    def _step_aside(self, key: DeploymentKey, turn: _Turn) -> None:
        """Leave the queue, so that the next one may try."""
        queue = self._queues.get(key)
        if queue is None:
            return
        if turn in queue:
            queue.remove(turn)
        if queue:
            self._wake_first(key)
        else:
            del self._queues[key]
            self._flowing.discard(key)
            self._failing_since.pop(key, None)

    def _refuse(self, request: web.Request, message: str) -> web.Response:
        self.refused_total += 1
        body = orjson.dumps(error_body(message, type="server_error", code="no_capacity"))
        answer_headers = {"retry-after": str(self._limits.retry_after_s), **LAST_WORD}
        response = web.Response(status=503, body=body, content_type="application/json", headers=answer_headers)
        if request.can_read_body and not request.content.at_eof():
            response.force_close()
        return response


def hop_name(request: web.Request, tries: int) -> str:
    """`hold-<attempt that came here>-<try>`: Envoy numbers the attempts of each re-entry from 1 again.

    With the same name twice, two attempts would have one id, and the ledger would drop the usage of the second. The
    first number tells apart what came here again after this process was killed; a request that came by name keeps the
    name of that hop, too, which does the same for it.
    """
    hop = f"{HOLD}-{request.headers.get(headers.ATTEMPT_COUNT, '0')[:6]}-{tries}"
    before = request.headers.get(headers.HOP, "")
    return f"{hop}-{before}" if before else hop


def _is_failure(answer: aiohttp.ClientResponse | None) -> bool:
    """Backends were asked and failed."""
    if answer is None or answer.status != 503 or answer.headers.get(headers.OUTCOME, "") in PATIENT:
        return False
    return not _is_empty(answer)


def _is_empty(answer: aiohttp.ClientResponse) -> bool:
    """Envoy had nobody to ask, and came back to this activator or to nothing."""
    return answer.status == 503 and "x-envoy-ratelimited" in answer.headers


def _may_wait(answer: aiohttp.ClientResponse) -> bool:
    """True if the request may be sent once more."""
    return answer.headers.get(headers.OUTCOME, "") in PATIENT or answer.status == 503
