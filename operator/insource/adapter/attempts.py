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

Quantities = Mapping[tuple[Unit, UsageSource], int]
"""What an attempt consumed: by its unit, and by who says so."""
MOST = 10**15
"""No attempt consumes more of any unit; a vendor that says so is not believed."""
_CONSUMING = frozenset({Outcome.OK, Outcome.GONE, Outcome.SERVER, Outcome.TIMEOUT})
"""Outcomes of attempts that may have consumed work once the backend was called; a refusal by it consumed none."""
_BILLED = _CONSUMING - {Outcome.SERVER}
"""Outcomes after which a vendor's rule holds: what it failed at, it bills only if it says so."""


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
    quantities: Quantities,
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
                {"unit": unit, "source": source, "quantity": quantity}
                for (unit, source), quantity in quantities.items()
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
        self._quantities: dict[tuple[Unit, UsageSource], int] = {}
        self._by_rule: Mapping[Unit, int] = {}
        self._busy_since: float | None = None
        self._busy_s = 0.0
        self._ended = False
        self.began = env.clock.monotonic()
        """On the monotonic clock."""
        self._id = identity.attempt_id
        wal.append_line(STARTED, self._id, started_line(identity, route, role, pod, _now_ms(env)))

    def calls_backend(self, work: Mapping[Unit, int], by_rule: Mapping[Unit, int] | None = None) -> None:
        """The backend is called from now on, with this much measured work; `by_rule`: what its vendor's rule bills."""
        self._by_rule = by_rule or {}
        for unit, quantity in work.items():
            self._quantities[unit, UsageSource.MEASURED] = quantity
        self._busy_since = self._env.clock.monotonic()

    def measured(self, unit: Unit, quantity: int) -> None:
        """What we count of this unit by now, of work that is known only as the answer comes; replaces earlier counts.

        Kept whatever happens to the rest of the answer.
        """
        self._quantities[unit, UsageSource.MEASURED] = quantity

    def counted(self, unit: Unit) -> int:
        """What we count of this unit by now."""
        return self._quantities.get((unit, UsageSource.MEASURED), 0)

    def billed(self, unit: Unit, quantity: object) -> None:
        """Note what the vendor says it bills, if that can be a quantity."""
        if isinstance(quantity, int) and not isinstance(quantity, bool) and 0 <= quantity <= MOST:
            self._quantities[unit, UsageSource.BILLED] = quantity

    def backend_done(self) -> None:
        """The backend's slot is free again."""
        if self._busy_since is not None:
            self._busy_s += self._env.clock.monotonic() - self._busy_since
            self._busy_since = None

    def end(self, outcome: Outcome, status: int, reason: str = "") -> None:
        """Write the second record, once; later calls change nothing."""
        if self._ended:
            return
        self._ended = True
        self.backend_done()
        if outcome in _BILLED:
            for unit, quantity in self._by_rule.items():
                self._quantities.setdefault((unit, UsageSource.BILLED), quantity)
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
        for (unit, source), quantity in consumed.items():
            self._metrics.worked(labels, unit.value, source.value, quantity)


def _now_ms(env: Env) -> int:
    return int(env.clock.now().timestamp() * 1000)
