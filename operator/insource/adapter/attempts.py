"""One attempt from its headers to its end: its two records in the write-ahead log, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from insource.adapter.identity import Identity
from insource.adapter.metrics import Metrics
from insource.adapter.routes import Route
from insource.adapter.wal import ENDED, STARTED, WriteAheadLog
from insource.env import Env
from insource.wire.vocabulary import Outcome, Role, Unit, UsageSource

_CONSUMING = frozenset({Outcome.OK, Outcome.GONE, Outcome.SERVER, Outcome.TIMEOUT})
"""Outcomes of attempts that may have consumed work once the backend was called; a refusal by it consumed none."""


def started_line(identity: Identity, route: Route, role: Role, pod: str, at_ms: int) -> bytes:
    """A `wire.records.AttemptStarted` as JSON, without its checks: what is in it has been checked on its way here."""
    return orjson.dumps(
        {
            "kind": STARTED,
            "attempt_id": identity.attempt_id,
            "request_id": identity.request_id,
            "hop": identity.hop,
            "number": identity.number,
            "deployment": identity.deployment,
            "backend": route.backend,
            "backend_kind": route.backend_kind,
            "revision": route.revision,
            "vendor": route.vendor,
            "model": route.model,
            "modality": route.modality,
            "role": role,
            "client": identity.client,
            "pod": pod,
            "started_at_ms": at_ms,
        }
    )


def ended_line(
    attempt_id: str,
    outcome: Outcome,
    status: int,
    reason: str,
    quantities: Mapping[UsageSource, int],
    at_ms: int,
    busy_ms: int,
) -> bytes:
    """A `wire.records.AttemptEnded` as JSON, likewise."""
    return orjson.dumps(
        {
            "kind": ENDED,
            "attempt_id": attempt_id,
            "outcome": outcome,
            "status": status,
            "reason": reason,
            "quantities": [
                {"unit": Unit.AUDIO_MS, "source": source, "quantity": quantity}
                for source, quantity in quantities.items()
            ],
            "ended_at_ms": at_ms,
            "busy_ms": busy_ms,
        }
    )


class Attempt:
    """What is known of one attempt so far. Written to the log when made, and again by `end`."""

    def __init__(
        self, identity: Identity, route: Route, role: Role, pod: str, wal: WriteAheadLog, metrics: Metrics, env: Env
    ) -> None:
        """Write the attempt's first record. Raises OSError if the log cannot take it."""
        self.identity = identity
        self.route = route
        self.role = role
        self._wal = wal
        self._metrics = metrics
        self._env = env
        self._quantities: dict[UsageSource, int] = {}
        self._busy_since: float | None = None
        self._busy_s = 0.0
        self._ended = False
        self.began = env.clock.monotonic()
        """On the monotonic clock."""
        self._id = identity.attempt_id
        wal.append_line(STARTED, self._id, started_line(identity, route, role, pod, _now_ms(env)))

    def calls_backend(self, audio_ms: int) -> None:
        """The backend is called from now on, with this much measured work."""
        self._quantities[UsageSource.MEASURED] = audio_ms
        self._busy_since = self._env.clock.monotonic()

    def backend_done(self) -> None:
        """The backend's slot is free again."""
        if self._busy_since is not None:
            self._busy_s += self._env.clock.monotonic() - self._busy_since
            self._busy_since = None

    def billed(self, usage: object) -> None:
        """Note the vendor's own usage, if it is in a unit of ours."""
        if isinstance(usage, Mapping) and usage.get("type") == "duration":
            seconds = usage.get("seconds")
            if isinstance(seconds, int | float) and 0 <= seconds < 10**9:
                self._quantities[UsageSource.BILLED] = round(seconds * 1000)

    def end(self, outcome: Outcome, status: int, reason: str = "") -> None:
        """Write the second record, once; later calls change nothing."""
        if self._ended:
            return
        self._ended = True
        self.backend_done()
        consumed = self._quantities if outcome in _CONSUMING else {}
        busy_ms = round(self._busy_s * 1000)
        line = ended_line(self._id, outcome, status, reason[:200], consumed, _now_ms(self._env), busy_ms)
        self._wal.conclude_line(self._id, line)
        labels = (
            self.identity.namespace,
            self.identity.deployment,
            self.route.modality.value,
            self.route.backend,
            self.route.backend_kind.value,
            self.role.value,
        )
        self._metrics.ended(labels, outcome.value, self._env.clock.monotonic() - self.began)
        for source, quantity in consumed.items():
            self._metrics.worked(labels, Unit.AUDIO_MS.value, source.value, quantity)


def _now_ms(env: Env) -> int:
    return int(env.clock.now().timestamp() * 1000)
