"""Plain `/v1/...`: finds whom a request's `model` means, and sends it in again at that ModelDeployment's own path.

Envoy has checked the key and says whose it is. Nothing goes in before the whole body is here: what is refused, or left
by its client, was never an attempt. Slower than the canonical path by this and by a second way through Envoy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import orjson
import structlog
from aiohttp import web

from insource.gateway.directory import Directory, model_object
from insource.gateway.form_model import FormModel
from insource.gateway.json_model import JsonModel
from insource.gateway.peeking import BadBodyError, ModelReader
from insource.gateway.reentry import Reentry, relay
from insource.gateway.spool import Spool, SpoolBudget, SpoolFull
from insource.gateway.view import NAME, DeploymentView
from insource.wire import headers, paths
from insource.wire.errors import error_body

MODELS = f"/{paths.PLAIN}/models"
SMALL_BYTES = 1 << 20
"""What is read of a body where nothing is served: enough to say that its model is unknown."""
_BAD = "invalid_request_error"
_OURS = "server_error"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PlainLimits:
    """What may be under way by name at once."""

    requests: int = 2000
    bytes: int = 2 << 30
    """Of bodies that are not yet sent on."""
    retry_after_s: int = 1


class _Refused(Exception):  # noqa: N818 it is an answer, not a fault
    def __init__(self, status: int, message: str, type_: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, type=type_, code=code, param=param)


class PlainServer:
    """The server on `plain.sock`."""

    def __init__(
        self, directory: Directory, reentry: Reentry, spool_dir: Path, limits: PlainLimits = PlainLimits()
    ) -> None:
        self._directory = directory
        self._reentry = reentry
        self._spool_dir = spool_dir
        self._limits = limits
        self._budget = SpoolBudget(limits.bytes)
        self.under_way = 0
        """Requests here now."""
        self.refused_total = 0
        """Requests that were answered with an error of ours."""

    def application(self) -> web.Application:
        """To be run with `handler_cancellation`, so that a client that leaves ends its request here."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request: from the directory, or as its ModelDeployment does."""
        self.under_way += 1
        try:
            if self.under_way > self._limits.requests:
                raise _Refused(503, "Too many requests by model name are under way.", _OURS, "overloaded")
            if request.path == MODELS or request.path.startswith(f"{MODELS}/"):
                return self._models(request)
            return await self._by_name(request)
        except _Refused as refusal:
            return self._refuse(request, refusal)
        finally:
            self.under_way -= 1

    def _models(self, request: web.Request) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise _not_allowed("GET")
        client = request.headers.get(headers.CLIENT, "")
        model = unquote(request.rel_url.raw_path[len(MODELS) :]).strip("/")
        if model:
            view = self._directory.resolve(client, model)
            if view is None:
                raise _unknown(model)
            return _json(model_object(model, view))
        listed = [model_object(name, view) for name, view in self._directory.names(client)]
        return _json({"object": "list", "data": listed})

    async def _by_name(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            raise _not_allowed("POST")
        client = request.headers.get(headers.CLIENT, "")
        spool = Spool(self._spool_dir, self._budget)
        try:
            model = await self._receive(request, spool, self._directory.longest_body or SMALL_BYTES)
            view = self._directory.resolve(client, model)
            if view is None:
                raise _unknown(model)
            if spool.size > view.max_body_bytes:
                raise _too_large(view.max_body_bytes)
            return await self._send(request, view, spool)
        except SpoolFull:
            words = "The requests by model name that are under way have filled their storage."
            raise _Refused(503, words, _OURS, "overloaded") from None
        except BadBodyError as error:
            raise _Refused(400, str(error), _BAD, error.code, error.param) from None
        finally:
            spool.close()

    async def _receive(self, request: web.Request, spool: Spool, limit: int) -> str:
        """The whole body into the spool; the `model` that it names."""
        reader = _reader(request)
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        async for chunk in request.content.iter_any():
            if spool.size + len(chunk) > limit:
                raise _too_large(limit)
            spool.write(chunk)
            reader.feed(chunk)
        return reader.model()

    async def _send(self, request: web.Request, view: DeploymentView, spool: Spool) -> web.StreamResponse:
        hop = f"{NAME}-{request.headers.get(headers.ATTEMPT_COUNT, '0')[:6]}"
        try:
            answer = await self._reentry.send(request, view.key, hop, _once(spool), spool.size)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("reentry_failed", error=type(error).__name__)
            raise _Refused(503, "The deployment did not answer.", _OURS, "upstream_unavailable") from None
        return await relay(request, answer)

    def _refuse(self, request: web.Request, refusal: _Refused) -> web.Response:
        self.refused_total += 1
        response = _json(refusal.body, refusal.status)
        if refusal.status == 503:
            response.headers["retry-after"] = str(self._limits.retry_after_s)
        if refusal.status == 405:
            response.headers["allow"] = "GET" if request.path.startswith(MODELS) else "POST"
        if request.can_read_body and not request.content.at_eof():
            response.force_close()
        return response


def _reader(request: web.Request) -> ModelReader:
    """Who understands this body. Raises _Refused (415), or BadBodyError."""
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        words = f"Content-Encoding {packed[:64]} is not understood here: send the body as it is."
        raise _Refused(415, words, _BAD, "unsupported_content_encoding")
    kind = aiohttp.helpers.parse_mimetype(request.headers.get("content-type", ""))
    if (kind.type, kind.subtype) == ("multipart", "form-data"):
        return FormModel(kind.parameters.get("boundary", ""))
    if kind.type == "application" and (kind.subtype == "json" or kind.suffix == "json"):
        return JsonModel()
    words = "The Content-Type must be application/json or multipart/form-data."
    raise _Refused(415, words, _BAD, "unsupported_content_type")


async def _once(spool: Spool) -> AsyncIterator[bytes]:
    """The body; with its last byte the spool is free, however long the answer takes."""
    async for chunk in spool.chunks():
        yield chunk
    spool.close()


def _unknown(model: str) -> _Refused:
    # Note: the same words whether there is none or it is somebody else's.
    words = f"The model `{model}` does not exist or you do not have access to it. `GET {MODELS}` lists yours."
    return _Refused(404, words, _BAD, "model_not_found", "model")


def _too_large(limit: int) -> _Refused:
    return _Refused(413, f"The request body is larger than {limit} bytes.", _BAD, "request_too_large")


def _not_allowed(method: str) -> _Refused:
    return _Refused(405, f"Only {method} is allowed here.", _BAD, "method_not_allowed")


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")
