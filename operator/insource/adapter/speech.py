"""`/v1/audio/speech`: a text in, sound out as it is made. Counted in characters: code points of `input`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.adapter.dialects.seam import Answer, Dialect, Dialects
from insource.adapter.json_body import read_json
from insource.adapter.refusals import server_failure
from insource.adapter.replies import EVENT_STREAM, stream
from insource.adapter.requests import Speech
from insource.adapter.sse import event_of, events
from insource.wire.vocabulary import Modality, Unit

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Response format -> content type, as OpenAI sends them."""
EVENT_MAX_BYTES = 16 << 20
"""A server that makes a sentence at a time sends one in one event: a minute of it as PCM is 4 MiB in base64."""
_BEGINNINGS = {"wav": b"RIFF", "flac": b"fLaC", "opus": b"OggS"}
_NO_SOUND = (b"<!", b"<h", b"<H", b"<?", b"{")


class SpeechOperation:
    """See `Operation`."""

    path = "/v1/audio/speech"
    modality = Modality.SPEECH
    limit_bytes = 256 * 1024
    """Above the longest texts that are allowed, all of it escaped."""

    @asynccontextmanager
    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> AsyncIterator[Speech]:
        """See `Operation`."""
        yield Speech.of(await read_json(request, limit_bytes))

    def dialect(self, dialects: Dialects) -> Dialect[Speech] | None:
        """See `Operation`."""
        return dialects.speech

    def known(self, wanted: Speech, attempt: Attempt) -> Mapping[Unit, int]:  # noqa: ARG002
        """See `Operation`."""
        return {Unit.CHARACTERS: len(wanted.input)}

    def most(self, wanted: Speech, attempt: Attempt) -> Mapping[Unit, int]:
        """See `Operation`."""
        return self.known(wanted, attempt)

    async def answer(
        self, request: web.BaseRequest, attempt: Attempt, wanted: Speech, given: Answer
    ) -> web.StreamResponse:
        """See `Operation`."""
        if wanted.stream_format == "sse":
            return await stream(request, attempt, EVENT_STREAM, _events(given, attempt))
        return await stream(request, attempt, CONTENT_TYPES[wanted.response_format], sound(given, wanted))


async def sound(given: Answer, wanted: Speech) -> AsyncGenerator[bytes]:
    """The sound as it comes. Raises a server failure for what is none, as far as its type and its beginning tell."""
    kind = given.content_type
    if not kind.startswith("audio/") and kind not in ("application/octet-stream", ""):
        raise server_failure("The backend's answer is no sound.", reason="invalid_answer")
    begun = False
    async for chunk in given.chunks:
        if not chunk:
            continue
        if not begun:
            _check_beginning(chunk, wanted.response_format)
            begun = True
        yield chunk
    if not begun:
        raise server_failure("The backend's answer is empty.", reason="invalid_answer")


def _check_beginning(chunk: bytes, response_format: str) -> None:
    mark = _BEGINNINGS.get(response_format)
    if mark is not None:
        wrong = not chunk.startswith(mark[: len(chunk)])
    elif response_format == "pcm":
        wrong = False
    else:
        wrong = chunk.startswith((*_NO_SOUND, *_BEGINNINGS.values()))
    if wrong:
        raise server_failure(f"The backend's answer is not {response_format}.", reason="invalid_answer")


async def _events(given: Answer, attempt: Attempt) -> AsyncGenerator[bytes]:
    """The events, closed by `speech.audio.done`. Raises a Refusal when the backend ends early."""
    if given.content_type != EVENT_STREAM:
        raise server_failure("The backend's answer is no stream of events.", reason="invalid_answer")
    begun = False
    try:
        async for event in events(given.chunks, EVENT_MAX_BYTES):
            if event["type"] == "speech.audio.delta" and isinstance(event.get("audio"), str):
                begun = True
                yield event_of(event)
            elif event["type"] == "speech.audio.done":
                if not begun:
                    raise server_failure("The backend's answer is empty.", reason="invalid_answer")
                _note_usage(attempt, event.get("usage"))
                yield event_of(event)
                return
            elif event["type"] == "error":
                break
    except ValueError as problem:
        raise server_failure("The backend sent something else than events.", reason="invalid_answer") from problem
    raise server_failure("The backend's stream ended early.", reason="broken_off")


def _note_usage(attempt: Attempt, usage: object) -> None:
    # Our own servers' tokens are nobody's bill, and characters are what we count.
    if attempt.route.vendor and isinstance(usage, Mapping):
        attempt.billed(Unit.INPUT_TOKENS, usage.get("input_tokens"))
        attempt.billed(Unit.OUTPUT_TOKENS, usage.get("output_tokens"))
