"""`POST .../audio/speech` of the OpenAI dialect.

`tts-1` is billed by characters before the first byte, and streams as it is spoken. `gpt-4o-mini-tts` is billed by
tokens of audio, so it is spoken whole before its first byte: nothing is sent that is not on the bill.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncIterator
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from insource.emulator.checks import Strict, check, invalid, read_json, unsupported
from insource.emulator.encode import Encoding, encoded
from insource.emulator.forms import Find
from insource.emulator.letters import count_tokens
from insource.emulator.models import SPEAKERS, Model
from insource.emulator.service import Answer, Order, Reader, Service
from insource.emulator.sound import RATE

VOICES = ("alloy", "ash", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer")
NEWER_VOICES = (*VOICES, "ballad", "verse", "marin", "cedar")
PCM_RATE = 24_000
ENCODINGS = {
    "mp3": Encoding("mp3", "libmp3lame", PCM_RATE, "audio/mpeg"),
    "opus": Encoding("ogg", "libopus", PCM_RATE, "audio/ogg"),
    "aac": Encoding("adts", "aac", PCM_RATE, "audio/aac"),
    "flac": Encoding("flac", "flac", PCM_RATE, "audio/flac"),
    "wav": Encoding("wav", "pcm_s16le", PCM_RATE, "audio/wav"),
    "pcm": Encoding("s16le", "pcm_s16le", PCM_RATE, "audio/pcm"),
}
AUDIO_TOKENS_PER_MINUTE = 1250
"""0.015 USD per minute, at 12 USD per million tokens."""


class VoiceId(Strict):
    """A voice that the customer has made."""

    id: str


class SpeechBody(Strict):
    """What is to be spoken."""

    model: str = ""
    input: str = Field(min_length=1, max_length=4096)
    voice: str | VoiceId
    instructions: str | None = Field(default=None, max_length=4096)
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    stream_format: Literal["sse", "audio"] = "audio"


def speaker(service: Service, find: Find) -> Reader:
    """Reads a request; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        body = check(SpeechBody, await read_json(request))
        model = find(body.model, SPEAKERS)
        _check(body, model)

        async def produce() -> Answer:
            return await _speak(service, request, body, model)

        return Order(model.name, produce)

    return read


def _check(body: SpeechBody, model: Model) -> None:
    if model.kind == "tts":
        if body.instructions is not None:
            raise unsupported("instructions", model.name)
        if body.stream_format == "sse":
            raise unsupported("stream_format", model.name)
    if isinstance(body.voice, VoiceId):
        raise invalid("voice", "no custom voice of this id exists.")
    voices = VOICES if model.kind == "tts" else NEWER_VOICES
    if body.voice not in voices:
        raise invalid("voice", f"supported values are: {', '.join(repr(voice) for voice in voices)}.")


async def _speak(service: Service, request: web.Request, body: SpeechBody, model: Model) -> Answer:
    encoding = ENCODINGS[body.response_format]
    pieces = service.voice.speak(body.input, speed=body.speed)
    if model.kind == "tts":
        first = await anext(pieces)  # an engine that is dead costs nothing
        await service.bill(request, model, {"characters": len(body.input)})
        return Answer(encoded(_chained(first, pieces), encoding), encoding.content_type)
    pcm = [piece async for piece in pieces]
    usage = usage_of(body, sum(map(len, pcm)) / 2 / RATE)
    units = {"input_tokens": usage["input_tokens"], "output_audio_tokens": usage["output_tokens"]}
    await service.bill(request, model, units)
    audio = encoded(_listed(pcm), encoding)
    if body.stream_format == "audio":
        return Answer(audio, encoding.content_type)
    return Answer(_events(audio, usage), "text/event-stream; charset=utf-8")


def usage_of(body: SpeechBody, audio_s: float) -> dict[str, int]:
    """Tokens of the text and its instructions, and of the audio."""
    input_tokens = count_tokens(body.input) + count_tokens(body.instructions or "")
    output_tokens = math.ceil(audio_s * AUDIO_TOKENS_PER_MINUTE / 60)
    total_tokens = input_tokens + output_tokens
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total_tokens}


async def _events(audio: AsyncIterator[bytes], usage: dict[str, int]) -> AsyncIterator[bytes]:
    async for chunk in audio:
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()})
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _listed(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
