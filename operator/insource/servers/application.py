"""The HTTP face that all transcription servers share: OpenAI's wire format over any `Recogniser`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import structlog
from aiohttp import web

from insource.servers.recognition import BadAudioError, Options, Recogniser, Running, running
from insource.servers.requests import TranscriptionRequest, bad_audio, read_request
from insource.servers.serving import ModelServer
from insource.servers.transcripts import (
    Segment,
    delta_event,
    done_event,
    full_text,
    render_json,
    render_srt,
    render_text,
    render_verbose,
    render_vtt,
)
from insource.wire.errors import error_body

log = structlog.get_logger("insource.servers")


class TranscriptionServer(ModelServer[Recogniser]):
    """A recogniser behind `/v1/audio/transcriptions`."""

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """See `ModelServer`."""
        return [web.post("/v1/audio/transcriptions", self._transcribe)]

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        return await self.counted(request, self._read_and_answer)

    async def _read_and_answer(self, request: web.Request, recogniser: Recogniser) -> web.StreamResponse:
        asked = await read_request(request, self.settings.model_name)
        try:
            return await self._answer(request, recogniser, asked)
        finally:
            asked.audio.close()

    async def _answer(
        self, request: web.Request, recogniser: Recogniser, asked: TranscriptionRequest
    ) -> web.StreamResponse:
        options = Options(asked.prompt, asked.temperature, words="word" in asked.granularities)
        try:
            async with running(recogniser, asked.audio, options, self.threads) as run:
                duration_s = await run.duration_s()
                if asked.stream:
                    return await _stream(request, run)
                segments = [segment async for segment in run.segments()]
        except BadAudioError as error:
            raise bad_audio(error) from error
        return _render(segments, duration_s, asked)


def _render(segments: list[Segment], duration_s: float, asked: TranscriptionRequest) -> web.Response:
    match asked.response_format:
        case "json":
            return web.json_response(render_json(segments, duration_s))
        case "verbose_json":
            return web.json_response(render_verbose(segments, duration_s, words="word" in asked.granularities))
        case "text":
            return web.Response(text=render_text(segments))
        case "srt":
            return web.Response(text=render_srt(segments))
        case "vtt":
            return web.Response(text=render_vtt(segments), content_type="text/vtt")


async def _stream(request: web.Request, run: Running) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    await response.prepare(request)
    segments: list[Segment] = []
    try:
        async for segment in run.segments():
            text = segment.text if segments else segment.text.lstrip()
            segments.append(segment)
            await _send(response, delta_event(text))
        await _send(response, done_event(full_text(segments)))
    except Exception as error:  # the status is sent: all that is left is an event, and an end without `done`
        log.exception("stream failed")
        await _send(response, error_body(f"The recogniser failed: {type(error).__name__}", type="server_error"))
        raise
    await response.write_eof()
    return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
