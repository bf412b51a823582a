"""The ledger's metrics: counters of this process, and the double entry computed from the rows of the last day.

Names are shared with the other processes (design/cost.md); no label names a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Connection, text

from insource.ledger.attempts import Patience
from insource.wire.records import IngestResult, ReservationAnswer

WINDOW_MS = 86_400_000


@dataclass(frozen=True)
class DoubleEntry:
    """What the gateway saw against what the adapters wrote, of attempts that are old enough to be told."""

    sighted: int = 0
    captured: int = 0
    unknown: int = 0
    conflicts: int = 0
    unpriced: int = 0
    charged_nano: int = 0
    attempts: tuple[tuple[str, str, str, str, int], ...] = ()
    """(namespace, deployment, backend, outcome, count)."""

    @property
    def capture_ratio(self) -> float:
        """Attempts that reached an adapter and are in the ledger / attempts that reached one; 1 if there are none."""
        return self.captured / self.sighted if self.sighted else 1.0


_REACHED = """
    sighting s LEFT JOIN attempt a USING (namespace, attempt_id)
    WHERE s.reached = 1 AND s.started_at_ms >= :since AND s.started_at_ms + s.duration_ms < :settled
"""
_SIGHTED = text(f"SELECT count(*), count(a.attempt_id) FROM {_REACHED}")
_UNKNOWN = text(f"""
    SELECT (SELECT count(*) FROM {_REACHED} AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.namespace = s.namespace
            AND u.attempt_id = s.attempt_id AND u.kind = 'end' AND u.sequence >= 1
            AND a.attempt_id IS NOT NULL))
        + (SELECT count(*) FROM attempt a WHERE a.started_at_ms >= :since
            AND NOT EXISTS (SELECT 1 FROM sighting s WHERE s.namespace = a.namespace AND s.attempt_id = a.attempt_id
                AND s.reached = 1)
            AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.namespace = a.namespace AND u.attempt_id = a.attempt_id
                AND u.kind = 'end' AND u.sequence >= 1)
            AND (a.started_at_ms < :abandoned OR EXISTS (SELECT 1 FROM usage u WHERE u.namespace = a.namespace
                AND u.attempt_id = a.attempt_id AND u.kind = 'end' AND u.sequence = 0)))
""")
_STANDS = """NOT EXISTS (SELECT 1 FROM charge l WHERE l.namespace = c.namespace AND l.attempt_id = c.attempt_id
    AND l.unit = c.unit AND l.sequence > c.sequence)"""
_UNPRICED = text(f"SELECT count(*) FROM charge c WHERE amount_nano IS NULL AND {_STANDS}")
_CHARGED = text(f"SELECT coalesce(sum(amount_nano), 0) FROM charge c WHERE {_STANDS}")
_ATTEMPTS = text("""
    SELECT a.namespace, a.deployment, a.backend, u.outcome, count(*) FROM attempt a
    JOIN usage u USING (namespace, attempt_id) WHERE u.kind = 'end' AND a.started_at_ms >= :since
        AND (u.sequence >= 1 OR NOT EXISTS (SELECT 1 FROM usage l WHERE l.namespace = u.namespace
            AND l.attempt_id = u.attempt_id AND l.kind = 'end' AND l.sequence >= 1))
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")


def double_entry(connection: Connection, *, now_ms: int, patience: Patience) -> DoubleEntry:
    """Compare both sides over the last day (conflicts and charges: over everything)."""
    values = {
        "since": now_ms - WINDOW_MS,
        "settled": now_ms - patience.grace_ms,
        "abandoned": now_ms - patience.open_ms,
    }
    sighted, captured = connection.execute(_SIGHTED, values).one()
    return DoubleEntry(
        sighted=sighted,
        captured=captured,
        unknown=connection.execute(_UNKNOWN, values).scalar_one(),
        conflicts=connection.execute(text("SELECT count(*) FROM conflict")).scalar_one(),
        unpriced=connection.execute(_UNPRICED).scalar_one(),
        charged_nano=connection.execute(_CHARGED).scalar_one(),
        attempts=tuple(tuple(row) for row in connection.execute(_ATTEMPTS, {"since": values["since"]})),
    )


@dataclass
class Metrics:
    """One registry per service, so that two in one process do not meet."""

    currency: str
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._records = Counter(
            "insource_ledger_records",
            "Records received, by what became of them.",
            ["kind", "result"],
            registry=self.registry,
        )
        self._reservations = Counter(
            "insource_ledger_reservations", "Answers to reservations.", ["result"], registry=self.registry
        )

    def ingested(self, kind: str, result: IngestResult) -> None:
        """Count an answered batch."""
        self._records.labels(kind, "accepted").inc(result.accepted)
        self._records.labels(kind, "duplicate").inc(result.duplicates)
        self._records.labels(kind, "conflict").inc(len(result.conflicts))
        self._records.labels(kind, "rejected").inc(len(result.rejected))

    def reserved(self, answer: ReservationAnswer) -> None:
        """Count an answered reservation."""
        self._reservations.labels("granted" if answer.granted else answer.reason).inc()

    def render(self, entry: DoubleEntry) -> bytes:
        """Everything, in Prometheus' text format."""
        return b"".join((generate_latest(self.registry), generate_latest(_registry_of(self._families(entry)))))

    def _families(self, entry: DoubleEntry) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "insource_capture_ratio",
            "Attempts of the last day that reached an adapter and are in the ledger, of those that reached one.",
            value=entry.capture_ratio,
        )
        # Note: a gauge in truth, for a late record takes an attempt out of it again; the name is the design's.
        yield GaugeMetricFamily(
            "insource_attempts_unknown_total", "Attempts of the last day without a real end.", value=entry.unknown
        )
        yield GaugeMetricFamily(
            "insource_unpriced_charges", "Charges that stand without a price.", value=entry.unpriced
        )
        conflicts = CounterMetricFamily(
            "insource_ledger_conflicts", "Identities that came again with another payload; the first stands."
        )
        conflicts.add_metric([], entry.conflicts)
        yield conflicts
        cost = GaugeMetricFamily("insource_cost_total", "Charges that stand.", labels=["basis", "currency"])
        cost.add_metric(["vendor", self.currency], entry.charged_nano / 1e9)
        yield cost
        attempts = GaugeMetricFamily(
            "insource_ledger_attempts",
            "Attempts of the last day by outcome, as the adapters wrote them.",
            labels=["namespace", "deployment", "backend", "outcome"],
        )
        for *labels, count in entry.attempts:
            attempts.add_metric([str(label) for label in labels], count)
        yield attempts


@dataclass(frozen=True, eq=False)
class _Families:
    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _registry_of(families: Iterable[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Families(tuple(families)))
    return registry
