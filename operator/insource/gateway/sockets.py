"""HTTP servers on unix sockets in a private folder, for Envoy alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web


@asynccontextmanager
async def served(application: web.Application, socket: Path) -> AsyncIterator[None]:
    """Serve on `socket` while this lasts, over one that a dead process has left. Who leaves ends the request."""
    _remove(socket)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        _make_private(socket)
        yield
    finally:
        await runner.cleanup()


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


def _make_private(socket: Path) -> None:
    socket.chmod(0o600)
