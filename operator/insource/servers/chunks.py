"""Between a blocking generator of bytes in a worker thread and an HTTP answer: an async iterator that can be left.

Leaving it (the client went away) stops the generator before its next chunk. A client that reads slowly does not hold
the slot: the generator runs ahead of it, up to a limit of bytes that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor

from insource.servers.recognition import outlast

MOST_WAITING_BYTES = 16 << 20
"""More than 4096 characters of speech give, in any format; only a text of many more words than characters waits."""


class Chunks:
    """The chunks of one generator, each as soon as it is there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_waiting_bytes: int) -> None:
        self._loop = loop
        self._most = most_waiting_bytes
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._changed = threading.Condition()
        self._waiting = 0
        self._left = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises what the generator raised."""
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            with self._changed:
                self._waiting -= len(item)
                self._changed.notify()
            yield item

    def work(self, start: Callable[[], Generator[bytes, None, None]]) -> None:
        """Run in the worker thread."""
        if self._left:
            return
        try:
            with contextlib.closing(start()) as made:
                for chunk in made:
                    if not self._room_for(chunk):
                        return
                    self._post(chunk)
            self._post(None)
        except Exception as error:
            self._post(error)

    def leave(self) -> None:
        """Nobody wants the rest."""
        with self._changed:
            self._left = True
            self._changed.notify()

    def _room_for(self, chunk: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._left or not self._waiting or self._waiting + len(chunk) <= self._most)
            self._waiting += len(chunk)
            return not self._left

    def _post(self, item: bytes | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: the program ends
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)


@contextlib.asynccontextmanager
async def chunks_of(
    start: Callable[[], Generator[bytes, None, None]], threads: Executor, most_waiting_bytes: int = MOST_WAITING_BYTES
) -> AsyncIterator[Chunks]:
    """Run what `start` returns in one of `threads`, the slots. On exit the worker is told to stop and is waited for."""
    chunks = Chunks(asyncio.get_running_loop(), most_waiting_bytes)
    job = threads.submit(chunks.work, start)
    try:
        yield chunks
    finally:
        chunks.leave()
        if not job.cancel():
            await outlast(asyncio.wrap_future(job))
