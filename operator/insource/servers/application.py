"""The HTTP face that all transcription servers share: OpenAI's wire format over any `Recogniser`.

It listens before the model is there, and says 503 until then, so that a probe can tell loading from dead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from aiohttp import web

from insource.servers.counts import Counts, Identity
from insource.servers.recognition import BadAudioError, Options, Recogniser, Running, running
from insource.servers.requests import RefusedRequestError, TranscriptionRequest, bad_audio, read_request
from insource.servers.settings import ServerSettings
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


class TranscriptionServer:
    """Holds the recogniser once it is loaded, the slots and the counts."""

    def __init__(self, settings: ServerSettings, load: Callable[[], Recogniser]) -> None:
        self._settings = settings
        self._load = load
        self._recogniser: Recogniser | None = None
        self._threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="slot")
        self._loading: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        """Why loading failed; the program ends with it."""
        self.counts = Counts(settings.count_file)

    def application(self) -> web.Application:
        """All routes; loading begins when the application starts."""
        app = web.Application(middlewares=[_errors])
        app.add_routes(
            [
                web.post("/v1/audio/transcriptions", self._transcribe),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/healthz", self._alive),
                web.get("/readyz", self._health),
                web.get("/count", self._count),
                web.get("/metrics", self._metrics),
            ]
        )
        app.on_startup.append(self._start)
        app.on_cleanup.append(self._stop)
        return app

    async def ready(self) -> None:
        """Return once the model is loaded; raises what loading raised."""
        assert self._loading is not None, "the application has not started"
        await asyncio.shield(self._loading)
        if self.failure is not None:
            raise self.failure

    async def _start(self, app: web.Application) -> None:
        del app
        self._loading = asyncio.create_task(self._load_model())

    async def _load_model(self) -> None:
        try:
            self._recogniser = await asyncio.get_running_loop().run_in_executor(self._threads, self._load)
        except Exception as error:
            self.failure = error
            return
        log.info("ready", model=self._settings.model_name, slots=self._settings.slots)

    async def _stop(self, app: web.Application) -> None:
        del app
        if self._loading is not None:
            await self._loading
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.counts.close()

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        recogniser = self._recogniser
        if recogniser is None:
            return _loading_answer()
        identity = Identity.of(request.headers)
        self.counts.note("begun", identity)
        asked: TranscriptionRequest | None = None
        try:
            asked = await read_request(request, self._settings.model_name)
            answer = await self._answer(request, recogniser, asked)
        except asyncio.CancelledError:
            self.counts.note("cancelled", identity)
            raise
        except BaseException:
            self.counts.note("failed", identity)
            raise
        finally:
            if asked is not None:
                asked.audio.close()
        self.counts.note("completed", identity)
        return answer

    async def _answer(
        self, request: web.Request, recogniser: Recogniser, asked: TranscriptionRequest
    ) -> web.StreamResponse:
        options = Options(asked.prompt, asked.temperature, words="word" in asked.granularities)
        try:
            async with running(recogniser, asked.audio, options, self._threads) as run:
                duration_s = await run.duration_s()
                if asked.stream:
                    return await _stream(request, run)
                segments = [segment async for segment in run.segments()]
        except BadAudioError as error:
            raise bad_audio(error) from error
        return _render(segments, duration_s, asked)

    async def _models(self, request: web.Request) -> web.Response:
        del request
        model = {"id": self._settings.model_name, "object": "model", "created": 0, "owned_by": "insource"}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return _loading_answer() if self._recogniser is None else web.json_response({"status": "ok"})

    async def _alive(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"status": "ok"})

    async def _count(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.counts.report())

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self.counts.metrics(), headers={"content-type": "text/plain; version=0.0.4"})


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


def _loading_answer() -> web.Response:
    body = error_body("The model is still loading.", type="server_error", code="loading")
    return web.json_response(body, status=503, headers={"retry-after": "1"})


@web.middleware
async def _errors(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except RefusedRequestError as refused:
        return refused.response()
    except web.HTTPException as refused:
        message = f"{request.method} {request.path}: {refused.reason}"
        body = error_body(message, type="invalid_request_error")
        allow = {"allow": refused.headers["allow"]} if "allow" in refused.headers else {}
        return web.json_response(body, status=refused.status, headers=allow)
    except asyncio.CancelledError:
        raise
    except ConnectionError:
        raise  # the client left while it was being answered
    except Exception:
        log.exception("request failed", path=request.path)
        body = error_body("The server failed while it processed your request.", type="server_error")
        return web.json_response(body, status=500)
    return answer
