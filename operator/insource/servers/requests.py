"""Reading `POST /v1/audio/transcriptions`: a form into a `TranscriptionRequest`, or an error that names the field.

The upload is spooled to disk above 1 MiB and never held in memory whole.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import IO, Any, cast

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from insource.servers.transcripts import RESPONSE_FORMATS, ResponseFormat
from insource.wire.errors import error_body

MAX_UPLOAD_BYTES = 1 << 30
SPOOL_BYTES = 1 << 20
MAX_FIELD_BYTES = 64 << 10
UNREADABLE = (ValueError, RuntimeError, AssertionError, HttpProcessingError)
"""What aiohttp raises for a body that is no form."""
GRANULARITIES = ("word", "segment")


class RefusedRequestError(Exception):
    """The request is wrong: answer `status` with `body`."""

    def __init__(self, message: str, *, param: str | None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, type="invalid_request_error", param=param, code=code)

    def response(self) -> web.Response:
        """As an HTTP answer."""
        return web.json_response(self.body, status=self.status)


@dataclass
class TranscriptionRequest:
    """What the client asked for. `audio` is an open, seekable temporary file: close it."""

    audio: IO[bytes]
    model: str = ""
    prompt: str | None = None
    response_format: ResponseFormat = "json"
    temperature: float = 0.0
    stream: bool = False
    granularities: set[str] = field(default_factory=set)


async def read_request(request: web.Request, model_name: str) -> TranscriptionRequest:
    """Read and check the form; raises `RefusedRequestError`. `model_name` is the only model here; empty admits any."""
    if request.content_type != "multipart/form-data":
        raise RefusedRequestError("The body must be multipart/form-data with a `file` and a `model`.", param="file")
    audio: IO[bytes] = cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115
    try:
        asked = TranscriptionRequest(audio)
        await _read_parts(request, asked)
        _check(asked, model_name)
    except BaseException:
        audio.close()
        raise
    audio.seek(0)
    return asked


async def _read_parts(request: web.Request, asked: TranscriptionRequest) -> None:
    has_file = False
    try:
        reader = await request.multipart()
        async for part in reader:
            if not isinstance(part, BodyPartReader):
                raise RefusedRequestError("Nested multipart bodies are not supported.", param=None)
            if part.name == "file":
                has_file = True
                await _spool(part, asked.audio)
            else:
                raw = await part.read_chunk(MAX_FIELD_BYTES)
                if await part.read_chunk(1):
                    raise RefusedRequestError(f"'{part.name}' is too long.", param=part.name)
                _set(asked, part.name or "", raw.decode("utf-8", "replace"))
    except UNREADABLE as broken:
        raise RefusedRequestError(f"The multipart body cannot be read: {broken}", param=None) from broken
    if not has_file:
        raise RefusedRequestError("you must provide a file", param="file")


async def _spool(part: BodyPartReader, audio: IO[bytes]) -> None:
    received = 0
    while chunk := await part.read_chunk(256 << 10):
        received += len(chunk)
        if received > MAX_UPLOAD_BYTES:
            raise RefusedRequestError(f"The file is larger than {MAX_UPLOAD_BYTES} bytes.", param="file", status=413)
        audio.write(chunk)
    if not received:
        raise RefusedRequestError("The file is empty.", param="file")


def _set(asked: TranscriptionRequest, name: str, value: str) -> None:
    match name:
        case "model":
            asked.model = value
        case "prompt":
            asked.prompt = value or None
        case "language":
            if value.lower() not in ("", "en"):
                raise RefusedRequestError(
                    f"Language '{value}' is not supported: this model knows 'en' only.", param=name
                )
        case "response_format":
            if value not in RESPONSE_FORMATS:
                known = ", ".join(RESPONSE_FORMATS)
                raise RefusedRequestError(
                    f"response_format '{value}' is not supported; use one of: {known}.", param=name
                )
            asked.response_format = value
        case "temperature":
            asked.temperature = _temperature(value)
        case "stream":
            if value.lower() not in ("true", "false", "1", "0"):
                raise RefusedRequestError(f"stream must be true or false, not '{value}'.", param=name)
            asked.stream = value.lower() in ("true", "1")
        case "timestamp_granularities[]" | "timestamp_granularities":
            if value not in GRANULARITIES:
                raise RefusedRequestError(f"'{value}' is not a granularity; use word or segment.", param=name)
            asked.granularities.add(value)
        case _:
            raise RefusedRequestError(
                f"'{name}' is not supported by this server.", param=name, code="unsupported_parameter"
            )


def _temperature(value: str) -> float:
    try:
        temperature = float(value)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 1:
        raise RefusedRequestError(f"temperature must be a number from 0 to 1, not '{value}'.", param="temperature")
    return temperature


def _check(asked: TranscriptionRequest, model_name: str) -> None:
    if model_name and asked.model != model_name:
        message = f"The model '{asked.model}' does not exist here; this server has '{model_name}'."
        raise RefusedRequestError(message, param="model", code="model_not_found", status=404)
    if asked.granularities and asked.response_format != "verbose_json":
        raise RefusedRequestError(
            "timestamp_granularities[] needs response_format verbose_json.", param="timestamp_granularities[]"
        )
    if asked.stream and asked.response_format not in ("json", "text"):
        raise RefusedRequestError(
            f"stream is not possible with response_format {asked.response_format}.", param="stream"
        )


def bad_audio(detail: Any) -> RefusedRequestError:
    """The upload is not audio that can be decoded."""
    return RefusedRequestError(
        f"Audio file might be corrupted or unsupported: {detail}", param="file", code="invalid_value"
    )
