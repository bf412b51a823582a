"""The adapter's Prometheus metrics (names in design/cost.md). One registry per adapter, no per-request labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LABELS = ("namespace", "deployment", "modality", "backend", "backend_kind", "role")


class Metrics:
    """What an adapter counts."""

    def ended(self, labels: tuple[str, ...], outcome: str, seconds: float) -> None:
        """Count an attempt; `labels` are the values of namespace, deployment, modality, backend, its kind, and role."""
        found = self._ended.get((labels, outcome))
        if found is None:  # looking a child up by its labels costs as much as all the rest
            found = self.requests.labels(*labels, outcome), self.duration.labels(*labels, outcome)
            self._ended[labels, outcome] = found
        count, duration = found
        count.inc()
        duration.observe(seconds)

    def worked(self, labels: tuple[str, ...], unit: str, source: str, quantity: int) -> None:
        """Count work; `labels` as in `ended`."""
        found = self._worked.get((labels, unit, source))
        if found is None:
            found = self._worked[labels, unit, source] = self.units.labels(*labels, unit, source)
        found.inc(quantity)

    def __init__(self) -> None:
        self._ended: dict[tuple[tuple[str, ...], str], tuple[Counter, Histogram]] = {}
        self._worked: dict[tuple[tuple[str, ...], str, str], Counter] = {}
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "insource_requests", "Attempts by outcome.", (*_LABELS, "outcome"), registry=self.registry
        )
        self.duration = Histogram(
            "insource_request_duration_seconds",
            "From the attempt's headers to its end.",
            (*_LABELS, "outcome"),
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
            registry=self.registry,
        )
        self.units = Counter(
            "insource_units", "Work of attempts.", (*_LABELS, "unit", "source"), registry=self.registry
        )
        self.unshipped = Gauge(
            "insource_ledger_unshipped_records", "Records the ledger has not acknowledged.", registry=self.registry
        )
        self.wal_bytes = Gauge("insource_ledger_wal_bytes", "Size of the write-ahead log.", registry=self.registry)
        self.conflicts = Gauge(
            "insource_ledger_conflicting_records", "Records refused as conflicts.", registry=self.registry
        )
        self.rejected = Gauge(
            "insource_ledger_rejected_records", "Records refused as malformed.", registry=self.registry
        )
        self.in_flight = Gauge("insource_adapter_in_flight", "Requests inside this adapter.", registry=self.registry)
