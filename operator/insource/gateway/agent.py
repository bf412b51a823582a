"""`insource gateway agent`: configures one Envoy, follows its log, holds what nobody can take, and tells about it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from insource.env import Env, system_env
from insource.gateway import access_log
from insource.gateway.activator import Activator
from insource.gateway.admin import AdminAnswers, admin_application
from insource.gateway.ads import Configuration, serve_ads
from insource.gateway.application import Applications
from insource.gateway.certificate_watch import CertificateWatch
from insource.gateway.envoy_admin import EnvoyAdmin
from insource.gateway.follower import Follower
from insource.gateway.ledger_client import LedgerClient
from insource.gateway.paths import GatewayPaths
from insource.gateway.plain import PlainServer
from insource.gateway.publication import Publication
from insource.gateway.reentry import Reentry
from insource.gateway.render.resources import render_plain, render_readiness
from insource.gateway.settings import AgentSettings
from insource.gateway.shipping import Shipper
from insource.gateway.sockets import served
from insource.gateway.sources import KubeSource, Source
from insource.gateway.view import DeploymentKey
from insource.kube.client import connect
from insource.wire.gateway import Applied, DeploymentSignals, Evidence, Signals

HOUSEKEEPING_S = 1.0
DRAIN_POLL_S = 0.2
_log = structlog.get_logger(__name__)
_AWAY = (aiohttp.ClientError, OSError, TimeoutError)


class Agent:
    """All parts of one agent, joined. `run` is its life."""

    def __init__(self, settings: AgentSettings, source: Source, env: Env) -> None:
        self._settings = settings
        self._env = env
        self._paths = GatewayPaths.make(settings.state_dir, settings.run_dir)
        self._paths.spool.mkdir(mode=0o700, exist_ok=True)
        self._applications = Applications(settled=self._backends_changed)
        self._configuration = Configuration(self._applications)
        self._envoy = EnvoyAdmin(self._paths.admin_socket)
        self._certificate = CertificateWatch(self._envoy, env)
        self._ledger = LedgerClient(settings.ledger_url, settings.ledger_token_file)
        self._master = read_master(settings.master_file)
        self._evidence = Follower(self._paths.access_log, self._paths.evidence, self._paths.outbox, env)
        self._sightings = Shipper(self._evidence, self._paths.shipped, env, self._ledger.ship)
        self._publication = Publication(
            source,
            self._configuration,
            self._applications,
            self._paths,
            self._master,
            env,
            active=self._envoy.active_by_deployment,
            removed=lambda key: self._evidence.forget(str(key)),
        )
        self._reentry = Reentry(self._paths.reentry_socket)
        self._activator = Activator(self._publication.view, self._reentry, self._paths.spool, env, settings.hold)
        self._plain = PlainServer(self._publication.directory, self._reentry, self._paths.spool, settings.plain)
        self._way_to_plain = render_plain(str(self._paths.plain_socket))
        self._configuration.put(self._way_to_plain)
        self._draining = False
        self._arrivals: dict[str, int] = {}
        self._lost_bytes = 0
        self.admin_port = 0
        """Known once `started` is set."""
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled. Envoy goes on without us."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._envoy.close)
            stack.push_async_callback(self._ledger.close)
            stack.push_async_callback(self._reentry.close)
            for application, socket in (
                (self._activator.application(), self._paths.hold_socket),
                (self._plain.application(), self._paths.plain_socket),
            ):
                await stack.enter_async_context(served(application, socket))
            await stack.enter_async_context(self._admin_server())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publication.run())
                tasks.create_task(self._serve_ads())
                tasks.create_task(self._evidence.run())
                tasks.create_task(self._sightings.run())
                tasks.create_task(self._announce())
                tasks.create_task(self._keep_house())
                self.started.set()

    async def _serve_ads(self) -> None:
        # Envoy may come at any time, but an empty answer would take away what it serves, and a snapshot that was not
        # written any more before the last end would take back its newest weights.
        deadline = self._env.clock.monotonic() + self._settings.fresh_within_s
        while not self._publication.fresh:
            if self._publication.complete and self._env.clock.monotonic() >= deadline:
                _log.warning("serving_the_last_snapshot", reason="the API server has not been read yet")
                break
            await self._env.clock.sleep(0.02)
        server = await serve_ads(self._configuration, self._paths.ads_socket, self._env)
        try:
            await server.wait_for_termination()
        finally:
            self._configuration.hang_up()
            await server.stop(0.5)

    @asynccontextmanager
    async def _admin_server(self) -> AsyncIterator[None]:
        answers = AdminAnswers(self._applied, self._evidence_now, self._signals, self._metrics, self._unready)
        runner = web.AppRunner(admin_application(answers), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._settings.admin_host, self._settings.admin_port)
            await site.start()
            self.admin_port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    def _backends_changed(self, key: DeploymentKey) -> None:
        # Once Envoy has them, not before: whoever waits longest would ask an Envoy that knows of none, and back off.
        self._activator.backends_changed(key)

    def _applied(self, names: Collection[str]) -> Applied:
        return Applied(
            pod=self._settings.pod, epoch=self._evidence.committed.epoch, deployments=self._applications.applied(names)
        )

    def _evidence_now(self) -> Evidence:
        return self._evidence.committed.evidence(self._settings.pod)

    async def _signals(self) -> Signals:
        try:
            active = await self._envoy.active_by_deployment()
        except _AWAY:
            active = {}
        counters = self._evidence.committed
        finished, spilled = counters.finished(), counters.spilled()
        held, forwarding = self._activator.held, self._activator.forwarding
        deployments = {}
        for name in {*active, *finished, *spilled, *held}:
            # A held request is active once at the activator, and once more while it is forwarded.
            present = max(0, active.get(name, 0) - forwarding[name])
            arrivals = max(self._arrivals.get(name, 0), finished.get(name, 0) + present)
            self._arrivals[name] = arrivals
            waiting = max(0, held[name] - forwarding[name])
            deployments[name] = DeploymentSignals(
                in_flight=max(0, present - waiting),
                arrivals_total=arrivals,
                spilled_total=spilled.get(name, 0),
                held=waiting,
            )
        return Signals(pod=self._settings.pod, epoch=counters.epoch, deployments=deployments)

    async def _metrics(self) -> str:
        registry = CollectorRegistry()

        def gauge(name: str, text: str, value: float) -> None:
            Gauge(f"insource_gateway_{name}", text, registry=registry).set(value)

        gauge("envoy_connected", "1 while Envoy is on the agent's stream", self._configuration.connected)
        gauge("deployments_pending", "deployments that Envoy has not acknowledged", self._applications.pending())
        gauge("refusals_total", "resources that Envoy refused", self._applications.refusals_total)
        gauge("held", "requests at the activator", self._activator.held.total())
        gauge("hold_refused_total", "requests that the activator refused", self._activator.refused_total)
        gauge("by_name", "requests by model name under way", self._plain.under_way)
        gauge("by_name_refused_total", "requests by model name that the agent refused", self._plain.refused_total)
        gauge("sightings_shipped_total", "attempts acknowledged by the ledger", self._sightings.shipped_total)
        gauge("sightings_failures_total", "batches that the ledger did not take", self._ledger.failures_total)
        gauge("sightings_conflicts_total", "attempts told twice, differently", self._ledger.conflicts_total)
        gauge("sightings_rejected_total", "attempts that the ledger will never take", self._ledger.rejected_total)
        gauge("log_bytes", "access logs on disk", self._log_bytes())
        gauge("log_lost_bytes", "access logs dropped before they were read", self._lost_bytes)
        gauge("sightings_bytes", "sightings on disk, most of them not yet shipped", self._evidence.outbox.size_bytes())
        gauge("sightings_lost_bytes", "sightings dropped before the ledger had them", self._sightings.lost_bytes)
        gauge("log_unreadable_total", "lines that made no sense", self._evidence.unreadable_total)
        gauge("duplicate_client_keys", "client Secrets left out", len(self._publication.duplicate_secrets))
        if self._certificate.certificate is not None:
            left = self._certificate.expiry_s()
            gauge("certificate_expiry_seconds", "until the certificate expires; negative after", left)
            gauge("certificate_refused_total", "new certificates that were unusable", self._certificate.refused_total)
        attempts = Gauge(
            "insource_gateway_attempts_total",
            "attempts at adapters",
            ("deployment", "backend", "revision", "role", "outcome"),
            registry=registry,
        )
        for count in self._evidence_now().counts:
            attempts.labels(count.deployment, count.backend, count.revision, count.role, count.outcome).set(count.all)
        return generate_latest(registry).decode()

    async def _unready(self) -> str:
        if self._draining:
            return "draining"
        if not self._publication.complete:
            return "the API server has not been read yet"
        if not self._configuration.connected:
            return "Envoy is not connected"
        try:
            if not await self._envoy.ready():
                return "Envoy is not ready"
        except _AWAY:
            return "Envoy does not answer"
        if not self._plain_applied():
            return "plain /v1 is not applied yet"
        pending = self._applications.pending()
        return f"{pending} deployments are not applied yet" if pending else ""

    def _plain_applied(self) -> bool:
        held = self._applications.acknowledged
        return all(held(each.identity) == each.version for each in self._way_to_plain)

    async def outlive_envoy(self) -> None:
        """Our pod ends: stay until Envoy has ended, its log is read to the end, and the ledger has all of it.

        Returns after `outlive_envoy_s` at the latest; what the ledger does not have by then stays on disk.
        """
        self._draining = True
        if not self._settings.outlive_envoy_s:
            return
        try:
            async with asyncio.timeout(self._settings.outlive_envoy_s):
                while not await self._envoy.gone():
                    await self._env.clock.sleep(DRAIN_POLL_S)
                await self._evidence.finish()
                while self._sightings.unshipped:
                    await self._env.clock.sleep(DRAIN_POLL_S)
        except TimeoutError:
            _log.warning("leaving_before_the_end", unshipped=self._sightings.unshipped)

    async def _announce(self) -> None:
        """Tell Envoy that it has everything, each time that a new one has; its health listener goes by that."""
        changed = self._configuration.changed
        async with changed:
            while True:
                await changed.wait_for(
                    lambda: (
                        self._publication.complete
                        and self._configuration.connected
                        and not self._configuration.announced
                        and self._plain_applied()
                        and not self._applications.pending()
                    )
                )
                self._configuration.put([render_readiness()])

    async def _keep_house(self) -> None:
        while True:
            await self._env.clock.sleep(HOUSEKEEPING_S)
            with contextlib.suppress(*_AWAY):
                await self._rotate()
            with contextlib.suppress(*_AWAY):
                await self._certificate.look()
            self._sightings.keep_below(self._settings.keep_bytes)
            self._reread_master()

    def _reread_master(self) -> None:
        try:
            master = read_master(self._settings.master_file)
        except (OSError, ValueError) as error:
            _log.warning("gateway_master_unreadable", error=type(error).__name__)
            return
        if master != self._master:
            self._master = master
            self._publication.set_master(master)
            _log.info("gateway_master_changed")

    async def _rotate(self) -> None:
        log = self._paths.access_log
        if not log.exists():
            if access_log.log_files(log):
                # An earlier agent died between renaming and telling Envoy.
                await self._envoy.reopen_logs()
            return
        if log.stat().st_size > self._settings.rotate_bytes:
            access_log.rotate(log)
            await self._envoy.reopen_logs()
        access_log.drop_read(log, self._evidence.position)
        while self._log_bytes() > self._settings.keep_bytes and len(files := access_log.log_files(log)) > 1:
            self._lost_bytes += files[0].stat().st_size
            _log.error("access_log_dropped", file=files[0].name, reason="it could not be read in time")
            files[0].unlink()

    def _log_bytes(self) -> int:
        return sum(each.stat().st_size for each in access_log.log_files(self._paths.access_log))


def read_master(path: Path) -> bytes:
    """The newest master: the file's first line (a second one is the old master, while it rotates)."""
    lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"the gateway's master file {path} is empty")
    return lines[0]


async def run_agent(settings: AgentSettings) -> None:
    """Run until SIGTERM or SIGINT, and then for as long as `outlive_envoy_s` says. Envoy keeps serving."""
    env = system_env()
    async with await connect(str(settings.kubeconfig) if settings.kubeconfig else None, env) as client:
        agent = Agent(settings, KubeSource(client, env, settings.namespace), env)
        await until_signal(agent.run, agent.outlive_envoy)


async def until_signal(
    run: Callable[[], Coroutine[Any, Any, None]], farewell: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Run; at SIGTERM or SIGINT say farewell, still running, and cancel after it, or at the second signal."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(run())
    last: list[asyncio.Task[None]] = []

    def stop() -> None:
        if last or farewell is None:
            task.cancel()
            return
        last.append(loop.create_task(farewell()))
        last[0].add_done_callback(leave)

    def leave(said: asyncio.Task[None]) -> None:
        task.cancel()
        error = None if said.cancelled() else said.exception()
        if error is not None:
            _log.error("farewell_failed", error=f"{type(error).__name__}: {error}")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        for each in last:
            each.cancel()
        await asyncio.gather(*last, return_exceptions=True)
