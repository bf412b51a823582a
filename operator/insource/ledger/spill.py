"""The daily limit on spill: what counts against it, exactly.

A reservation counts until its attempt has a priced, real end; from then on the charge counts in its place. An
attempt that ended `unknown`, or unpriced, keeps its reservation. Spill attempts without a reservation count by
their charges on the day they started. Used only inside the writer's thread, one transaction after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

DAY_MS = 86_400_000


@dataclass(frozen=True)
class SpillKey:
    """One limit: a deployment's backend on one UTC day (days since the epoch)."""

    namespace: str
    deployment: str
    backend: str
    day: int


def utc_day(at_ms: int) -> int:
    """Days since the epoch, UTC."""
    return at_ms // DAY_MS


_CHARGED = """
    SELECT namespace, attempt_id, sum(amount_nano) AS amount, count(*) - count(amount_nano) AS unpriced FROM charge c
    WHERE sequence = (SELECT max(sequence) FROM charge l
        WHERE l.namespace = c.namespace AND l.attempt_id = c.attempt_id AND l.unit = c.unit)
"""
_RESERVED = text(f"""
    SELECT coalesce(sum(CASE
        WHEN a.attempt_id IS NULL OR e.attempt_id IS NULL OR coalesce(c.unpriced, 0) > 0 THEN r.amount_nano
        ELSE coalesce(c.amount, 0) END), 0)
    FROM reservation r
    LEFT JOIN attempt a ON a.namespace = r.namespace AND a.attempt_id = r.attempt_id
    LEFT JOIN usage e ON e.namespace = r.namespace AND e.attempt_id = r.attempt_id AND e.kind = 'end'
        AND e.sequence = 1
    LEFT JOIN ({_CHARGED} AND c.namespace = :namespace GROUP BY 1, 2) c
        ON c.namespace = r.namespace AND c.attempt_id = r.attempt_id
    WHERE r.namespace = :namespace AND r.deployment = :deployment AND r.backend = :backend AND r.day = :day
""")
_UNRESERVED = text(f"""
    SELECT coalesce(sum(c.amount), 0)
    FROM attempt a
    JOIN ({_CHARGED} AND c.namespace = :namespace GROUP BY 1, 2) c
        ON c.namespace = a.namespace AND c.attempt_id = a.attempt_id
    WHERE a.namespace = :namespace AND a.deployment = :deployment AND a.backend = :backend AND a.role = 'spill'
        AND a.started_at_ms >= :since AND a.started_at_ms < :until
        AND NOT EXISTS (SELECT 1 FROM reservation r WHERE r.namespace = a.namespace AND r.attempt_id = a.attempt_id)
""")


def spent_nano(connection: Connection, key: SpillKey) -> int:
    """What counts against the key's limit, from the rows alone."""
    where = {"namespace": key.namespace, "deployment": key.deployment, "backend": key.backend}
    reserved = connection.execute(_RESERVED, where | {"day": key.day}).scalar_one()
    bounds = {"since": key.day * DAY_MS, "until": (key.day + 1) * DAY_MS}
    return int(reserved) + int(connection.execute(_UNRESERVED, where | bounds).scalar_one())


class SpillTotals:
    """Running totals of the keys in use, so that a decision does not sum a day's rows."""

    def __init__(self) -> None:
        self._totals: dict[SpillKey, int] = {}

    def spent(self, connection: Connection, key: SpillKey) -> int:
        """As `spent_nano`, remembered."""
        if key not in self._totals:
            for old in [other for other in self._totals if other.day < key.day - 1]:
                del self._totals[old]
            self._totals[key] = spent_nano(connection, key)
        return self._totals[key]

    def add(self, key: SpillKey, nano: int) -> None:
        """Something now counts (or counts no more, if negative). A key not in use stays with its rows."""
        if key in self._totals:
            self._totals[key] += nano

    def forget(self) -> None:
        """After a rollback or a re-rating: read the rows again."""
        self._totals.clear()
