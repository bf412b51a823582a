"""OpenAI's transcription API, emulated: keys, limits, errors, headers, answers and the bill.

Emulation only: `/emulator/meter`, `/emulator/faults` and the probes are open to whoever can connect, so it refuses to
listen on anything but loopback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import signal
import socket
from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError

from insource.emulator.bill import Bill, Line, price_nano_usd, usage_of, whole_seconds
from insource.emulator.engine import Echo, Engine, Pocketsphinx
from insource.emulator.faults import Faults, fault_error
from insource.emulator.forms import MODELS, Form, OpenAIError, read_form, render, stream_events
from insource.emulator.keys import authenticate
from insource.emulator.limits import RequestBucket, Verdict
from insource.emulator.settings import EmulatorSettings
from insource.emulator.sound import RATE, UndecodableError, decode_pcm
from insource.env import Env, system_env

log = structlog.get_logger("insource.emulator")

LIMITS_PAGE = "https://platform.openai.com/account/rate-limits"
SHORTEST_S = 0.1
ID = web.RequestKey("id", str)
VERDICT = web.RequestKey("verdict", Verdict)


class Emulator:
    """The state of one emulated vendor."""

    def __init__(self, settings: EmulatorSettings, env: Env) -> None:
        self._settings = settings
        self._env = env
        self._engine: Engine = Echo() if settings.engine == "echo" else Pocketsphinx(settings.workers)
        self._bill = Bill(settings.data)
        self._faults = Faults()
        self._changed = asyncio.Event()
        self._bucket = RequestBucket(settings.requests_per_minute, env.clock.monotonic())
        self._arrived = 0
        self._work: set[asyncio.Task[web.StreamResponse]] = set()

    def application(self) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[self._dress])
        app.add_routes(
            [
                web.post("/v1/audio/transcriptions", self._transcriptions),
                web.get("/v1/models", self._models),
                web.get("/emulator/meter", self._meter),
                web.get("/emulator/faults", self._read_faults),
                web.post("/emulator/faults", self._write_faults),
                web.get("/healthz", self._alive),
                web.get("/readyz", self._alive),
                web.get("/metrics", self._metrics),
            ]
        )
        app.on_cleanup.append(self._stop)
        return app

    async def _stop(self, app: web.Application) -> None:
        del app
        self._faults = Faults()
        self._changed.set()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._engine.close()
        await self._bill.close()

    @web.middleware
    async def _dress(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Errors in OpenAI's shape, and its headers on everything under /v1."""
        began = self._env.clock.monotonic()
        request[ID] = f"req_{self._env.ids.uuid().replace('-', '')}"
        try:
            response: web.StreamResponse = await handler(request)
        except OpenAIError as error:
            response = web.json_response(error.body, status=error.status, headers=error.headers)
        except web.HTTPException as error:
            message = f"Invalid URL ({request.method} {request.path})"
            body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
            response = web.json_response(body, status=error.status)
        if not response.prepared:
            took_ms = (self._env.clock.monotonic() - began) * 1000
            response.headers.update(self._vendor_headers(request, took_ms))
        return response

    def _vendor_headers(self, request: web.Request, took_ms: float) -> dict[str, str]:
        verdict: Verdict | None = request.get(VERDICT)
        return {
            "x-request-id": request[ID],
            "openai-version": "2020-10-01",
            "openai-organization": "org-emulator",
            "openai-processing-ms": str(round(took_ms)),
            **(verdict.headers() if verdict else {}),
        }

    async def _transcriptions(self, request: web.Request) -> web.StreamResponse:
        self._arrived += 1
        authenticate(request.headers.get("authorization", ""), self._settings.key_file)
        verdict = self._bucket.take(self._env.clock.monotonic())
        request[VERDICT] = verdict
        model_form = await read_form(request)
        try:
            if not verdict.admitted:
                raise _rate_limited(model_form.model, verdict)
            await self._suffer(request)
            # In a task of its own: a caller who leaves now is billed all the same.
            work = asyncio.create_task(self._transcribe(request, model_form))
        except BaseException:
            model_form.audio.close()
            raise
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        return await asyncio.shield(work)

    async def _transcribe(self, request: web.Request, form: Form) -> web.StreamResponse:
        began = self._env.clock.monotonic()
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
        try:
            words = await self._engine.recognise(pcm)
        except (EOFError, OSError) as error:
            log.warning("recogniser died", error=str(error))
            raise OpenAIError(fault_error(500)["error"]["message"], status=500, type="server_error") from error
        seconds = whole_seconds(len(pcm) // 2, RATE)
        text = " ".join(word.word for word in words)
        usage = usage_of(form.model, seconds, audio_s, form.fields.get("prompt", ""), text)
        await self._bill.add(
            Line(
                id=request[ID],
                model=form.model,
                seconds=seconds,
                nano_usd=price_nano_usd(form.model, usage),
                client_request_id=request.headers.get("x-client-request-id", ""),
                caller_request_id=request.headers.get("x-request-id", ""),
                at=self._env.clock.now().isoformat(),
            )
        )
        if not form.stream:
            return render(form, words, audio_s, usage)
        took_ms = (self._env.clock.monotonic() - began) * 1000
        response = web.StreamResponse(headers=self._vendor_headers(request, took_ms))
        response.content_type = "text/event-stream"
        await response.prepare(request)
        for event in stream_events(words, usage):
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await response.write_eof()
        return response

    async def _suffer(self, request: web.Request) -> None:
        if self._faults.latency_ms:
            await self._env.clock.sleep(self._faults.latency_ms / 1000)
        while self._faults.hang:
            await self._changed.wait()
        if self._faults.reset:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("fault: reset")
        if self._faults.error_rate and self._env.rng.random() < self._faults.error_rate:
            error = fault_error(self._faults.status)["error"]
            raise OpenAIError(error["message"], status=self._faults.status, type=error["type"])

    async def _models(self, request: web.Request) -> web.Response:
        authenticate(request.headers.get("authorization", ""), self._settings.key_file)
        data = [{"id": model, "object": "model", "created": 1_677_532_384, "owned_by": "openai"} for model in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def _meter(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({**self._bill.report(), "arrived": self._arrived})

    async def _read_faults(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self._faults.model_dump())

    async def _write_faults(self, request: web.Request) -> web.Response:
        try:
            faults = Faults.model_validate_json(await request.read() or b"{}")
        except ValidationError as error:
            raise OpenAIError(str(error)) from error
        self._faults = faults
        self._bucket = RequestBucket(
            faults.rate_limit_rpm or self._settings.requests_per_minute, self._env.clock.monotonic()
        )
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return web.json_response(faults.model_dump())

    async def _alive(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"status": "ok"})

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        text = (
            f"# TYPE insource_emulator_requests_total counter\ninsource_emulator_requests_total {self._arrived}\n"
            f"# TYPE insource_emulator_billed_requests_total counter\n"
            f"insource_emulator_billed_requests_total {len(self._bill.lines)}\n"
        )
        return web.Response(text=text, headers={"content-type": "text/plain; version=0.0.4"})


def _rate_limited(model: str, verdict: Verdict) -> OpenAIError:
    message = (
        f"Rate limit reached for {model} in organization org-emulator on requests per min (RPM): "
        f"Limit {verdict.limit}, Used {verdict.limit}, Requested 1. Please try again in {verdict.retry_after_s:.3g}s. "
        f"Visit {LIMITS_PAGE} to learn more."
    )
    return OpenAIError(message, status=429, type="requests", code="rate_limit_exceeded")


def run_emulator(settings: EmulatorSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `OSError` if the address is taken, `ValueError` if it is not loopback."""
    with asyncio.Runner() as runner:
        runner.run(_serve(settings))


async def _serve(settings: EmulatorSettings) -> None:
    host, _, port = settings.listen.rpartition(":")
    if host != "localhost" and not ipaddress.ip_address(host.strip("[]")).is_loopback:
        raise ValueError(f"--listen {settings.listen}: the emulator listens on loopback only, such as 127.0.0.1:0")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    emulator = Emulator(settings, system_env())
    runner = web.AppRunner(emulator.application(), handler_cancellation=True, shutdown_timeout=5.0, access_log=None)
    await runner.setup()
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), backlog=1024)
        await web.SockSite(runner, listener).start()
        log.info("listening", host=host, port=listener.getsockname()[1], engine=settings.engine)
        await stop.wait()
    finally:
        await runner.cleanup()
