"""OpenAI's wire format for transcription, towards the server of an in-house pod and towards OpenAI and its likes.

The backend is always asked for `json`, or for `verbose_json` when the answer needs times; `rendering` makes the
format that the client wants. So formats are the same whoever serves, a vendor's usage (which text, srt and vtt leave
out) is always seen, and an answer that is no answer is noticed before the client gets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import aiohttp
import orjson
import structlog

from insource.adapter.calls import Calls, Reply
from insource.adapter.parameters import Transcription
from insource.adapter.pod_http import Disconnected, Unreachable
from insource.adapter.refusals import (
    Refusal,
    client_error,
    refused_credentials,
    refused_proxy,
    server_failure,
    shed,
    timed_out,
)
from insource.adapter.sse import events
from insource.env import Env
from insource.wire.headers import ATTEMPT_COUNT, HOP, REQUEST_ID
from insource.wire.records import attempt_id

log = structlog.get_logger(__name__)
TRANSCRIPTIONS = "/audio/transcriptions"
"""Path below the base URL."""
ANSWER_MAX_BYTES = 64 << 20
PROXY_AUTHENTICATION = 407
_ERROR_MAX_BYTES = 64 * 1024
CLIENT_REQUEST_ID = "x-client-request-id"
_AUDIO_TYPE = "application/octet-stream"
_JSON_ONLY = ("gpt-4o", "gpt-transcribe")
"""Models of OpenAI (by the start of their id) that know no times: no srt, vtt or verbose_json."""


@dataclass(frozen=True)
class Work:
    """What the backend is to transcribe."""

    wanted: Transcription
    content: bytes | Path
    """The audio, or the file that holds it."""
    filename: str
    model: str
    """The backend's name for the model."""
    request_id: str
    hop: str = ""
    number: int = 0
    """Of the attempt; 0 for what is none, such as a warm-up."""


@dataclass(frozen=True)
class Answer:
    """The backend's 2xx: either a whole JSON object, or events as they come."""

    body: Mapping[str, Any] | None
    events: AsyncIterator[dict[str, Any]] | None


class OpenAITranscriptions:
    """Calls `POST {base URL}/audio/transcriptions`; retries nothing, because Envoy's ladder does."""

    def __init__(self, calls: Calls, env: Env, key: Callable[[], str] | None = None) -> None:
        """`calls` post to that URL; `key` returns the present API key; None for a server that wants none."""
        self._calls = calls
        self._env = env
        self._key = key
        # One for all: nobody who sends us audio can know it, so none holds it.
        self._boundary = f"insource-{env.ids.uuid()}"

    def check_possible(self, wanted: Transcription, model: str) -> None:
        """Raise 400 for a format that this model has not."""
        if _answer_format(wanted) == "verbose_json" and model.startswith(_JSON_ONLY):
            raise client_error(
                f"This deployment's model gives no times; response_format '{wanted.response_format}' is not possible. "
                "Possible are: json, text.",
                param="response_format",
                code="unsupported_value",
            )

    @asynccontextmanager
    async def call(self, work: Work) -> AsyncIterator[Answer]:
        """Ask the backend. Raises a Refusal of the outcome table; the caller bounds the time."""
        headers = identity_headers(work, vendor=self._key is not None)
        key = self._key() if self._key else ""
        if key:
            headers["authorization"] = f"Bearer {key}"
        headers["content-type"] = f"multipart/form-data; boundary={self._boundary}"
        fields = form_fields(work.wanted, work.model)
        file: BinaryIO | None = None
        try:
            body: bytes | aiohttp.MultipartWriter
            if isinstance(work.content, bytes):
                body = form_bytes(fields, work.filename, work.content, self._boundary)
            else:
                file = work.content.open("rb")
                body = form_stream(fields, work.filename, file, self._boundary)
            async with self._calls.post(headers, body) as reply:
                if reply.status != 200:
                    raise self._refusal(reply.status, reply.headers, await _error_of(reply), work, key)
                yield await _answer(reply)
        except (aiohttp.ClientError, OSError) as problem:
            if isinstance(problem, TimeoutError):
                raise
            if isinstance(problem, aiohttp.ClientHttpProxyError) and problem.status == PROXY_AUTHENTICATION:
                raise _proxy_refusal() from problem
            raise server_failure("The backend could not be reached or broke off.", reason=_reason(problem)) from problem
        finally:
            if file is not None:
                file.close()

    def _refusal(
        self, status: int, headers: Mapping[str, str], error: Mapping[str, Any], work: Work, key: str
    ) -> Refusal:
        if status == 429:
            wait = retry_after_s(headers.get("retry-after", ""), self._env)
            return shed(
                "The backend's rate limit is reached; try again later.",
                reason=str(error.get("code") or "backend_limit")[:100],
                retry_after_s=wait,
            )
        if status == PROXY_AUTHENTICATION and self._key:
            return _proxy_refusal()
        if status in (401, 403) and self._key:
            return refused_credentials("The vendor does not accept this deployment's credentials.")
        if status in (408, 504):
            return timed_out("The backend timed out.", reason=f"backend_{status}")
        if status in (400, 413, 415, 422) and error.get("param") != "model":
            message = str(error.get("message") or "The backend refuses this request.")[:1000]
            if key:
                message = message.replace(key, "[key]")
            param = error.get("param")
            code = error.get("code")
            return client_error(
                message.replace(work.model, work.wanted.model),
                param=str(param)[:100] if param else None,
                code=str(code)[:100] if code else None,
                status=status,
            )
        return server_failure("The backend failed.", reason=f"backend_{status}")


def identity_headers(work: Work, *, vendor: bool) -> dict[str, str]:
    """Which attempt this is, so that the backend's own count can be compared with ours line by line.

    A vendor gets the attempt's id in the header that OpenAI has for its callers' ids.
    """
    if not work.number:
        return {REQUEST_ID: work.request_id}
    if vendor:
        attempt = attempt_id(work.request_id, work.hop, work.number)
        return {REQUEST_ID: work.request_id, CLIENT_REQUEST_ID: attempt}
    return {REQUEST_ID: work.request_id, ATTEMPT_COUNT: str(work.number), **({HOP: work.hop} if work.hop else {})}


def form_stream(
    fields: Sequence[tuple[str, str]], filename: str, file: BinaryIO, boundary: str
) -> aiohttp.MultipartWriter:
    """The form of `form_bytes`, read from `file` while it is sent."""
    form = aiohttp.MultipartWriter("form-data", boundary)
    for name, value in fields:
        form.append(value, {"content-type": "text/plain; charset=utf-8"}).set_content_disposition(
            "form-data", name=name
        )
    audio = form.append(file, {"content-type": _AUDIO_TYPE})
    audio.set_content_disposition("form-data", name="file", filename=filename)
    return form


def form_bytes(fields: Sequence[tuple[str, str]], filename: str, content: bytes, boundary: str) -> bytes:
    """A multipart form as RFC 7578 and aiohttp's own writer make it; `boundary` must not occur in what it holds."""
    pieces = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    # Note: the name is quoted as aiohttp quotes it, so that nothing in it can end the header.
    pieces.append(
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{quote(filename, "")}"\r\n'
        f"content-type: {_AUDIO_TYPE}\r\n\r\n"
    )
    return b"".join(("".join(pieces).encode(), content, f"\r\n--{boundary}--\r\n".encode()))


def form_fields(wanted: Transcription, model: str) -> list[tuple[str, str]]:
    """The text fields that the backend gets for this request."""
    fields = [("model", model), ("response_format", _answer_format(wanted))]
    if wanted.language:
        fields.append(("language", wanted.language))
    if wanted.prompt:
        fields.append(("prompt", wanted.prompt))
    if wanted.temperature:
        fields.append(("temperature", wanted.temperature))
    if wanted.streaming:
        fields.append(("stream", "true"))
    fields += [("timestamp_granularities[]", one) for one in wanted.granularities]
    return fields


def retry_after_s(text: str, env: Env) -> int:
    """Seconds of a Retry-After header, a number or an HTTP date; 1 if it is absent or malformed."""
    try:
        return max(1, round(float(text)))
    except (ValueError, OverflowError):
        pass
    try:
        return max(1, round((parsedate_to_datetime(text) - env.clock.now()).total_seconds()))
    except (ValueError, TypeError):
        return 1


def _answer_format(wanted: Transcription) -> str:
    return "verbose_json" if wanted.response_format in ("srt", "vtt", "verbose_json") else "json"


async def _answer(reply: Reply) -> Answer:
    # OpenAI ignores `stream` for whisper-1: the content type says what came, not what was asked for.
    if reply.content_type == "text/event-stream":
        return Answer(None, events(reply.chunks()))
    body = _object(await _bounded(reply))
    if body is None or not isinstance(body.get("text"), str):
        raise server_failure("The backend's answer is not a transcript.", reason="invalid_answer")
    return Answer(body, None)


async def _error_of(reply: Reply) -> Mapping[str, Any]:
    content = bytearray()
    try:
        async for chunk in reply.chunks():
            content += chunk
            if len(content) > _ERROR_MAX_BYTES:
                break
    except (aiohttp.ClientError, Disconnected):
        return {}
    error = (_object(bytes(content)) or {}).get("error")
    return error if isinstance(error, Mapping) else {}


async def _bounded(reply: Reply) -> bytes:
    content = bytearray()
    async for chunk in reply.chunks():
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise server_failure("The backend's answer is larger than 64 MiB.", reason="invalid_answer")
    return bytes(content)


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        body = orjson.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _proxy_refusal() -> Refusal:
    return refused_proxy("The proxy on the way to the vendor does not accept this deployment's credentials.")


def _reason(problem: Exception) -> str:
    if isinstance(problem, aiohttp.ClientHttpProxyError):
        return f"proxy_{problem.status}"
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        return "certificate"
    if isinstance(problem, aiohttp.ClientConnectorError | Unreachable):
        return "unreachable"
    return "broken_off"
