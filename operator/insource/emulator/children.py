"""Engines that hold the interpreter's lock, in processes of their own (`python -m MODULE`).

Both directions carry frames: four bytes of length, then that many bytes. A child ends when its input closes: a killed
emulator leaves none behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections.abc import Callable
from typing import IO

LENGTH = struct.Struct(">I")
LIMIT_S = 600.0
"""A child that has not answered by then is ended."""


class Children:
    """A pool of child processes; they are started on first use, and again after one has died."""

    def __init__(self, module: str, workers: int) -> None:
        self._module = module
        self._free: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        for _ in range(workers):
            self._free.put_nowait(None)
        self._workers = workers

    async def ask(self, question: bytes) -> bytes:
        """Waits for a free process. Raises `EOFError` if it died, or was ended, over this question."""
        process = await self._free.get()
        answer: bytes | None = None
        try:
            if process is None or process.returncode is not None:
                process = await self._start()
            async with asyncio.timeout(LIMIT_S):
                answer = await _exchange(process, question)
        except (TimeoutError, ConnectionError) as error:
            raise EOFError(f"{self._module} did not answer") from error
        finally:
            # One that died, or was left in the middle: its answer would be the next one's.
            if answer is None and process is not None:
                await _end(process)
                process = None
            self._free.put_nowait(process)
        return answer

    async def close(self) -> None:
        """End the processes; call it when nothing is being asked."""
        for _ in range(self._workers):
            process = await self._free.get()
            if process is not None:
                await _end(process)

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(sys.executable, "-m", self._module, stdin=pipe, stdout=pipe)


async def _exchange(process: asyncio.subprocess.Process, question: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(question)))
    process.stdin.write(question)
    await process.stdin.drain()
    head = await process.stdout.readexactly(LENGTH.size)
    return await process.stdout.readexactly(LENGTH.unpack(head)[0])


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()


def serve(answer: Callable[[bytes], bytes], requests: IO[bytes], answers: IO[bytes]) -> None:
    """The child's side: a frame out for each frame in, until the input closes."""
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        while len(head := requests.read(LENGTH.size)) == LENGTH.size:
            found = answer(requests.read(LENGTH.unpack(head)[0]))
            answers.write(LENGTH.pack(len(found)) + found)
            answers.flush()
