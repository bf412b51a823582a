"""Between HTTP and a recogniser: a blocking generator in a worker thread, as an async iterator that can be left.

Leaving it (the client went away) stops the recogniser before its next segment.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import IO, Protocol

from insource.servers.transcripts import Segment


class BadAudioError(Exception):
    """The upload could not be decoded; the text says why."""


@dataclass(frozen=True)
class Options:
    """What a recogniser may be asked for."""

    prompt: str | None
    temperature: float
    words: bool


@dataclass(frozen=True)
class Recognition:
    """Work in progress: how long the audio is, and its segments, each decoded when it is asked for."""

    duration_s: float
    segments: Iterator[Segment]


class Recogniser(Protocol):
    """A speech recogniser; called from worker threads, several at once."""

    def recognise(self, audio: IO[bytes], options: Options) -> Recognition:
        """Decode `audio` and begin. Raises `BadAudioError`."""
        ...


class Running:
    """One recognition in its worker thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[Segment | BaseException | None] = asyncio.Queue()
        self._left = threading.Event()
        self._duration: asyncio.Future[float] = loop.create_future()

    async def duration_s(self) -> float:
        """Seconds of audio, as soon as it has been decoded. Raises `BadAudioError`."""
        return await self._duration

    async def segments(self) -> AsyncIterator[Segment]:
        """Each segment as it is decoded. Raises what the recogniser raised."""
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def work(self, start: Callable[[], Recognition]) -> None:
        """Run in the worker thread."""
        if self._left.is_set():
            return
        try:
            recognition = start()
            self._post(self._settle, recognition.duration_s)
            for segment in recognition.segments:
                if self._left.is_set():
                    return
                self._post(self._queue.put_nowait, segment)
            self._post(self._queue.put_nowait, None)
        except Exception as error:
            self._post(self._fail, error)

    def leave(self) -> None:
        """Nobody wants the rest."""
        self._left.set()
        if not self._duration.done():
            self._duration.cancel()

    def _post(self, call: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: the program ends
            self._loop.call_soon_threadsafe(call, *args)

    def _settle(self, duration_s: float) -> None:
        if not self._duration.done():
            self._duration.set_result(duration_s)

    def _fail(self, error: Exception) -> None:
        if self._duration.done():
            self._queue.put_nowait(error)
        else:
            self._duration.set_exception(error)


@contextlib.asynccontextmanager
async def running(
    recogniser: Recogniser, audio: IO[bytes], options: Options, threads: Executor
) -> AsyncIterator[Running]:
    """Recognise `audio` in one of `threads`, the slots. On exit the worker is told to stop and is waited for."""
    run = Running(asyncio.get_running_loop())
    job = threads.submit(run.work, lambda: recogniser.recognise(audio, options))
    try:
        yield run
    finally:
        run.leave()
        if not job.cancel():  # it has begun, and still reads `audio`, which the caller is about to close
            await outlast(asyncio.wrap_future(job))


async def outlast(work: asyncio.Future[None]) -> None:
    """Wait for `work` even if this task is cancelled meanwhile."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(work)
