"""The emulator's text: its own tokens, an engine that repeats the prompt, and vectors of hashed tokens.

Everything is a pure function of the request, so an answer and its usage can be foretold.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

TOKEN = re.compile(r" ?\w{1,6}| ?[^\w\s]|\s")
"""Up to six letters or digits, or one other sign, each with the blank before it; every text is such tokens."""
MAX_TOKENS = 4096


@dataclass(frozen=True)
class Written:
    """One answer of the engine."""

    text: str
    finish_reason: Literal["stop", "length"]

    @property
    def pieces(self) -> list[str]:
        return tokens_of(self.text)


def tokens_of(text: str) -> list[str]:
    """The tokens of `text`; together they are `text`."""
    return TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many tokens are billed for `text`."""
    return len(tokens_of(text))


def write(prompt: str, number: int, *, max_tokens: int | None, stop: list[str]) -> Written:
    """Answer `number` (from 0) to `prompt`: the prompt again, up to `max_tokens`, or to the first of `stop`."""
    heading = "Echo:" if number == 0 else f"Echo {number + 1}:"
    tokens = tokens_of(f"{heading} {prompt}")
    limit = MAX_TOKENS if max_tokens is None else max_tokens
    text = "".join(tokens[:limit])
    reason: Literal["stop", "length"] = "length" if len(tokens) > limit else "stop"
    cuts = [found for sequence in stop if (found := text.find(sequence)) >= 0]
    if cuts:
        text, reason = text[: min(cuts)], "stop"
    return Written(text, reason)


def vector(text: str, dimensions: int) -> Any:
    """A float32 array of length 1: the sum of the tokens' vectors, so that like texts are near each other."""
    import numpy

    total = numpy.zeros(dimensions, dtype=numpy.float64)
    for token in tokens_of(text.lower()):
        total += _token_vector(token.strip(), dimensions)
    length = float(numpy.linalg.norm(total))
    if length == 0.0:
        total[0] = length = 1.0
    return (total / length).astype("<f4")


@functools.lru_cache(maxsize=4096)
def _token_vector(token: str, dimensions: int) -> Any:
    import numpy

    # The first numbers of a shorter vector are those of a longer one, as `dimensions` is at OpenAI.
    content = hashlib.shake_256(token.encode()).digest(2 * dimensions)
    return numpy.frombuffer(content, dtype="<i2").astype(numpy.float64)
