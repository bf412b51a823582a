"""What every emulated vendor has: keys, limits, faults, the bill, `/emulator/*`. A vendor brings routes and manners.

Emulation only: `/emulator/meter`, `/emulator/faults` and the probes are open to whoever can connect, so it refuses to
listen on anything but loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from aiohttp import web
from pydantic import ValidationError

from insource.emulator.bill import Bill, Line, itemise
from insource.emulator.engine import Echo, Engine, Pocketsphinx
from insource.emulator.errors import OpenAIError, VendorError
from insource.emulator.faults import HTML, Faults, half, retry_headers
from insource.emulator.limits import RequestBucket, Verdict
from insource.emulator.models import Model
from insource.emulator.settings import EmulatorSettings
from insource.emulator.voices import Pico, Tone, Voice
from insource.env import Env

log = structlog.get_logger("insource.emulator")
ID = web.RequestKey("id", str)
VERDICT = web.RequestKey("verdict", Verdict)


@dataclass(frozen=True)
class Answer:
    """A success: a body of known length, or one that is sent in chunks as it comes."""

    body: bytes | AsyncIterator[bytes]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """One request, read and checked; `produce` does the work and bills it."""

    model: str
    produce: Callable[[], Awaitable[Answer]]
    drop: Callable[[], None] = lambda: None
    """Give back what was read, when `produce` is not called."""


Reader = Callable[[web.Request], Awaitable[Order]]


class Manners(Protocol):
    """How a vendor says things that are not the answer itself."""

    requests_per_minute: int

    def request_id(self, uuid: str) -> str:
        """A request's id in the vendor's form."""
        ...

    def authenticate(self, request: web.Request) -> None:
        """Raises `VendorError` (401)."""
        ...

    def refused_key(self) -> VendorError:
        """What a caller hears whose key has just been revoked."""
        ...

    def rate_limited(self, model: str, verdict: Verdict) -> VendorError:
        """The 429 for one request too many."""
        ...

    def failure(self, status: int, request_id: str) -> VendorError:
        """An error that is the vendor's own fault."""
        ...

    def not_found(self, request: web.Request, status: int) -> VendorError:
        """No such URL (404), or not by this method (405)."""
        ...

    def headers(self, request_id: str, verdict: Verdict | None, took_ms: float) -> dict[str, str]:
        """Headers of every answer."""
        ...


class Service:
    """The state of one emulated vendor."""

    def __init__(self, settings: EmulatorSettings, env: Env, manners: Manners) -> None:
        self.settings = settings
        self.env = env
        self.ear: Engine = Echo() if settings.engine == "echo" else Pocketsphinx(settings.workers)
        self.voice: Voice = Tone() if settings.engine == "echo" else Pico(settings.workers)
        self._manners = manners
        self._bill = Bill(settings.data)
        self._faults = Faults()
        self._changed = asyncio.Event()
        self._per_minute = settings.requests_per_minute or manners.requests_per_minute
        self._bucket = RequestBucket(self._per_minute, env.clock.monotonic())
        self._arrived = 0
        self._work: set[asyncio.Task[Answer]] = set()

    def application(self, routes: list[web.RouteDef]) -> web.Application:
        """The vendor's routes and ours."""
        app = web.Application(middlewares=[self._dress])
        app.add_routes(
            [
                *routes,
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

    def sold(self, path: str, read: Reader) -> web.RouteDef:
        """A route of billed work."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, read)

        return web.post(path, handle)

    def asked(self, path: str, handler: Callable[[web.Request], Any]) -> web.RouteDef:
        """A route that needs a key and costs nothing; `handler` gives JSON."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self._manners.authenticate(request)
            return web.json_response(handler(request))

        return web.get(path, handle, allow_head=False)

    async def bill(self, request: web.Request, model: Model, units: Mapping[str, int], seconds: int = 0) -> None:
        """Put it on the bill; return when it is on disk."""
        items = itemise(model, {unit: quantity for unit, quantity in units.items() if quantity})
        headers = request.headers
        await self._bill.add(
            Line(
                id=request[ID],
                model=model.name,
                seconds=seconds,
                nano_usd=sum(item.nano_usd for item in items),
                client_request_id=headers.get("x-client-request-id", headers.get("x-ms-client-request-id", "")),
                caller_request_id=headers.get("x-request-id", ""),
                at=self.env.clock.now().isoformat(),
                path=request.path,
                items=items,
            )
        )

    async def _serve(self, request: web.Request, read: Reader) -> web.StreamResponse:
        began = self.env.clock.monotonic()
        self._arrived += 1
        self._manners.authenticate(request)
        verdict = self._bucket.take(began)
        request[VERDICT] = verdict
        order = await read(request)
        try:
            if not verdict.admitted:
                raise self._late(self._manners.rate_limited(order.model, verdict), request.path)
            instead = await self._suffer(request, order.model)
        except BaseException:
            order.drop()
            raise
        if instead is not None:
            order.drop()
            return await self._send(request, instead, began)
        # In a task of its own: a caller who leaves now is billed all the same.
        work = asyncio.create_task(self._produce(request, order))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        return await self._send(request, await asyncio.shield(work), began)

    async def _produce(self, request: web.Request, order: Order) -> Answer:
        try:
            return await order.produce()
        except (EOFError, OSError) as error:
            log.warning("the engine or the bill failed", error=str(error))
            raise self._manners.failure(500, request[ID]) from error

    async def _suffer(self, request: web.Request, model: str) -> Answer | None:
        """What goes wrong before any work is done; an answer in the work's place, or none."""
        if self._faults.on(request.path).latency_ms:
            await self.env.clock.sleep(self._faults.latency_ms / 1000)
        while self._faults.on(request.path).hang:
            await self._changed.wait()
        faults = self._faults.on(request.path)
        if faults.reset:
            _abort(request)
        if faults.error_rate and self.env.rng.random() < faults.error_rate:
            raise self._own_fault(request, faults, model)
        if faults.answer == "html":
            return Answer(HTML, "text/html")
        if faults.answer == "error":
            return Answer(_text(self._manners.failure(500, request[ID]).body).encode(), "application/json")
        return None

    def _own_fault(self, request: web.Request, faults: Faults, model: str) -> VendorError:
        if faults.status == 401:
            return self._manners.refused_key()
        if faults.status == 429:
            wait = float(faults.retry_after_s)
            full = Verdict(False, self._per_minute, 0, wait, wait)
            request[VERDICT] = full
            return self._late(self._manners.rate_limited(model, full), request.path)
        return self._manners.failure(faults.status, request[ID])

    def _late(self, error: VendorError, path: str) -> VendorError:
        error.headers = retry_headers(error.headers, self._faults.on(path), self.env.clock.now())
        return error

    async def _send(self, request: web.Request, answer: Answer, began: float) -> web.StreamResponse:
        faults = self._faults.on(request.path)
        took_ms = (self.env.clock.monotonic() - began) * 1000
        headers = {**self._headers(request, took_ms), **answer.headers}
        if isinstance(answer.body, bytes) and faults.answer != "closed" and not faults.byte_ms:
            body = answer.body
            if faults.answer == "empty":
                body = b""
            elif faults.answer == "truncated":
                body = b"".join(half([body]))
            return web.Response(body=body, headers={**headers, "content-type": answer.content_type})
        chunks = _chunks(answer.body)
        response = web.StreamResponse(headers={**headers, "content-type": answer.content_type})
        if isinstance(answer.body, bytes) and faults.answer != "truncated":
            response.content_length = 0 if faults.answer == "empty" else len(answer.body)
        if faults.answer in ("empty", "truncated", "closed"):
            whole = [chunk async for chunk in chunks]
            chunks = _listed([] if faults.answer == "empty" else half(whole))
        await response.prepare(request)
        await self._write(response, chunks, faults)
        if faults.answer == "closed":
            _abort(request)
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, chunks: AsyncIterator[bytes], faults: Faults) -> None:
        async for chunk in chunks:
            if not faults.byte_ms:
                await response.write(chunk)
                continue
            for at in range(len(chunk)):
                await response.write(chunk[at : at + 1])
                await self.env.clock.sleep(faults.byte_ms / 1000)

    def _headers(self, request: web.Request, took_ms: float) -> dict[str, str]:
        return self._manners.headers(request[ID], request.get(VERDICT), took_ms)

    @web.middleware
    async def _dress(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Errors in the vendor's shape, and its headers on everything."""
        began = self.env.clock.monotonic()
        request[ID] = self._manners.request_id(self.env.ids.uuid())
        try:
            response: web.StreamResponse = await handler(request)
        except VendorError as error:
            response = _error_response(error)
        except web.HTTPException as error:
            response = _error_response(self._manners.not_found(request, error.status))
        if not response.prepared:
            headers = self._headers(request, (self.env.clock.monotonic() - began) * 1000)
            response.headers.update(headers)
        return response

    async def _stop(self, app: web.Application) -> None:
        del app
        self._faults = Faults()
        self._changed.set()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.ear.close()
        await self.voice.close()
        await self._bill.close()

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
        self._bucket = RequestBucket(faults.rate_limit_rpm or self._per_minute, self.env.clock.monotonic())
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


async def _listed(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _chunks(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    return _listed([body]) if isinstance(body, bytes) else body


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("fault")


def _text(body: dict[str, Any] | str) -> str:
    return body if isinstance(body, str) else web.json_response(body).text or ""


def _error_response(error: VendorError) -> web.Response:
    if isinstance(error.body, str):
        return web.Response(text=error.body, status=error.status, headers=error.headers)
    return web.json_response(error.body, status=error.status, headers=error.headers)
