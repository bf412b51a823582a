"""The emulator's recognisers: pocketsphinx in processes of its own, or `echo`, which recognises nothing.

pocketsphinx holds the interpreter's lock while it decodes, so it runs in child processes (`python -m
insource.emulator.engine`) that speak over their standard input and output, and end when that closes: a killed emulator
leaves none behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import sys
from dataclasses import dataclass
from typing import IO, Any, Protocol

from insource.emulator.sound import RATE

FRAMES_PER_S = 100
LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Spoken:
    """One word and when it was said, in seconds."""

    word: str
    start: float
    end: float


class Engine(Protocol):
    """A recogniser of PCM as `sound.decode_pcm` makes it."""

    async def recognise(self, pcm: bytes) -> list[Spoken]:
        """The words, in order; empty for silence."""
        ...

    async def close(self) -> None:
        """Give back processes."""
        ...


class Echo:
    """Recognises nothing: answers with how long the audio was."""

    async def recognise(self, pcm: bytes) -> list[Spoken]:
        """`echo of N milliseconds`, spread over the audio."""
        seconds = len(pcm) / 2 / RATE
        words = ["echo", "of", str(round(seconds * 1000)), "milliseconds"]
        each = seconds / len(words)
        return [Spoken(word, n * each, (n + 1) * each) for n, word in enumerate(words)]

    async def close(self) -> None:
        """Nothing to give back."""


class Pocketsphinx:
    """A pool of child processes; they are started on first use, and again after one has died."""

    def __init__(self, workers: int) -> None:
        self._free: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        for _ in range(workers):
            self._free.put_nowait(None)
        self._workers = workers

    async def recognise(self, pcm: bytes) -> list[Spoken]:
        """Waits for a free process. Raises `EOFError` if the process died over this audio."""
        process = await self._free.get()
        answer: bytes | None = None
        try:
            if process is None or process.returncode is not None:
                process = await _start()
            answer = await _ask(process, pcm)
        finally:
            if (
                answer is None and process is not None
            ):  # died, or left in the middle: its answer would be the next one's
                await _end(process)
                process = None
            self._free.put_nowait(process)
        return [Spoken(*word) for word in json.loads(answer)]

    async def close(self) -> None:
        """End the processes; call it when nothing is being recognised."""
        for _ in range(self._workers):
            process = await self._free.get()
            if process is not None:
                await _end(process)


async def _start() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "insource.emulator.engine", stdin=pipe, stdout=pipe, limit=1 << 24
    )


async def _ask(process: asyncio.subprocess.Process, pcm: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(pcm)))
    process.stdin.write(pcm)
    await process.stdin.drain()
    answer = await process.stdout.readline()
    if not answer.endswith(b"\n"):
        raise EOFError("the recogniser's process died")
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()


def words_of(decoder: Any, pcm: bytes) -> list[tuple[str, float, float]]:
    """Decode one utterance with a pocketsphinx `Decoder`."""
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None:
        return []
    return [
        (segment.word.split("(")[0], segment.start_frame / FRAMES_PER_S, (segment.end_frame + 1) / FRAMES_PER_S)
        for segment in decoder.seg()
        if segment.word[0] not in "<["
    ]


def serve_pipes(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The child process: length and PCM in, a line of JSON out, until the input closes."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE, loglevel="ERROR")
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        pcm = requests.read(LENGTH.unpack(head)[0])
        answers.write(json.dumps(words_of(decoder, pcm)).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve_pipes(sys.stdin.buffer, sys.stdout.buffer)
