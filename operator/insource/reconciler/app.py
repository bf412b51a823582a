"""Puts the operator together and runs it: client, watches, controller, leadership, pollers, probes. Decides nothing.

Watches run before leadership, so that a standby is warm; only writing waits for it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
import structlog
from aiohttp import web

from insource.api import meta
from insource.api.catalogue import builtin_objects
from insource.domain.snapshot import Settings
from insource.env import Env, system_env
from insource.kube import resources
from insource.kube.aiohttp_client import AiohttpClient
from insource.kube.client import ApiError, connect
from insource.kube.informer import Informer, InformerOptions
from insource.kube.lease import LeaseElector
from insource.kube.resources import Resource
from insource.reconciler.controller import Controller
from insource.reconciler.gateway_tokens import GatewayTokens
from insource.reconciler.gateways import Gateways
from insource.reconciler.handlers import watch_own_kinds
from insource.reconciler.health import Health, Progress, WatchState
from insource.reconciler.memory import collect_seldom, give_back, keep_what_is_there
from insource.reconciler.metrics import Metrics, application
from insource.reconciler.polling import GatewayPoller, VendorPoller
from insource.reconciler.replicas import ReplicaPoller
from insource.reconciler.settings import OperatorSettings

_log = structlog.get_logger(__name__)
LEASE_NAME = "insource-operator"
OURS = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"
BY_KOPF = (
    resources.VENDORS,
    resources.CATALOG_MODELS,
    resources.INFERENCE_RUNTIMES,
    resources.ACCELERATOR_CLASSES,
    resources.PRICE_BOOKS,
)
"""Few objects that change seldom. ModelDeployments have our own informer: see docs/decisions/0004."""
_MASTER_CHECK_S = 2.0
_KOPF_AGAIN_S = 3.0


class Operator:
    """One operator process, until `stop` is set. `own_signals` puts the process's signal handlers back in place."""

    def __init__(
        self,
        settings: OperatorSettings,
        client: AiohttpClient,
        env: Env,
        own_signals: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._own_signals = own_signals
        self._client = client
        self._env = env
        self._tokens = GatewayTokens(settings.gateway_master_file)
        self._gateways = Gateways(settings.gateway_urls, settings.gateway_service, env.clock)
        self.controller = Controller(
            client,
            env,
            Settings(
                image=settings.image,
                ledger_url=settings.ledger_url,
                gateway_url=settings.public_url,
                system_namespace=settings.lease_namespace,
                image_registry=settings.image_registry,
                image_pull_secrets=settings.image_pull_secrets,
                delivery=settings.delivery,
            ),
            identity=settings.identity,
            gateway_urls=self._gateways.awaited,
            token_digests=self._tokens.digests,
            may_write=self._may_write,
            on_write=self._count_write,
            builtins=builtin_objects(settings.servers_image or settings.image) if settings.catalogue else (),
            # Nodes are in no namespace: who may look after some namespaces only has no right to them.
            nodes=not settings.watch_namespaces,
        )
        queue = self.controller.queue
        self._metrics = Metrics(
            ready=lambda: len(queue),
            in_flight=lambda: queue.in_flight,
            leads=lambda: float(self._elector.leads()),
            caches={kind.plural: cache for kind, cache in self.controller.caches.by_resource().items()},
            vendors=self.controller.caches.vendors.values,
        )
        self._elector = LeaseElector(
            client,
            env,
            namespace=settings.lease_namespace,
            name=LEASE_NAME,
            identity=settings.identity,
            on_lead=self.controller.resync,
        )
        self._informers = {
            resource: tuple(
                Informer(client, resource, env, lambda obj: obj, self._options(resource, namespace), cache)
                for namespace in self._namespaces(resource)
            )
            for resource, cache in self.controller.caches.by_resource().items()
        }
        self.progress = Progress(tuple(kind.plural for kind in BY_KOPF), env.clock.monotonic)
        self.health = Health(
            {kind.plural: self._watch_state(kind) for kind in self._informers},
            leads=self._elector.leads,
            unsettled=self.controller.catalogue.unsettled,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then hand over: no more writes, the Lease released."""
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(application(self._metrics, healthy=self.health.unhealthy, ready=self.health.unready))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            host, _, port = self._settings.listen.rpartition(":")
            await web.TCPSite(runner, host, int(port)).start()
            session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            await self._serve(session, stop)

    async def _serve(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        gateways = GatewayPoller(session, self.controller, self._env, self._gateways)
        forever: list[Awaitable[None]] = [
            *(each.run() for kind, informers in self._informers.items() if kind not in BY_KOPF for each in informers),
            *(self._relist(each) for kind in BY_KOPF for each in self._informers[kind]),
            self._watch_by_kopf(),
            gateways.run(),
            VendorPoller(session, self.controller, self._env).run(),
            ReplicaPoller(session, self.controller, self._env).run(),
            self._follow_master(),
            self._lead(),
        ]
        tasks = [asyncio.ensure_future(awaitable) for awaitable in forever]
        stopped = asyncio.ensure_future(stop.wait())
        try:
            done, _ = await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
                raise RuntimeError("a part of the operator ended by itself")
        finally:
            # The Lease goes last among those who write: it is part of `_lead`, which ends its workers first.
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def _lead(self) -> None:
        for cache in self.controller.caches.by_resource().values():
            await cache.synced.wait()
        keep_what_is_there()
        _log.info("caches_synced", deployments=len(self.controller.caches.deployments))
        trimming = asyncio.ensure_future(give_back(self._env.clock))
        elector = asyncio.ensure_future(self._elector.run())
        workers = asyncio.ensure_future(self.controller.run(self._settings.workers))
        try:
            # Not gather: it would cancel the elector together with the workers, and then again while it is giving the
            # Lease up; a real API server drops the write of a client that leaves.
            done, _ = await asyncio.wait((elector, workers), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            trimming.cancel()
            workers.cancel()
            await asyncio.gather(trimming, workers, return_exceptions=True)
            elector.cancel()
            await asyncio.gather(elector, return_exceptions=True)

    async def _watch_by_kopf(self) -> None:
        """kopf gives up on some errors of a watch; we do not."""
        caches = self.controller.caches.by_resource()
        by_kopf = {resource: caches[resource] for resource in BY_KOPF}
        while True:
            try:
                await watch_own_kinds(
                    self._client,
                    by_kopf,
                    self._own_signals,
                    self.progress.heard,
                    namespaces=self._settings.watch_namespaces,
                )
            except Exception as error:
                _log.warning("kopf_ended", error=f"{type(error).__name__}: {error}")
            await self._env.clock.sleep(_KOPF_AGAIN_S)

    async def _relist(self, informer: Informer[object]) -> None:
        """A whole list now and then of what kopf watches: kopf loses deletions across a gap."""
        while True:
            try:
                await informer.relist()
            except ApiError as error:
                _log.warning("relist_failed", resource=informer.resource.plural, error=str(error))
                await self._env.clock.sleep(1.0)
            else:
                await self._env.clock.sleep(self._settings.relist_s * self._env.rng.uniform(0.8, 1.2))

    async def _follow_master(self) -> None:
        while True:
            await self._env.clock.sleep(_MASTER_CHECK_S)
            if self._tokens.reload():
                self.controller.resync_namespaces()

    def _namespaces(self, resource: Resource) -> tuple[str, ...]:
        """Those that are read, one by one; "": all at once."""
        return self._settings.watch_namespaces if resource.namespaced and self._settings.watch_namespaces else ("",)

    def _options(self, resource: Resource, namespace: str) -> InformerOptions:
        labels = ""
        if resource is resources.REPLICA_SETS:
            labels = f"{OURS},{meta.LABEL_DEPLOYMENT}"  # not those that Kubernetes makes for a vendor's Deployment
        elif resource in self.controller.caches.children or resource is resources.PODS:
            labels = OURS
        return InformerOptions(namespace=namespace, labels=labels, relist_s=self._settings.relist_s)

    def _may_write(self) -> bool:
        return self._elector.leads()

    def _count_write(self, kind: str) -> None:
        self._metrics.count_write(kind)

    def _watch_state(self, kind: Resource) -> WatchState:
        informers = self._informers[kind]

        def silent_s() -> float:
            return max(informer.progress_age() for informer in informers)

        of_kopf = partial(self.progress.silent_s, kind.plural)
        return WatchState(informers[0].cache.synced.is_set, of_kopf if kind in BY_KOPF else silent_s)


async def run_operator(settings: OperatorSettings) -> None:
    """The operator, until SIGTERM or SIGINT. `ApiError` if there is no usable kubeconfig."""
    env = system_env()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    collect_seldom()

    def own_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    own_signals()
    try:
        async with await connect(settings.kubeconfig, env) as client:
            await Operator(settings, client, env, own_signals).run(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
