"""A second of speech-like sound, made here: what a server must transcribe before its pod is Ready."""

from __future__ import annotations

import functools
import math
import struct

RATE_HZ = 16_000
_FORMANTS = ((700, 0.5), (1220, 0.3), (2600, 0.2))


@functools.cache
def tone_wav(seconds: float = 1.0) -> bytes:
    """A 16 kHz mono WAV: a 120 Hz buzz shaped like the vowel in "father", rising and falling four times a second."""
    count = int(RATE_HZ * seconds)
    samples = (_sample(index / RATE_HZ) for index in range(count))
    data = struct.pack(f"<{count}h", *(int(12_000 * sample) for sample in samples))
    form = struct.pack("<HHIIHH", 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def _sample(at: float) -> float:
    envelope = 0.5 - 0.5 * math.cos(2 * math.pi * 4 * at)
    phase = at * 120 % 1 / 120
    buzz = sum(
        weight * math.exp(-300 * phase) * math.sin(2 * math.pi * formant * phase) for formant, weight in _FORMANTS
    )
    return envelope * buzz
