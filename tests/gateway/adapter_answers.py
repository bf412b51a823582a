"""What a good backend answers, in OpenAI's format: for each path a small one, made from the request."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from PIL import Image

VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 1.0,
    "text": "hello --> world",
    "segments": [
        {
            "id": 0, "seek": 0, "start": 0.0, "end": 0.6, "text": " hello", "tokens": [1], "temperature": 0.0,
            "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0,
        },
        {
            "id": 1, "seek": 0, "start": 3661.5, "end": 3662.25, "text": " --> world", "tokens": [2],
            "temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0,
        },
    ],
    "words": [{"word": "hello", "start": 0.0, "end": 0.6}, {"word": "world", "start": 0.6, "end": 1.0}],
    "usage": {"type": "duration", "seconds": 9},
}  # fmt: skip


def png(width: int = 32, height: int = 16) -> bytes:
    """A picture of this size, in base64."""
    held = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(held, "PNG")
    return base64.b64encode(held.getvalue())


SOUND = {
    "mp3": b"ID3" + bytes(97), "opus": b"OggS" + bytes(96), "aac": b"\xff\xf1" + bytes(98), "flac": b"fLaC" + bytes(96),
    "wav": b"RIFF" + bytes(96), "pcm": bytes(100),
}  # fmt: skip


def sse(*events: Any) -> bytes:
    """A stream of these events; bytes go as they are."""
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


def _speech(body: dict[str, Any]) -> tuple[str, bytes]:
    sound = SOUND[body.get("response_format", "mp3")]
    if body.get("stream_format") != "sse":
        return "audio/whatever", sound
    delta = {"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()}
    usage = {"input_tokens": 7, "output_tokens": 11, "total_tokens": 18}
    return "text/event-stream", sse(delta, {"type": "speech.audio.done", "usage": usage})


def _images(body: dict[str, Any]) -> tuple[str, bytes]:
    width, _, height = body.get("size", "auto").replace("auto", "32x16").partition("x")
    pictures = [{"b64_json": png(int(width), int(height)).decode()} for _ in range(body.get("n", 1))]
    usage = {"input_tokens": 5, "output_tokens": 272, "total_tokens": 277, "steps": 4}
    return "application/json", json.dumps({"created": 1, "data": pictures, "usage": usage}).encode()


TEXT_USAGE = {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}


def _text(body: dict[str, Any]) -> tuple[str, bytes]:
    chat = "messages" in body
    if not body.get("stream"):
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": "Hello you."}} if chat else {"text": "Hello you."}
        return "application/json", json.dumps(
            {"id": "c", "model": "b", "choices": [choice], "usage": TEXT_USAGE}
        ).encode()
    pieces = [{"delta": {"content": text}} if chat else {"text": text} for text in ("Hello", " you.")]
    chunks: list[Any] = [{"id": "c", "model": "b", "choices": [{"index": 0, **piece}]} for piece in pieces]
    if body.get("stream_options", {}).get("include_usage"):
        chunks.append({"id": "c", "model": "b", "choices": [], "usage": TEXT_USAGE})
    return "text/event-stream", sse(*chunks, b"[DONE]")


def _embeddings(body: dict[str, Any]) -> tuple[str, bytes]:
    given = body["input"]
    count = 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)
    vectors = [{"object": "embedding", "index": at, "embedding": [0.5, -0.25]} for at in range(count)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return "application/json", json.dumps({"object": "list", "data": vectors, "model": "b", "usage": usage}).encode()


USUAL: dict[str, Callable[[dict[str, Any]], tuple[str, bytes]]] = {
    "/audio/speech": _speech,
    "/images/generations": _images,
    "/completions": _text,
    "/chat/completions": _text,
    "/embeddings": _embeddings,
}
"""Path below the base URL -> content type and body of a good answer."""


async def usual(request: web.Request, body: dict[str, Any]) -> web.Response:
    content_type, content = USUAL[request.path.removeprefix("/v1")](body)
    return web.Response(body=content, content_type=content_type)
