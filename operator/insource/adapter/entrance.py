"""Where attempts come in: identity, the attempt's records, the path, and every answer's outcome header."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.adapter.backends import Backend
from insource.adapter.embeddings import Embeddings
from insource.adapter.identity import check_token, identify
from insource.adapter.images import ImageEdits, ImageGenerations
from insource.adapter.metrics import Metrics
from insource.adapter.operations import Operation, Operations
from insource.adapter.refusals import Refusal, client_error, server_failure, unrecorded
from insource.adapter.replies import ClientGone
from insource.adapter.settings import Settings
from insource.adapter.speech import SpeechOperation
from insource.adapter.text import ChatCompletions, Completions
from insource.adapter.transcriptions import TRANSCRIPTIONS, TRANSLATIONS, Transcriptions
from insource.adapter.upload import Spool
from insource.adapter.wal import WriteAheadLog
from insource.adapter.watched_file import WatchedFile
from insource.env import Env
from insource.wire.headers import OUTCOME, REQUEST_ID, TOKEN
from insource.wire.vocabulary import Modality, Outcome, Role

log = structlog.get_logger(__name__)
MODELS = "/v1/models"
PATHS: Mapping[Modality, tuple[str, ...]] = {
    Modality.TRANSCRIPTION: (TRANSCRIPTIONS, TRANSLATIONS),
    Modality.SPEECH: (SpeechOperation.path,),
    Modality.IMAGE: (ImageGenerations.path, ImageEdits.path),
    Modality.TEXT: (Completions.path, ChatCompletions.path),
    Modality.EMBEDDING: (Embeddings.path,),
}
"""Modality -> the paths that its deployments serve, by POST."""
_MODALITY_OF = {path: modality for modality, paths in PATHS.items() for path in paths}
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Entrance:
    """Turns HTTP requests into attempts, one handler per role."""

    def __init__(
        self,
        settings: Settings,
        tokens: WatchedFile[frozenset[str]],
        backend: Backend,
        transcriptions: Transcriptions,
        operations: Operations,
        spool: Spool,
        wal: WriteAheadLog,
        metrics: Metrics,
        env: Env,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._backend = backend
        self._transcriptions = transcriptions
        self._operations = operations
        known: tuple[Operation[Any], ...] = (
            SpeechOperation(),
            ImageGenerations(),
            ImageEdits(spool),
            Completions(),
            ChatCompletions(),
            Embeddings(),
        )
        self._by_path = {operation.path: operation for operation in known}
        self._wal = wal
        self._metrics = metrics
        self._env = env
        self.in_flight = 0
        """Requests inside, of any kind."""
        self.closing = False
        """While draining, connections are closed after their answer."""
        self.cutting = False
        """The grace is over: a cancelled request is our doing, not the client's."""

    def handler(self, role: Role) -> Handler:
        """A handler whose every request is an attempt in `role`."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            self.in_flight += 1
            try:
                response = await self._handle(request, role)
            finally:
                self.in_flight -= 1
            return response

        return handle

    async def _handle(self, request: web.BaseRequest, role: Role) -> web.StreamResponse:
        try:
            check_token(request.headers.get(TOKEN, ""), self._tokens.value())
            identity = identify(request.headers, self._settings.namespace)
        except Refusal as refusal:
            return self._refused(refusal, request.headers.get(REQUEST_ID, ""))
        route = self._backend.routes.of(identity.deployment)
        try:
            attempt = Attempt(identity, route, role, self._settings.pod_name, self._wal, self._metrics, self._env)
        except OSError as problem:
            log.error("attempt_not_logged", problem=str(problem))
            return self._refused(unrecorded(), identity.request_id)
        try:
            response = await self._dispatch(request, attempt)
        except Refusal as refusal:
            if request.writer.output_size:  # only a reset can tell whoever reads the rest of it
                attempt.end(refusal.outcome, 200, refusal.reason)
                raise _reset(request) from refusal
            attempt.end(refusal.outcome, refusal.status, refusal.reason)
            return self._refused(refusal, identity.request_id)
        except (ClientGone, ConnectionError) as problem:
            attempt.end(Outcome.GONE, 0, "client_left")
            raise _reset(request) from problem
        except asyncio.CancelledError:
            if self.cutting:
                attempt.end(Outcome.SERVER, 0, "drain_grace_over")
            else:
                attempt.end(Outcome.GONE, 0, "client_left")
            raise
        except Exception:
            log.exception("attempt_failed", attempt_id=identity.attempt_id)
            failure = server_failure("The adapter failed.", reason="adapter_error")
            attempt.end(failure.outcome, failure.status, failure.reason)
            if request.writer.output_size:
                raise _reset(request) from None
            return self._refused(failure, identity.request_id)
        attempt.end(Outcome.OK, response.status)
        if self.closing and not response.prepared:
            response.force_close()
        return response

    async def _dispatch(self, request: web.BaseRequest, attempt: Attempt) -> web.StreamResponse:
        path, modality = request.path, attempt.route.modality
        wanted = _MODALITY_OF.get(path)
        if wanted is not None and attempt.route.refusal:
            raise attempt.route.refusal
        if wanted is modality:
            _only(request, "POST")
            operation = self._by_path.get(path)
            if operation is None:
                return await self._transcriptions.handle(request, attempt)
            return await self._operations.handle(operation, request, attempt)
        if path == MODELS or path.startswith(f"{MODELS}/"):
            _only(request, "GET")
            return self._models(path, attempt)
        served = f"POST {' and '.join(PATHS[modality])} and GET {MODELS}"
        if wanted is not None:
            raise client_error(
                f"This deployment is for {modality}, not for {wanted}: it serves {served}.",
                code="unknown_url",
                status=404,
            )
        raise client_error(
            f"Unknown path: {path[:200]}. This deployment serves {served}.", code="unknown_url", status=404
        )

    def _models(self, path: str, attempt: Attempt) -> web.Response:
        name = attempt.identity.deployment
        model = {"id": name, "object": "model", "created": 0, "owned_by": "insource"}
        headers = {OUTCOME: Outcome.OK.value, REQUEST_ID: attempt.identity.request_id}
        if path == MODELS:
            return web.json_response({"object": "list", "data": [model]}, headers=headers)
        if path == f"{MODELS}/{name}":
            return web.json_response(model, headers=headers)
        raise client_error(
            f"The model '{path[len(MODELS) + 1 :][:200]}' does not exist here; this URL serves '{name}'.",
            param="model",
            code="model_not_found",
            status=404,
        )

    def _refused(self, refusal: Refusal, request_id: str) -> web.Response:
        headers = {OUTCOME: refusal.outcome.value}
        if request_id:
            headers[REQUEST_ID] = request_id
        if refusal.retry_after_s is not None:
            headers["retry-after"] = str(refusal.retry_after_s)
        response = web.json_response(refusal.body(), status=refusal.status, headers=headers)
        if self.closing:
            response.force_close()
        return response


def _only(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise client_error(
            f"{request.path} takes {method}, not {request.method}.", code="method_not_allowed", status=405
        )


def _reset(request: web.BaseRequest) -> asyncio.CancelledError:
    """Break the connection off, so that nobody takes what was sent for a whole answer; returns what to raise then."""
    if request.transport is not None:
        request.transport.abort()
    return asyncio.CancelledError()
