"""The emulator's voices: pico in processes of its own, or a tone as long as the text.

Both give 16 kHz mono 16-bit PCM, a sentence or so at a time. pico takes ever longer over very long words (minutes over
5,000 letters), so they are cut.
"""

from __future__ import annotations

import array
import json
import math
import re
import sys
from collections.abc import AsyncIterator
from typing import Protocol

from insource.emulator.children import Children, serve
from insource.emulator.sound import RATE

TONE_MS_PER_CHARACTER = 50
LONGEST_PIECE = 300
LONGEST_WORD = 40
SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")
LANGUAGES = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT")


class Voice(Protocol):
    """A synthesiser."""

    def speak(self, text: str, *, language: str = "en-US", speed: float = 1.0) -> AsyncIterator[bytes]:
        """Pieces of PCM at `sound.RATE`. Raises `EOFError` if the engine died."""
        ...

    async def close(self) -> None:
        """Give back processes."""
        ...


class Tone:
    """Speaks nothing: a tone of 50 ms for each character, faster by `speed`."""

    async def speak(self, text: str, *, language: str = "en-US", speed: float = 1.0) -> AsyncIterator[bytes]:
        """At most a second at a time."""
        del language
        samples = max(1, round(len(text) * TONE_MS_PER_CHARACTER * RATE / 1000 / speed))
        while samples:
            part = min(samples, RATE)
            yield _SECOND[: 2 * part]
            samples -= part

    async def close(self) -> None:
        """Nothing to give back."""


class Pico:
    """Synthesis in child processes, `workers` at once."""

    def __init__(self, workers: int) -> None:
        self._children = Children("insource.emulator.voices", workers)

    async def speak(self, text: str, *, language: str = "en-US", speed: float = 1.0) -> AsyncIterator[bytes]:
        """Sentence by sentence. Raises `EOFError` if the process died."""
        known = language if language in LANGUAGES else "en-US"
        for piece in pieces(text):
            yield await self._children.ask(json.dumps([piece, known, speed]).encode())

    async def close(self) -> None:
        """End the processes."""
        await self._children.close()


def pieces(text: str) -> list[str]:
    """`text` in sentences, and in shorter pieces where one is long; at least one piece."""
    found = []
    for sentence in SENTENCE_END.split(text):
        piece = ""
        for word in sentence.split():
            for start in range(0, len(word), LONGEST_WORD):
                part = word[start : start + LONGEST_WORD]
                if piece and len(piece) + len(part) + 1 > LONGEST_PIECE:
                    found.append(piece)
                    piece = ""
                piece = f"{piece} {part}".strip()
        if piece:
            found.append(piece)
    return found or [" "]


def _second() -> bytes:
    wave = array.array("h", (round(6000 * math.sin(2 * math.pi * 220 * n / RATE)) for n in range(RATE)))
    if sys.byteorder == "big":
        wave.byteswap()
    return wave.tobytes()


_SECOND = _second()


def _main() -> None:
    from py_nanotts import NanoTTS

    engine = NanoTTS()

    def answer(question: bytes) -> bytes:
        text, language, speed = json.loads(question)
        # Its own markup begins with `<`; a text is to be read, not obeyed.
        return bytes(engine.speak(text.replace("<", " ").replace("\x00", " "), voice=language, speed=speed))

    serve(answer, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    _main()
