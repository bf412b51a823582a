"""OpenAI's wire format for transcription and translation: to the server of an in-house pod, to OpenAI and its likes.

The backend is always asked for `json`, or for `verbose_json` when the answer needs times; `rendering` makes the
format that the client wants. So formats are the same whoever serves, a vendor's usage (which text, srt and vtt leave
out) is always seen, and an answer that is no answer is noticed before the client gets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import aiohttp

from insource.adapter.calls import Reply
from insource.adapter.dialects.exchange import Exchange, bounded, object_of
from insource.adapter.dialects.seam import Recording, Transcript, Work
from insource.adapter.parameters import Transcription
from insource.adapter.refusals import client_error, server_failure, too_large
from insource.adapter.sse import events
from insource.env import Env

TRANSCRIPTIONS = "/audio/transcriptions"
TRANSLATIONS = "/audio/translations"
"""Paths below the base URL."""
_AUDIO_TYPE = "application/octet-stream"
_JSON_ONLY = ("gpt-4o", "gpt-transcribe")
"""Models of OpenAI (by the start of their id) that know no times: no srt, vtt or verbose_json."""


@dataclass(frozen=True)
class Limits:
    """What a vendor takes at most."""

    file_bytes: int = 0
    """0: no limit."""
    json_only_ms: int = 0
    """Of audio, for the models of `_JSON_ONLY`; 0: no limit."""


NO_LIMITS = Limits()
OPENAI_LIMITS = Limits(file_bytes=26_214_400, json_only_ms=1_500_000)
"""25 MiB; 25 minutes for its newer models (https://platform.openai.com/docs/guides/speech-to-text)."""


class OpenAITranscriptions:
    """Calls `POST {base URL}/audio/transcriptions`."""

    def __init__(
        self, exchange: Exchange, env: Env, limits: Limits = NO_LIMITS, *, always_verbose: bool = False
    ) -> None:
        """`exchange` posts to that URL. `always_verbose`: the backend tells the audio's length in verbose_json only."""
        self._exchange = exchange
        self._limits = limits
        self._always_verbose = always_verbose
        # One for all: nobody who sends us audio can know it, so none holds it.
        self._boundary = f"insource-{env.ids.uuid()}"
        self._content_type = f"multipart/form-data; boundary={self._boundary}"

    def check_possible(self, wanted: Transcription, model: str) -> None:
        """Raise 400 for a format that this model has not."""
        if _answer_format(wanted) == "verbose_json" and model.startswith(_JSON_ONLY):
            raise client_error(
                f"This deployment's model gives no times; response_format '{wanted.response_format}' is not possible. "
                "Possible are: json, text.",
                param="response_format",
                code="unsupported_value",
            )

    def check_recording(self, recording: Recording, model: str) -> None:
        """See `TranscriptionDialect`. A server of ours reads whatever we can measure."""
        if self._limits.file_bytes and recording_bytes(recording) > self._limits.file_bytes:
            raise too_large(self._limits.file_bytes)
        longest = self._limits.json_only_ms
        if longest and model.startswith(_JSON_ONLY) and recording.audio_ms > longest:
            raise client_error(
                f"The audio is {recording.audio_ms / 1000:.0f} seconds long; this deployment's model takes at most "
                f"{longest // 1000}. Send it in pieces.",
                param="file",
                code="audio_too_long",
            )

    @asynccontextmanager
    async def call(self, work: Work[Recording]) -> AsyncIterator[Transcript]:
        """See `TranscriptionDialect`."""
        recording = work.wanted
        verbose = self._always_verbose and not recording.wanted.streaming and not work.model.startswith(_JSON_ONLY)
        fields = form_fields(recording.wanted, work.model, "verbose_json" if verbose else "")
        file: BinaryIO | None = None
        try:
            body: bytes | aiohttp.MultipartWriter
            if isinstance(recording.content, bytes):
                body = form_bytes(fields, recording.filename, recording.content, self._boundary)
            else:
                file = opened(recording.content)
                body = form_stream(fields, recording.filename, file, self._boundary)
            async with self._exchange.post(work, self._content_type, body) as reply:
                yield await _answer(reply, length_is_usage=self._always_verbose)
        finally:
            if file is not None:
                file.close()


class OpenAITranslations(OpenAITranscriptions):
    """Calls `POST {base URL}/audio/translations`: the same, but that Whisper alone knows how."""

    def check_possible(self, wanted: Transcription, model: str) -> None:
        """Raise 400 for a model that does not translate."""
        if model.startswith(_JSON_ONLY):
            raise client_error(
                "This deployment's model does not translate. Ask for /v1/audio/transcriptions, or a deployment of "
                "Whisper.",
                param="model",
                code="unsupported_model",
            )
        super().check_possible(wanted, model)


def recording_bytes(recording: Recording) -> int:
    """Size of the audio's file. Raises a server failure if it is gone."""
    try:
        return len(recording.content) if isinstance(recording.content, bytes) else recording.content.stat().st_size
    except OSError as problem:
        raise server_failure("The upload cannot be read again.", reason="spool_unavailable") from problem


def opened(path: Path) -> BinaryIO:
    """The spooled upload. Raises a server failure if it is gone."""
    try:
        return path.open("rb")
    except OSError as problem:
        raise server_failure("The upload cannot be read again.", reason="spool_unavailable") from problem


def form_stream(
    fields: Sequence[tuple[str, str]], filename: str, file: BinaryIO, boundary: str, part: str = "file"
) -> aiohttp.MultipartWriter:
    """The form of `form_bytes`, read from `file` while it is sent."""
    form = aiohttp.MultipartWriter("form-data", boundary)
    for name, value in fields:
        form.append(value, {"content-type": "text/plain; charset=utf-8"}).set_content_disposition(
            "form-data", name=name
        )
    audio = form.append(file, {"content-type": _AUDIO_TYPE})
    audio.set_content_disposition("form-data", name=part, filename=filename)
    return form


def form_bytes(
    fields: Sequence[tuple[str, str]], filename: str, content: bytes, boundary: str, part: str = "file"
) -> bytes:
    """A multipart form as RFC 7578 and aiohttp's own writer make it; `boundary` must not occur in what it holds.

    `part` is the name of the audio's part.
    """
    pieces = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    # Note: the name is quoted as aiohttp quotes it, so that nothing in it can end the header.
    pieces.append(
        f'--{boundary}\r\ncontent-disposition: form-data; name="{part}"; filename="{quote(filename, "")}"\r\n'
        f"content-type: {_AUDIO_TYPE}\r\n\r\n"
    )
    return b"".join(("".join(pieces).encode(), content, f"\r\n--{boundary}--\r\n".encode()))


def form_fields(wanted: Transcription, model: str, answer_format: str = "") -> list[tuple[str, str]]:
    """The text fields that the backend gets for this request; it answers in `answer_format`, if that is given."""
    fields = [("model", model), ("response_format", answer_format or _answer_format(wanted))]
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


def _answer_format(wanted: Transcription) -> str:
    return "verbose_json" if wanted.response_format in ("srt", "vtt", "verbose_json") else "json"


async def _answer(reply: Reply, *, length_is_usage: bool) -> Transcript:
    # OpenAI ignores `stream` for whisper-1: the content type says what came, not what was asked for.
    if reply.content_type == "text/event-stream":
        return Transcript(None, events(reply.chunks()))
    body = object_of(await bounded(reply.chunks()))
    if body is None or not isinstance(body.get("text"), str):
        raise server_failure("The backend's answer is not a transcript.", reason="invalid_answer")
    length = body.get("duration")
    if length_is_usage and not body.get("usage") and isinstance(length, int | float) and length > 0:
        body["usage"] = {"type": "duration", "seconds": float(length)}
    return Transcript(body, None)
