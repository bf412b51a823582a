"""Requests of every kind, and what each consumes: reckoned from the request alone, by the published rules.

Nothing is asked of the adapter's meter or of the emulator: a prompt is words of up to six letters, which are one token
each at the emulator (`docs/emulators.md`), and a token for four bytes by our estimate (decision 43).
"""

from __future__ import annotations

import io
import json
import struct
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from insource.wire.vocabulary import Modality

Counts = Mapping[tuple[str, str], int]
"""(unit, source) -> quantity."""
MEASURED, BILLED = "measured", "billed"
WORD = "circle"
HEADING = "Echo: "
"""What the emulator's engine writes before it repeats a prompt; two tokens, the blank goes with the next word."""
SIZE = (64, 48)
MEDIUM_TOKENS, SQUARE = 1767, 1024 * 1024
"""Of a picture of `SQUARE` pixels by gpt-image-2."""


class Leaving(StrEnum):
    """When a client goes. Each is a client with a key of its own, so that the ledger tells them apart."""

    STAYS = "stays"
    UPLOAD = "upload"
    """With half of its body sent."""
    BEFORE = "before"
    """With its body sent, before the answer."""
    DURING = "during"
    """With the first of the answer received."""


@dataclass(frozen=True)
class Service:
    """One ModelDeployment at the vendor."""

    name: str
    model: str
    modality: Modality
    path: str
    prices: Mapping[str, tuple[int, int]]
    """Our unit -> nano-dollars for each so many, as the vendor's price page says."""


SERVICES = (
    Service(
        "dictation", "whisper-1", Modality.TRANSCRIPTION, "/v1/audio/transcriptions", {"audio_ms": (100_000, 1000)}
    ),
    Service("speech", "tts-1", Modality.SPEECH, "/v1/audio/speech", {"characters": (15_000, 1)}),
    Service(
        "images", "gpt-image-2", Modality.IMAGE, "/v1/images/generations",
        {"input_tokens": (5_000, 1), "image_tokens": (30_000, 1)},
    ),
    Service(
        "completion", "gpt-3.5-turbo-instruct", Modality.TEXT, "/v1/completions",
        {"input_tokens": (1_500, 1), "output_tokens": (2_000, 1)},
    ),
    Service(
        "chat", "gpt-6-luna", Modality.TEXT, "/v1/chat/completions",
        {"input_tokens": (100, 1), "output_tokens": (500, 1)},
    ),
    Service("embedding", "text-embedding-3-small", Modality.EMBEDDING, "/v1/embeddings", {"input_tokens": (20, 1)}),
)  # fmt: skip
BY_NAME = {service.name: service for service in SERVICES}


@dataclass(frozen=True)
class Work:
    """One request."""

    service: Service
    body: bytes
    consumed: Counts
    """What the ledger must say if it is answered."""
    streamed: bool = False
    """Its answer ends with `[DONE]`."""
    content_type: str = "application/json"
    bill: Mapping[str, int] = field(default_factory=dict)
    """The vendor's own units."""

    @property
    def path(self) -> str:
        return f"/voice/{self.service.name}{self.service.path}"


def wav(milliseconds: int) -> bytes:
    """Silence of that length, 16 kHz mono."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(struct.pack("<h", 0) * (16 * milliseconds))
    return held.getvalue()


def transcription(size: int) -> Work:
    milliseconds = 300 + 37 * size
    seconds = -(-milliseconds // 1000)
    head = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    return Work(
        BY_NAME["dictation"],
        head + wav(milliseconds) + b"\r\n--b--\r\n",
        {("audio_ms", MEASURED): milliseconds, ("audio_ms", BILLED): 1000 * seconds},
        content_type="multipart/form-data; boundary=b",
        bill={"seconds": seconds},
    )


def speech(size: int) -> Work:
    text = ("Grüße 😀 " * (1 + size))[: 8 + size]
    response_format = ("mp3", "wav", "pcm")[size % 3]
    return Work(
        BY_NAME["speech"],
        _json(input=text, voice="alloy", response_format=response_format),
        {("characters", MEASURED): len(text)},
        bill={"characters": len(text)},
    )


def pictures(size: int) -> Work:
    words, count = 1 + size, 1 + size % 2
    width, height = SIZE
    pixels = width * height * count
    drawn = count * -(-MEDIUM_TOKENS * width * height // SQUARE)
    return Work(
        BY_NAME["images"],
        _json(prompt=_words(words), n=count, size=f"{width}x{height}"),
        {
            ("images", MEASURED): count,
            ("pixels", MEASURED): pixels,
            ("input_tokens", MEASURED): _estimate(_words(words)),
            ("input_tokens", BILLED): words,
            ("image_tokens", MEASURED): -(-pixels // 1024),
            ("image_tokens", BILLED): drawn,
        },
        bill={"input_text_tokens": words, "output_image_tokens": drawn},
    )


def completion(size: int) -> Work:
    words = 1 + size
    prompt = _words(words)
    return Work(
        BY_NAME["completion"],
        _json(prompt=prompt, max_tokens=1000, **_stream(size)),
        _text(_estimate(prompt), words, prompt),
        streamed=bool(size % 3),
        bill={"input_tokens": words, "output_tokens": words + 2},
    )


def chat(size: int) -> Work:
    words = 1 + size
    prompt = _words(words)
    tokens = words + 4 + 3  # for the turn, and for the chat
    return Work(
        BY_NAME["chat"],
        _json(messages=[{"role": "user", "content": prompt}], **_stream(size)),
        _text(4 + _estimate(prompt), tokens, prompt),
        streamed=bool(size % 3),
        bill={"input_tokens": tokens, "output_tokens": words + 2},
    )


def embedding(size: int) -> Work:
    texts = [_words(1 + size), _words(2)]
    tokens = 1 + size + 2
    return Work(
        BY_NAME["embedding"],
        _json(input=texts, encoding_format=("float", "base64")[size % 2]),
        {
            ("input_tokens", MEASURED): sum(_estimate(text) for text in texts),
            ("input_tokens", BILLED): tokens,
        },
        bill={"input_tokens": tokens},
    )


KINDS: tuple[Callable[[int], Work], ...] = (transcription, speech, pictures, completion, chat, embedding)
STREAMING: tuple[Callable[[int], Work], ...] = (speech, completion, chat)
"""Those whose answers come in pieces."""


def _stream(size: int) -> dict[str, object]:
    """Every third whole, every third streamed, every third streamed with its usage shown."""
    options: dict[str, object] = {"stream_options": {"include_usage": True}} if size % 3 == 2 else {}
    return {"stream": True, **options} if size % 3 else {}


def _text(measured: int, billed: int, prompt: str) -> Counts:
    return {
        ("input_tokens", MEASURED): measured,
        ("input_tokens", BILLED): billed,
        ("output_tokens", MEASURED): _estimate(HEADING + prompt),
        ("output_tokens", BILLED): len(prompt.split()) + 2,
    }


def _words(count: int) -> str:
    return " ".join([WORD] * count)


def _estimate(text: str) -> int:
    return -(-len(text.encode()) // 4)


def _json(**fields: object) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()
