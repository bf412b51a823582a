"""`POST .../audio/transcriptions` and `/translations` of the OpenAI dialect: heard, billed, rendered."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from aiohttp import web

from insource.emulator.errors import OpenAIError
from insource.emulator.forms import Find, Form, read_form, render, stream_events, text_of
from insource.emulator.models import Model
from insource.emulator.service import Answer, Order, Reader, Service
from insource.emulator.sound import RATE, UndecodableError, decode_pcm

SHORTEST_S = 0.1
AUDIO_TOKENS_PER_S = 10
CHARACTERS_PER_TOKEN = 4


def transcriber(service: Service, find: Find, task: Literal["transcribe", "translate"] = "transcribe") -> Reader:
    """Reads a request; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        form, model = await read_form(request, find, task)

        async def produce() -> Answer:
            return await _transcribe(service, request, form, model)

        return Order(model.name, produce, form.audio.close)

    return read


async def _transcribe(service: Service, request: web.Request, form: Form, model: Model) -> Answer:
    with form.audio:
        try:
            pcm = await asyncio.to_thread(decode_pcm, form.audio)
        except UndecodableError as error:
            message = "Audio file might be corrupted or unsupported"
            raise OpenAIError(message, param="file", code="invalid_value") from error
    audio_s = len(pcm) / 2 / RATE
    if audio_s < SHORTEST_S:
        message = f"Audio file is too short. Minimum audio length is {SHORTEST_S} seconds."
        raise OpenAIError(message, param="file", code="audio_too_short")
    words = await service.ear.recognise(pcm)
    seconds = whole_seconds(len(pcm) // 2, RATE)
    usage = usage_of(model, seconds, audio_s, form.fields.get("prompt", ""), text_of(words))
    await service.bill(request, model, billed_units(usage), seconds)
    if form.stream:
        return Answer(_events(stream_events(words, usage)), "text/event-stream; charset=utf-8")
    return render(form, words, audio_s, usage)


async def _events(events: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    for event in events:
        yield b"data: " + json.dumps(event).encode() + b"\n\n"


def whole_seconds(samples: int, rate: int) -> int:
    """Seconds as whisper-1 bills them: rounded up."""
    return -(-samples // rate)


def usage_of(model: Model, seconds: int, audio_s: float, prompt: str, text: str) -> dict[str, Any]:
    """The `usage` that the model reports: a duration for whisper-1, tokens for the others."""
    if model.kind == "whisper":
        return {"type": "duration", "seconds": seconds}
    audio_tokens = max(1, math.ceil(audio_s * AUDIO_TOKENS_PER_S))
    text_tokens = math.ceil(len(prompt) / CHARACTERS_PER_TOKEN)
    output_tokens = max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN))
    return {
        "type": "tokens",
        "input_tokens": audio_tokens + text_tokens,
        "input_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
        "output_tokens": output_tokens,
        "total_tokens": audio_tokens + text_tokens + output_tokens,
    }


def billed_units(usage: dict[str, Any]) -> Mapping[str, int]:
    """The units of a `usage`."""
    if usage["type"] == "duration":
        return {"seconds": usage["seconds"]}
    details = usage["input_token_details"]
    return {
        "input_audio_tokens": details["audio_tokens"],
        "input_text_tokens": details["text_tokens"],
        "output_tokens": usage["output_tokens"],
    }
