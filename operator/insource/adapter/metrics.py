"""The adapter's Prometheus metrics (names in design/cost.md). One registry per adapter, no per-request labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LABELS = ("namespace", "deployment", "modality", "backend", "backend_kind", "role")


class Metrics:
    """What an adapter counts."""

    def __init__(self) -> None:
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
