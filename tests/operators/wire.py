"""The network between one caller and the API server, which can be cut or slow while it serves everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.loops import Run, loop_in_thread
from tests.servers import ApiServer

_PIECE = 65536


class Wire:
    """Bytes go through both ways until it is cut, and once it is mended those that were held back, too."""

    def __init__(self, api: ApiServer, run: Run[None], line: _Line, port: int) -> None:
        self._api = api
        self._run = run
        self._line = line
        self._port = port

    def kubeconfig(self, user: str) -> Path:
        """Of a caller who reaches the API server by this wire alone."""
        ordinary = self._api.kubeconfig(user)
        path = ordinary.with_name(f"{user}-by-wire.kubeconfig")
        path.touch(mode=0o600)
        path.write_text(ordinary.read_text().replace(self._api.url, f"https://127.0.0.1:{self._port}"))
        return path

    def cut(self) -> None:
        self._run(self._line.cut())

    def mend(self) -> None:
        self._run(self._line.mend())

    def slow_down(self, seconds: float) -> None:
        """How long the caller's bytes take from now on.

        What is on its way when its sender has gone is lost, as a real API server drops the write of a client that left.
        """
        self._line.delay_s = seconds


@contextmanager
def wire(api: ApiServer) -> Iterator[Wire]:
    where = urlsplit(api.url)
    assert where.hostname is not None
    assert where.port is not None
    line = _Line(where.hostname, where.port)
    with loop_in_thread("wire") as run:
        port = run(line.open())
        try:
            yield Wire(api, run, line, port)
        finally:
            run(line.close())


class _Line:
    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0

    async def open(self) -> int:
        """The port that it is called at."""
        self._server = await asyncio.start_server(self._called, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def cut(self) -> None:
        self._whole.clear()

    async def mend(self) -> None:
        self._whole.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _called(self, caller: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(caller, back))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, caller: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                server, forth = await asyncio.open_connection(*self._where)
                try:
                    await self._both_ways(self._carry(caller, forth), self._bring(server, back))
                finally:
                    forth.close()
        finally:
            back.close()

    async def _both_ways(self, *ways: Coroutine[Any, Any, None]) -> None:
        """Until one of them ends, or this is cancelled."""
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, caller: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        while piece := await caller.read(_PIECE):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
                if caller.at_eof():
                    return
            await self._whole.wait()
            forth.write(piece)
            await forth.drain()

    async def _bring(self, server: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while piece := await server.read(_PIECE):
            await self._whole.wait()
            back.write(piece)
            await back.drain()
