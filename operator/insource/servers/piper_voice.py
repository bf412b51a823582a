"""What a Piper voice's JSON says, and phonemes as the numbers that its model takes. Pure.

The form is that of https://github.com/OHF-Voice/piper1-gpl, docs/TRAINING.md and the voices' own files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAD, BEGIN, END = "_", "^", "$"


class BadVoiceError(ValueError):
    """The JSON is not that of a voice that can be served here; the text says why."""


@dataclass(frozen=True)
class VoiceConfig:
    """One voice with one speaker, trained on espeak-ng's phonemes."""

    name: str
    """The data set's name, which is what the voice is called by."""
    sample_rate: int
    """[Hz]"""
    espeak_voice: str
    noise_scale: float
    """Of what makes one reading of a text unlike the next; 0: always the same."""
    noise_w: float
    """The same of the phonemes' lengths."""
    length_scale: float
    """Above 1 is slower."""
    ids: Mapping[str, tuple[int, ...]]
    """Of each phoneme, a single character, and of `PAD`, `BEGIN` and `END`."""


def voice_config(document: Any) -> VoiceConfig:
    """Read the parsed JSON. Raises `BadVoiceError`."""
    try:
        speakers = int(document["num_speakers"])
        kind = document.get("phoneme_type", "espeak")
        config = VoiceConfig(
            name=str(document.get("dataset") or "default"),
            sample_rate=int(document["audio"]["sample_rate"]),
            espeak_voice=str(document["espeak"]["voice"]),
            noise_scale=float(document["inference"]["noise_scale"]),
            noise_w=float(document["inference"]["noise_w"]),
            length_scale=float(document["inference"]["length_scale"]),
            ids={
                str(phoneme): tuple(int(number) for number in numbers)
                for phoneme, numbers in document["phoneme_id_map"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadVoiceError(f"not a Piper voice's JSON: {type(error).__name__} {error}") from error
    if speakers != 1:
        raise BadVoiceError(f"it has {speakers} speakers; this server takes voices with one")
    if kind != "espeak":
        raise BadVoiceError(f"its phonemes are of type {kind!r}; this server has those of espeak-ng only")
    if missing := [symbol for symbol in (PAD, BEGIN, END) if not config.ids.get(symbol)]:
        raise BadVoiceError(f"its phoneme_id_map lacks {', '.join(missing)}")
    return config


def phoneme_ids(config: VoiceConfig, phonemes: str) -> list[int]:
    """The model's input for one utterance: begin, then each phoneme, padded after each, then end.

    Phonemes that the voice was not trained on are left out. Empty if there is nothing else.
    """
    spoken = [
        config.ids[p] for p in unicodedata.normalize("NFD", phonemes) if p in config.ids and p not in (BEGIN, END)
    ]
    if not spoken:
        return []
    pad = config.ids[PAD]
    numbers = [*config.ids[BEGIN], *pad]
    for ids in spoken:
        numbers += [*ids, *pad]
    return [*numbers, *config.ids[END]]
