"""Reading `POST /v1/audio/speech`: a JSON body into a `SpeechRequest`, or an error that names the parameter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from aiohttp import web

from insource.servers.audio_encoding import AUDIO_FORMATS, AudioFormat
from insource.servers.json_body import read_body
from insource.servers.requests import RefusedRequestError

StreamFormat = Literal["audio", "sse"]
LONGEST_INPUT = 4096
"""Code points, OpenAI's own limit."""
MAX_BODY_BYTES = 1 << 20
SLOWEST, FASTEST = 0.25, 4.0
PARAMETERS = ("model", "input", "voice", "response_format", "speed", "stream_format")
OPENAI_VOICES = frozenset(
    ["alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"]
)
"""OpenAI's built-in voices. They are all answered by this model's own voice, so that a client need not be changed."""
MAI_VOICE = re.compile(r"en-[a-z]{2}-[a-z][a-z0-9]{0,62}(:MAI-Voice-[0-9][a-z0-9.-]{0,31})?", re.IGNORECASE)
"""An English voice of MAI-Voice, with or without its model: `en-US-Harper:MAI-Voice-2-Flash`. Answered likewise."""


@dataclass(frozen=True)
class SpeechRequest:
    """What the client asked for. `voice` is one of the server's own."""

    text: str
    voice: str
    audio_format: AudioFormat = "mp3"
    speed: float = 1.0
    stream_format: StreamFormat = "audio"


async def read_speech_request(request: web.Request, model_name: str, voices: Sequence[str]) -> SpeechRequest:
    """Read and check the body; raises `RefusedRequestError`.

    `model_name` is the only model here; empty admits any. `voices` are the names of the model's one voice; OpenAI's
    names, and those of MAI-Voice's English voices, stand for the first.
    """
    if request.content_type != "application/json":
        raise RefusedRequestError("The body must be JSON, with content-type application/json.", param=None)
    return parse_speech_request(await read_body(request, MAX_BODY_BYTES), model_name, voices)


def parse_speech_request(body: bytes, model_name: str, voices: Sequence[str]) -> SpeechRequest:
    """As `read_speech_request`, of the body alone."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as broken:
        raise RefusedRequestError(f"The body is not JSON: {broken}", param=None) from broken
    if not isinstance(asked, dict):
        raise RefusedRequestError("The body must be a JSON object.", param=None)
    # JSON null stands for a parameter that was left out, as at OpenAI.
    asked = {name: value for name, value in asked.items() if value is not None}
    model = _text(asked, "model")
    if model_name and model != model_name:
        message = f"The model '{_short(model)}' does not exist here; this server has '{model_name}'."
        raise RefusedRequestError(message, param="model", code="model_not_found", status=404)
    for name in asked:
        if name not in PARAMETERS:
            raise RefusedRequestError(
                f"'{_short(name)}' is not supported by this server.", param=_short(name), code="unsupported_parameter"
            )
    return SpeechRequest(
        text=_input(asked),
        voice=_voice(asked, voices),
        audio_format=_one_of(asked, "response_format", AUDIO_FORMATS, "mp3"),
        speed=_speed(asked.get("speed", 1.0)),
        stream_format=_one_of(asked, "stream_format", ("audio", "sse"), "audio"),
    )


def _text(asked: dict[str, Any], name: str) -> str:
    if name not in asked:
        raise RefusedRequestError(f"you must provide a {name} parameter", param=name)
    value = asked[name]
    if not isinstance(value, str):
        raise RefusedRequestError(f"'{name}' must be a string.", param=name)
    return value


def _input(asked: dict[str, Any]) -> str:
    text = _text(asked, "input")
    if not text or len(text) > LONGEST_INPUT:
        raise RefusedRequestError(
            f"'input' must have 1 to {LONGEST_INPUT} characters, not {len(text)}.",
            param="input",
            code="string_above_max_length" if text else "string_below_min_length",
        )
    return text


def _voice(asked: dict[str, Any], voices: Sequence[str]) -> str:
    if isinstance(asked.get("voice"), dict):
        raise RefusedRequestError(
            "Custom voices are not supported by this server.", param="voice", code="invalid_value"
        )
    name = _text(asked, "voice")
    if name in voices:
        return name
    if name in OPENAI_VOICES or MAI_VOICE.fullmatch(name):
        return voices[0]
    raise RefusedRequestError(
        f"There is no voice '{_short(name)}' here; use one of: {', '.join(voices)}. OpenAI's built-in names, and "
        f"English ones of MAI-Voice (en-US-Harper), are answered by '{voices[0]}'.",
        param="voice",
        code="invalid_value",
    )


def _one_of(asked: dict[str, Any], name: str, known: tuple[Any, ...], default: str) -> Any:
    value = asked.get(name, default)
    if value not in known:
        raise RefusedRequestError(
            f"{name} '{_short(value)}' is not supported; use one of: {', '.join(known)}.",
            param=name,
            code="invalid_value",
        )
    return value


def _speed(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not SLOWEST <= value <= FASTEST:
        raise RefusedRequestError(
            f"speed must be a number from {SLOWEST} to {FASTEST:g}, not {_short(value)}.",
            param="speed",
            code="invalid_value",
        )
    return float(value)


def _short(value: Any) -> str:
    """A client's own value in a message to it: an answer is no place for a megabyte."""
    text = str(value)
    return text if len(text) <= 80 else text[:80] + "..."
