"""The emulator's recognisers: pocketsphinx in processes of its own, or `echo`, which recognises nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Protocol

from insource.emulator.children import Children, serve
from insource.emulator.sound import RATE

FRAMES_PER_S = 100


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
    """Recognition in child processes, `workers` at once."""

    def __init__(self, workers: int) -> None:
        self._children = Children("insource.emulator.engine", workers)

    async def recognise(self, pcm: bytes) -> list[Spoken]:
        """Waits for a free process. Raises `EOFError` if the process died over this audio."""
        return [Spoken(*word) for word in json.loads(await self._children.ask(pcm))]

    async def close(self) -> None:
        """End the processes."""
        await self._children.close()


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


def _main() -> None:
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE, loglevel="ERROR")
    serve(lambda pcm: json.dumps(words_of(decoder, pcm)).encode(), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    _main()
