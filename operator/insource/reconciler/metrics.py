"""The operator's Prometheus metrics, and its small HTTP server for them and for probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from datetime import UTC, datetime, time
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from insource.api.kinds import Misfit, Resource
from insource.domain.vendor_models import day_of


class _Shutdowns(Collector):
    """When the models in use are shut down, as the Vendors' statuses say: read on each scrape."""

    def __init__(self, vendors: Callable[[], Iterable[Resource[Any] | Misfit]]) -> None:
        self._vendors = vendors

    def collect(self) -> Iterable[Metric]:
        """One series for each model in use of which the day is known."""
        found = GaugeMetricFamily(
            "insource_vendor_model_shutdown_timestamp_seconds",
            "The first second at which a vendor does not serve a model that is in use any more.",
            labels=("namespace", "vendor", "model", "source"),
        )
        for vendor in self._vendors():
            for model in vendor.status.get("models") or ():
                day = day_of(model.get("shutdownDate"))
                if model.get("inUse") and day is not None:
                    labels = (vendor.namespace, vendor.name, model["id"], model.get("source", ""))
                    found.add_metric(labels, datetime.combine(day, time(), UTC).timestamp())
        return (found,)

    def describe(self) -> Iterable[Metric]:
        """None beforehand: registering reads nothing."""
        return ()


class Metrics:
    """Counters and gauges of one operator process, in a registry of their own."""

    def __init__(
        self,
        *,
        ready: Callable[[], float],
        in_flight: Callable[[], float],
        leads: Callable[[], float],
        caches: Mapping[str, Sized],
        vendors: Callable[[], Iterable[Resource[Any] | Misfit]] = tuple,
    ) -> None:
        """`caches` by the kind's plural; `vendors` as they are known now."""
        self.registry = CollectorRegistry()
        self.writes = Counter(
            "insource_operator_writes", "Writes to the Kubernetes API.", ["kind"], registry=self.registry
        )
        self._counters: dict[str, Counter] = {}
        for name, text, read in (
            ("insource_operator_queue_ready", "Objects that wait to be looked at.", ready),
            ("insource_operator_queue_in_flight", "Objects that are being looked at.", in_flight),
            ("insource_operator_leads", "1 while this process may write.", leads),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)
        held = Gauge("insource_operator_objects", "Objects that are known, by kind.", ["kind"], registry=self.registry)
        for kind, cache in caches.items():
            held.labels(kind).set_function(cache.__len__)
        self.registry.register(_Shutdowns(vendors))

    def count_write(self, kind: str) -> None:
        """One write happened."""
        counter = self._counters.get(kind)
        if counter is None:
            counter = self._counters[kind] = self.writes.labels(kind)
        counter.inc()


def application(metrics: Metrics, *, healthy: Callable[[], str], ready: Callable[[], str]) -> web.Application:
    """`/healthz`, `/readyz` (200, or 503 with what `healthy` and `ready` say is wrong) and `/metrics`."""

    def answer(trouble: str) -> web.Response:
        return web.Response(text=trouble or "ok", status=503 if trouble else 200)

    async def healthz(_: web.Request) -> web.Response:
        return answer(healthy())

    async def readyz(_: web.Request) -> web.Response:
        return answer(ready())

    async def read_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", read_metrics)])
    return app
