"""The adapter's side of the measuring processes: hands them files, bounds their time, replaces the dead."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

import orjson

from insource.adapter.metering.measured import Measured, NotAudio

TIMEOUT_S = 30.0


class MeasuringProcesses:
    """At most `count` processes, started when first needed and used again."""

    def __init__(self, count: int = 2, timeout_s: float = TIMEOUT_S) -> None:
        self._free = asyncio.Semaphore(count)
        self._idle: list[asyncio.subprocess.Process] = []
        self._all: set[asyncio.subprocess.Process] = set()
        self._timeout_s = timeout_s

    async def measure(self, path: Path) -> Measured:
        """Measure the file at `path`, which may get its WAV sizes corrected. Raises NotAudio.

        A file that kills its process, or takes longer than the time-out, is NotAudio too.
        """
        async with self._free:
            process = self._idle.pop() if self._idle else await self._start()
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._ask(process, path)
            except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
                await self._end(process)
                raise NotAudio("it cannot be decoded") from None
            except BaseException:
                await self._end(process)
                raise
            self._idle.append(process)
        if "error" in answer:
            raise NotAudio(answer["error"])
        return Measured(answer["audio_ms"], answer["extension"])

    async def _ask(self, process: asyncio.subprocess.Process, path: Path) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n".encode())
        await process.stdin.drain()
        line = await process.stdout.readuntil(b"\n")
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "insource.adapter.metering.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._all.add(process)
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._all.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()

    async def close(self) -> None:
        """End all processes."""
        self._idle.clear()
        for process in list(self._all):
            await self._end(process)
