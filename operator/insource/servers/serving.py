"""What all model servers share: loading beside a listening port, slots, health, counts, and errors in OpenAI's shape.

It listens before the model is there, and says 503 until then, so that a probe can tell loading from dead.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import structlog
from aiohttp import web

from insource.servers.counts import Counts, Identity
from insource.servers.requests import RefusedRequestError
from insource.servers.settings import ServerSettings
from insource.wire.errors import error_body

log = structlog.get_logger("insource.servers")
M = TypeVar("M")
"""The loaded model."""


class ModelServer(ABC, Generic[M]):
    """Holds the model once it is loaded, the slots and the counts. A subclass adds the routes of its modality."""

    def __init__(self, settings: ServerSettings, load: Callable[[], M]) -> None:
        """`load` is called in a thread; what it raises ends the program."""
        self.settings = settings
        self._load = load
        self._model: M | None = None
        self.threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="slot")
        """One per slot: work of the model runs here, and waits here for its turn."""
        self._loading: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        """Why loading failed; the program ends with it."""
        self.counts = Counts(settings.count_file)

    @abstractmethod
    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """What this server answers beside health, models and counts; each by way of `counted`."""

    def application(self) -> web.Application:
        """All routes; loading begins when the application starts."""
        app = web.Application(middlewares=[_errors])
        app.add_routes(
            [
                *self.routes(),
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

    async def counted(
        self, request: web.Request, work: Callable[[web.Request, M], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer by `work`, and count how it ended; 503 while the model is loading."""
        if self._model is None:
            return _loading_answer()
        identity = Identity.of(request.headers)
        self.counts.note("begun", identity)
        try:
            answer = await work(request, self._model)
        except asyncio.CancelledError:
            self.counts.note("cancelled", identity)
            raise
        except BaseException:
            self.counts.note("failed", identity)
            raise
        self.counts.note("completed", identity)
        return answer

    async def _start(self, app: web.Application) -> None:
        del app
        self._loading = asyncio.create_task(self._load_model())

    async def _load_model(self) -> None:
        try:
            self._model = await asyncio.get_running_loop().run_in_executor(self.threads, self._load)
        except Exception as error:
            self.failure = error
            return
        log.info("ready", model=self.settings.model_name, slots=self.settings.slots)

    async def _stop(self, app: web.Application) -> None:
        del app
        if self._loading is not None:
            await self._loading
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.counts.close()

    async def _models(self, request: web.Request) -> web.Response:
        del request
        model = {"id": self.settings.model_name, "object": "model", "created": 0, "owned_by": "insource"}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return _loading_answer() if self._model is None else web.json_response({"status": "ok"})

    async def _alive(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"status": "ok"})

    async def _count(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.counts.report())

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self.counts.metrics(), headers={"content-type": "text/plain; version=0.0.4"})


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
    except Exception as error:
        log.exception("request failed", path=request.path)
        if request.writer.output_size:  # a second answer would be read as the rest of the first: cut it off
            raise ConnectionAbortedError("the answer broke off") from error
        body = error_body("The server failed while it processed your request.", type="server_error")
        return web.json_response(body, status=500)
    return answer
