"""The HTTP face of speech servers: OpenAI's wire format over any `Speaker`, sent sentence by sentence."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog
from aiohttp import web

from insource.servers.audio_encoding import CONTENT_TYPES, Encoder
from insource.servers.chunks import chunks_of
from insource.servers.requests import RefusedRequestError
from insource.servers.serving import ModelServer
from insource.servers.settings import ServerSettings
from insource.servers.speech_request import SpeechRequest, read_speech_request
from insource.wire.errors import error_body

log = structlog.get_logger("insource.servers")

VOICE_HEADER = "x-insource-voice"
"""On every answer: the voice that speaks, whatever name it was asked for by."""
DELTA_BYTES = 12 << 10
"""Of sound in one event, at most (a quarter of a second of pcm): who reads whole events need not wait for a sentence's
last byte. Without a rest in base64's groups of three."""
NOTHING_TO_SAY = "There is nothing in 'input' that can be spoken."


@dataclass(frozen=True)
class Spoken:
    """What one call of the model made: its samples, and what it took and gave in the model's own units."""

    samples: Any
    """int16, one dimension, at least one."""
    input_tokens: int
    output_tokens: int


class Speaker(Protocol):
    """A speech synthesiser; called from worker threads, several at once."""

    @property
    def voices(self) -> Sequence[str]:
        """Names of its one voice, at least one."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of the samples [Hz]."""
        ...

    def speak(self, text: str, speed: float) -> Iterator[Spoken]:
        """Say `text`, about a sentence at a time, each when it is asked for; nothing if nothing in it can be said."""
        ...

    def close(self) -> None:
        """Give up what it holds; called once, when nothing speaks any more."""
        ...


class NothingToSayError(Exception):
    """The text has nothing that can be spoken."""


class BrokenOffError(Exception):
    """The speaker failed when part of `response` was sent already. It has been ended, and the client can tell."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__("the speaker failed")
        self.response = response


class Usage:
    """Sums of one answer."""

    def __init__(self) -> None:
        self.input_tokens = 0
        self.output_tokens = 0

    def report(self) -> dict[str, int]:
        """OpenAI's `usage` of `speech.audio.done`."""
        total = self.input_tokens + self.output_tokens
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "total_tokens": total}


class SpeechServer(ModelServer[Speaker]):
    """A speaker behind `/v1/audio/speech`."""

    def __init__(self, settings: ServerSettings, load: Callable[[], Speaker]) -> None:
        """As `ModelServer`; the speaker is closed when the server ends."""
        self._speaker: Speaker | None = None

        def kept() -> Speaker:
            self._speaker = load()
            return self._speaker

        super().__init__(settings, kept)

    def application(self) -> web.Application:
        """See `ModelServer`."""
        app = super().application()
        app.on_cleanup.append(self._close)  # after the threads, which still speak until then, have ended
        return app

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """See `ModelServer`."""
        return [web.post("/v1/audio/speech", self._speak)]

    async def _close(self, app: web.Application) -> None:
        del app
        if self._speaker is not None:
            self._speaker.close()

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self.counted(request, self._read_and_answer)
        except BrokenOffError as broken:
            return broken.response

    async def _read_and_answer(self, request: web.Request, speaker: Speaker) -> web.StreamResponse:
        asked = await read_speech_request(request, self.settings.model_name, speaker.voices)
        usage = Usage()
        async with chunks_of(lambda: speech(speaker, asked, usage), self.threads) as chunks:
            arriving = aiter(chunks)
            try:
                first = await anext(arriving)  # what fails until now is an answer with a status of its own
            except NothingToSayError:
                raise RefusedRequestError(NOTHING_TO_SAY, param="input", code="invalid_value") from None
            response = web.StreamResponse(headers={VOICE_HEADER: asked.voice, **_headers(asked)})
            await response.prepare(request)
            if asked.stream_format == "sse":
                await _send_events(response, first, arriving, usage)
            else:
                await _send_audio(request, response, first, arriving)
            await response.write_eof()
            return response


def speech(speaker: Speaker, asked: SpeechRequest, usage: Usage) -> Generator[bytes, None, None]:
    """The answer's audio, each piece as soon as a sentence is spoken and encoded; `usage` grows with it.

    Raises `NothingToSayError` before the first piece.
    """
    encoder = Encoder(asked.audio_format, speaker.sample_rate)
    silent = True
    for spoken in speaker.speak(asked.text, asked.speed):
        silent = False
        usage.input_tokens += spoken.input_tokens
        usage.output_tokens += spoken.output_tokens
        if piece := encoder.encode(spoken.samples):
            yield piece
    if silent:
        raise NothingToSayError
    if piece := encoder.finish():
        yield piece


def _headers(asked: SpeechRequest) -> dict[str, str]:
    if asked.stream_format == "sse":
        return {"content-type": "text/event-stream", "cache-control": "no-cache"}
    return {"content-type": CONTENT_TYPES[asked.audio_format]}


async def _send_audio(
    request: web.Request, response: web.StreamResponse, first: bytes, arriving: AsyncIterator[bytes]
) -> None:
    await response.write(first)
    try:
        async for chunk in arriving:
            await response.write(chunk)
    except ConnectionError:
        raise
    except (
        Exception
    ) as error:  # the status is sent: all that is left is to break off, so that nobody takes it for whole
        log.exception("speech broke off")
        if request.transport is not None:
            request.transport.abort()
        raise BrokenOffError(response) from error


async def _send_events(
    response: web.StreamResponse, first: bytes, arriving: AsyncIterator[bytes], usage: Usage
) -> None:
    await _send_deltas(response, first)
    try:
        async for chunk in arriving:
            await _send_deltas(response, chunk)
    except ConnectionError:
        raise
    except Exception as error:  # an event, and an end without `done`
        log.exception("speech broke off")
        problem = error_body(f"The speaker failed: {type(error).__name__}", type="server_error")
        await _send(response, {"type": "error", **problem})
        await response.write_eof()
        raise BrokenOffError(response) from error
    await _send(response, {"type": "speech.audio.done", "usage": usage.report()})


async def _send_deltas(response: web.StreamResponse, chunk: bytes) -> None:
    for start in range(0, len(chunk), DELTA_BYTES):
        audio = base64.b64encode(chunk[start : start + DELTA_BYTES]).decode()
        await _send(response, {"type": "speech.audio.delta", "audio": audio})


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + orjson.dumps(event) + b"\n\n")
