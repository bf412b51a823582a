"""The ledger as a program: opens the file, serves, follows the cluster, and stops cleanly."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import structlog
from aiohttp import web

from insource.env import Env, system_env
from insource.kube.client import Client, connect
from insource.ledger.auth import Authenticator, ClusterTokenReviewer
from insource.ledger.service import LedgerService, ServiceOptions
from insource.ledger.settings import LedgerSettings
from insource.ledger.store import Store
from insource.ledger.watch import Watch

_log = structlog.get_logger(__name__)

FILE = "ledger.sqlite"
RESTART_S = 1.0


async def run_ledger(settings: LedgerSettings) -> None:
    """Serve until SIGTERM or SIGINT. Acknowledged records survive whatever ends it."""
    env = system_env()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    client = await connect(None if settings.kubeconfig is None else str(settings.kubeconfig), env)
    try:
        await serve_ledger(settings, client, env, stopped)
    finally:
        await client.close()


async def serve_ledger(settings: LedgerSettings, client: Client, env: Env, stopped: asyncio.Event) -> None:
    """The program with its client given; ends once `stopped` is set."""
    store = await Store.open(settings.data / FILE, env.clock)
    try:
        watch = Watch(client, store, env, settings.currency)
        authenticator = Authenticator(ClusterTokenReviewer(client), env.clock)
        service = LedgerService(
            store, authenticator, ServiceOptions(settings.currency, settings.patience), lambda: watch.references
        )
        runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=5.0)
        await runner.setup()
        following = asyncio.create_task(_follow(watch, env))
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
            _log.info("ledger_listening", addresses=[f"{a[0]}:{a[1]}" for a in runner.addresses])
            await stopped.wait()
        finally:
            service.stopping = True
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await runner.cleanup()
    finally:
        await store.close()


async def _follow(watch: Watch, env: Env) -> None:
    """Serving must not end because following failed: begin again from a list."""
    while True:
        try:
            await watch.run()
        except Exception as error:
            _log.exception("watch_failed", error=type(error).__name__)
        await env.clock.sleep(RESTART_S)
