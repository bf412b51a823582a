"""Running a model server as a program: listen, load, serve until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import structlog
from aiohttp import web

from insource.servers.serving import ModelServer
from insource.servers.settings import ServerSettings

log = structlog.get_logger("insource.servers")

SHUTDOWN_GRACE_S = 30.0
"""How long requests in flight may still take after SIGTERM."""


def run_server(settings: ServerSettings, server: ModelServer[Any]) -> None:
    """Serve until SIGTERM or SIGINT. Raises `OSError` if the address is taken, and whatever loading raises."""
    with asyncio.Runner() as runner:
        runner.run(_serve(settings, server))


async def _serve(settings: ServerSettings, server: ModelServer[Any]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        server.application(), handler_cancellation=True, shutdown_timeout=SHUTDOWN_GRACE_S, access_log=None
    )
    await runner.setup()
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=1024)
        await web.SockSite(runner, listener).start()
        log.info("listening", host=settings.host, port=listener.getsockname()[1])
        stopped = asyncio.create_task(stop.wait())
        ready = asyncio.create_task(server.ready())
        await asyncio.wait({stopped, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            await ready
        await stopped
    finally:
        await runner.cleanup()
