"""The adapter process: a listener per role, the admin port, background work, draining. `run_adapter` is its life."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from pathlib import Path

import aiohttp
import structlog
from aiohttp import web

from insource.adapter.admin import admin_application
from insource.adapter.backends import Backend, InHouse, Vendor
from insource.adapter.entrance import Entrance, Handler
from insource.adapter.folder_lock import FolderInUse, FolderLock
from insource.adapter.ledger import LedgerClient, Shipper
from insource.adapter.metering.workers import MeasuringProcesses
from insource.adapter.metrics import Metrics
from insource.adapter.operations import Operations
from insource.adapter.settings import InHouseSettings, Settings
from insource.adapter.transcriptions import Transcriptions
from insource.adapter.upload import Spool
from insource.adapter.wal import WriteAheadLog
from insource.adapter.warmup import tone_wav
from insource.adapter.watched_file import WatchedFile, bearer, token_digests
from insource.env import Env, system_env
from insource.wire.gateway import AdapterState
from insource.wire.vocabulary import Role

log = structlog.get_logger(__name__)
_IDLE_S = 2.0
"""How long a connection to the backend is kept unused: less than any common server's own patience (5 s and more)."""
_KEEPALIVE_S = 4000
"""Longer than Envoy's own hour: the side that sends must be the one that closes, or requests meet a closing door."""


_COLLECT_AFTER = 10_000
"""Objects made and not freed by themselves before they are looked through; a request leaves hardly any."""


class CannotStart(Exception):  # noqa: N818
    """The text says what is in the way, where, and what to do."""


class Adapter:
    """One running adapter; `start`, then `drain` and `close`."""

    def __init__(self, settings: Settings, env: Env) -> None:
        self._settings = settings
        self._env = env
        self._runners: list[web.BaseRunner] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self.ports: dict[str, int] = {}
        """Role name or `admin` -> the port it listens on, once started."""

    async def start(self) -> None:
        """Recover the log, open the listeners, begin the background work.

        Raises FolderInUse if another adapter works in the same folder, OSError if a port is taken.
        """
        settings, env = self._settings, self._env
        self._lock = FolderLock(settings.wal_dir, settings.pod_name)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=True,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._ledger_session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=2))
        self.wal = WriteAheadLog(settings.wal_dir / "log", env)
        self._metrics = Metrics()
        look = (env.clock, settings.patience.look_at_files_every_s)
        token: WatchedFile[str] = WatchedFile(settings.ledger_token_file, bearer, "", *look)
        ledger = LedgerClient(settings.ledger_url, token, self._ledger_session)
        self._shipper = Shipper(self.wal, ledger, env, settings.patience)
        spool = Spool(settings.wal_dir / "spool", env)
        self._meter = MeasuringProcesses()
        await self._try_meter(settings.wal_dir / "spool" / "meter-check")
        self.backend = self._make_backend(ledger)
        transcriptions = Transcriptions(
            self.backend, spool, self._meter, env, settings.patience, settings.max_body_bytes
        )
        tokens: WatchedFile[frozenset[str]] = WatchedFile(
            settings.tokens_dir / "sha256", token_digests, frozenset(), *look
        )
        operations = Operations(self.backend, env, settings.patience, settings.max_body_bytes)
        self.entrance = Entrance(
            settings, tokens, self.backend, transcriptions, operations, spool, self.wal, self._metrics, env
        )
        for role in Role:
            self.ports[role.value] = await self._listen(self.entrance.handler(role), settings.role_ports[role.value])
        admin = web.AppRunner(
            admin_application(self.state, self._scrape, self._metrics.registry), access_log=None, shutdown_timeout=0.1
        )
        self.ports["admin"] = await self._start(admin, settings.admin_port)
        for work in (self._shipper.run(), self.wal.keep_whole(settings.patience.mend_every_s), self.backend.run()):
            self._tasks.append(asyncio.create_task(work))
        log.info("adapter_started", ports=self.ports, kind=settings.kind.value, recovered=self.wal.unshipped)

    async def _try_meter(self, path: Path) -> None:
        # Measuring must work before anything is served; and the first request need not wait for a process to start.
        try:
            path.write_bytes(tone_wav())  # noqa: ASYNC240 -- 32 kB, before anything is served
        except OSError as problem:
            log.warning("meter_not_tried", problem=str(problem))  # the log may ship what fills the disk
            return
        await self._meter.measure(path)
        path.unlink()  # noqa: ASYNC240

    def _make_backend(self, ledger: LedgerClient) -> Backend:
        settings, env = self._settings, self._env
        if isinstance(settings.backend, InHouseSettings):
            return InHouse(settings.backend, self._session, env, settings.patience)
        return Vendor(settings.backend, self._session, self.wal, ledger, env, settings.patience)

    async def _listen(self, handler: Handler, port: int) -> int:
        server = web.Server(
            handler,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_S,
            lingering_time=self._settings.patience.lingering_s,
        )
        return await self._start(web.ServerRunner(server, shutdown_timeout=0.1), port)

    async def _start(self, runner: web.BaseRunner, port: int) -> int:
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, self._settings.pod_ip, port, reuse_address=True).start()
        bound: int = runner.addresses[0][1]
        return bound

    def state(self) -> AdapterState:
        """The present state, as `/state` tells it."""
        resolved, message = self.backend.credentials
        return AdapterState(
            ready=self.backend.ready and not self.wal.problem and not self._draining,
            message=self.wal.problem or ("" if self.backend.ready else self.backend.problem),
            draining=self._draining,
            in_flight=self.entrance.in_flight,
            slots=self.backend.admission.slots,
            credentials_resolved=resolved,
            credentials_message=message,
            vendor_models=self.backend.models,
            unshipped=self.wal.unshipped,
        )

    def _scrape(self) -> None:
        self._metrics.unshipped.set(self.wal.unshipped)
        self._metrics.wal_bytes.set(self.wal.size_bytes())
        self._metrics.conflicts.set(self._shipper.conflicts)
        self._metrics.rejected.set(self._shipper.rejected)
        self._metrics.in_flight.set(self.entrance.in_flight)

    async def drain(self) -> None:
        """Not ready from now on; return when nobody has been inside for a moment and the ledger has everything.

        Requests that still come are served: the gateway needs a moment to hear that this address is gone. Gives up
        after the grace, and leaves the rest of the log for the next start.
        """
        self._draining = True
        self.entrance.closing = True
        try:
            async with asyncio.timeout(self._settings.drain_grace_s):
                await self._quiet()
                while self.wal.unshipped:
                    await self._env.clock.sleep(0.02)
        except TimeoutError:
            log.warning("drain_grace_over", in_flight=self.entrance.in_flight, unshipped=self.wal.unshipped)

    async def _quiet(self) -> None:
        quiet_since = self._env.clock.monotonic()
        while True:
            now = self._env.clock.monotonic()
            if self.entrance.in_flight:
                quiet_since = now
            elif now - quiet_since >= self._settings.patience.drain_quiet_s:
                return
            await self._env.clock.sleep(0.02)

    async def close(self) -> None:
        """Close listeners, processes and files. What is in flight is cut and logged."""
        self.entrance.cutting = True
        for runner in self._runners:
            await runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._meter.close()
        await self.wal.close()
        await self._session.close()
        await self._ledger_session.close()
        self._lock.release()


def settle_memory() -> None:
    """Leave what exists now out of every garbage collection: it stays for the life of the process.

    Otherwise each collection walks all modules and models, every few requests: a seventh of the processor's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


async def run_adapter(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain, ship the log and return. Raises CannotStart."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    adapter = Adapter(settings, system_env())
    try:
        await adapter.start()
    except (FolderInUse, OSError) as problem:
        raise CannotStart(f"the adapter cannot start: {problem}") from problem
    settle_memory()
    try:
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((stopping, *adapter._tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in adapter._tasks:
            if task.done():
                task.result()
        await adapter.drain()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await adapter.close()
