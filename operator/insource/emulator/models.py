"""What the vendors sell: models, their prices by unit, their shutdown dates. Own data, read apart from the price book.

Prices and dates: the vendors' price pages by way of LiteLLM's map 1.109.1; OpenAI's deprecations page; both read
2026-11-29. A model past its shutdown date goes on being emulated: the date is what `/v1/models` says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

Kind = Literal[
    "whisper", "transcribe", "tts", "gpt-tts", "image", "chat", "completion", "embedding", "mai-stt", "mai-tts"
]
TRANSCRIBERS: tuple[Kind, ...] = ("whisper", "transcribe")
SPEAKERS: tuple[Kind, ...] = ("tts", "gpt-tts")


@dataclass(frozen=True)
class Price:
    """`nano_usd` nano-dollars for each `per` units."""

    nano_usd: int
    per: int = 1

    def of(self, quantity: int) -> int:
        """Nano-dollars, rounded once, half to even."""
        return round(Fraction(self.nano_usd * quantity, self.per))


@dataclass(frozen=True)
class Model:
    """One model as a vendor sells it."""

    name: str
    kind: Kind
    prices: Mapping[str, Price]
    """By unit: seconds, audio_ms, characters, (text|image|audio|input|output)_tokens and the like."""
    shutdown_on: str | None = None


def _per_million(**usd: float) -> dict[str, Price]:
    return {unit: Price(round(each * 1000)) for unit, each in usd.items()}


HOUR_MS = 3_600_000
WHISPER = {"seconds": Price(100_000)}
"""0.006 USD per minute, in seconds rounded up."""

OPENAI = {
    model.name: model
    for model in (
        Model("whisper-1", "whisper", WHISPER, "2027-02-26"),
        Model(
            "gpt-4o-transcribe",
            "transcribe",
            _per_million(input_audio_tokens=6, input_text_tokens=2.5, output_tokens=10),
            "2027-02-26",
        ),
        Model(
            "gpt-4o-mini-transcribe",
            "transcribe",
            _per_million(input_audio_tokens=3, input_text_tokens=1.25, output_tokens=5),
            "2027-02-26",
        ),
        Model("tts-1", "tts", _per_million(characters=15), "2027-01-06"),
        Model("tts-1-hd", "tts", _per_million(characters=30), "2027-01-06"),
        Model("gpt-4o-mini-tts", "gpt-tts", _per_million(input_tokens=0.6, output_audio_tokens=12), "2027-01-06"),
        Model(
            "gpt-image-1-mini",
            "image",
            _per_million(input_text_tokens=2, input_image_tokens=2.5, output_image_tokens=8),
            "2026-12-01",
        ),
        Model("gpt-image-2", "image", _per_million(input_text_tokens=5, input_image_tokens=8, output_image_tokens=30)),
        Model("gpt-6-luna", "chat", _per_million(input_tokens=0.1, output_tokens=0.5)),
        Model("gpt-5-nano", "chat", _per_million(input_tokens=0.05, output_tokens=0.4), "2026-12-11"),
        Model("gpt-3.5-turbo-instruct", "completion", _per_million(input_tokens=1.5, output_tokens=2), "2026-09-28"),
        Model("text-embedding-3-small", "embedding", _per_million(input_tokens=0.02)),
        Model("text-embedding-3-large", "embedding", _per_million(input_tokens=0.13)),
    )
}

AZURE_OPENAI = {
    name: replace(OPENAI[theirs], name=name, shutdown_on=shutdown_on)
    for name, theirs, shutdown_on in (
        ("whisper", "whisper-1", "2026-12-15"),
        ("gpt-4o-transcribe", "gpt-4o-transcribe", "2026-10-15"),
        ("gpt-4o-mini-transcribe", "gpt-4o-mini-transcribe", None),
        ("tts", "tts-1", "2026-12-15"),
        ("tts-hd", "tts-1-hd", "2026-12-15"),
        ("gpt-4o-mini-tts", "gpt-4o-mini-tts", "2027-06-15"),
        ("gpt-image-1-mini", "gpt-image-1-mini", "2027-04-07"),
        ("gpt-image-2", "gpt-image-2", "2027-10-21"),
        ("gpt-6-luna", "gpt-6-luna", None),
        ("gpt-35-turbo-instruct", "gpt-3.5-turbo-instruct", None),
        ("text-embedding-3-small", "text-embedding-3-small", None),
        ("text-embedding-3-large", "text-embedding-3-large", None),
    )
}

AZURE_SPEECH = {
    model.name: model
    for model in (
        Model("MAI-Transcribe-1", "mai-stt", {"audio_ms": Price(360_000_000, HOUR_MS)}, "2026-08-20"),
        Model("MAI-Transcribe-1.5", "mai-stt", {"audio_ms": Price(360_000_000, HOUR_MS)}),
        Model("MAI-Transcribe-2", "mai-stt", {"audio_ms": Price(100_000_000, HOUR_MS)}),
        Model("MAI-Voice-1", "mai-tts", _per_million(characters=22)),
        Model("MAI-Voice-2-Flash", "mai-tts", _per_million(characters=15)),
    )
}
"""No MAI-Voice-2: nobody of us has read its price."""

AZURE_IMAGES = {
    name: Model(name, "image", _per_million(input_text_tokens=text, input_image_tokens=image, output_image_tokens=out))
    for name, text, image, out in (
        ("MAI-Image-2", 5, 5, 33),
        ("MAI-Image-2.5", 5, 8, 47),
        ("MAI-Image-2.5-Flash", 1.75, 1.75, 19.5),
        ("MAI-Image-2.5-Pro", 5, 8, 106),
        ("MAI-Image-2.6", 5, 8, 38),
        ("MAI-Image-2.6-Flash", 1.75, 2.5, 19),
    )
}
