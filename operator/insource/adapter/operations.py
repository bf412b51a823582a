"""One attempt of any modality but transcription, from its headers to its answer; what differs is an `Operation`.

The order is the transcriptions' one: what can be refused on headers is, then the body is read, checked and counted,
then permission and a slot are taken, then the backend is called, under a deadline that follows from the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.adapter.backends import Backend
from insource.adapter.dialects.seam import Answer, Dialect, Dialects, Work
from insource.adapter.refusals import cannot_serve, timed_out, too_slow
from insource.adapter.replies import to_client
from insource.adapter.settings import Patience
from insource.env import Env
from insource.wire.vocabulary import Modality, Unit


class Named(Protocol):
    """A request that says which model it wants."""

    @property
    def model(self) -> str:
        """The client's name for it."""
        ...


R = TypeVar("R", bound=Named)


class Operation(Protocol[R]):
    """One path of OpenAI's API."""

    path: str
    modality: Modality
    limit_bytes: int
    """Of the request's body; the deployment's own limit may be lower."""

    def receive(self, request: web.BaseRequest, limit_bytes: int) -> AbstractAsyncContextManager[R]:
        """Read the request; what it has left on disk goes with the context. Raises 400, 413 or 415."""
        ...

    def dialect(self, dialects: Dialects) -> Dialect[R] | None:
        """How the backend is asked; None: it cannot be."""
        ...

    def known(self, wanted: R, attempt: Attempt) -> Mapping[Unit, int]:
        """The work that is known before the call."""
        ...

    def most(self, wanted: R, attempt: Attempt) -> Mapping[Unit, int]:
        """The work that it may become, as far as that can be told: what is reserved, and what the deadline follows."""
        ...

    async def answer(self, request: web.BaseRequest, attempt: Attempt, wanted: R, given: Answer) -> web.StreamResponse:
        """Check, count and pass on what the backend gives; a response that has begun is ended by the caller.

        Raises a Refusal, even after a part of the answer has gone out, or ClientGone.
        """
        ...


class Operations:
    """Handles attempts of any operation for one backend."""

    def __init__(self, backend: Backend, env: Env, patience: Patience, max_body_bytes: int) -> None:
        self._backend = backend
        self._env = env
        self._patience = patience
        self._max_body_bytes = max_body_bytes

    async def handle(self, operation: Operation[R], request: web.BaseRequest, attempt: Attempt) -> web.StreamResponse:
        """Answer one attempt. Raises Refusal, even after a part of the answer has gone out, or ClientGone."""
        dialect = operation.dialect(self._backend.dialects)
        if dialect is None:
            raise cannot_serve(operation.path)
        self._backend.check()
        admission = self._backend.admission
        allowed_s = attempt.route.request_timeout_s
        received = False
        admission.enter()
        try:
            async with asyncio.timeout(allowed_s - (self._env.clock.monotonic() - attempt.began)) as scope:
                limit_bytes = min(self._max_body_bytes, operation.limit_bytes)
                async with operation.receive(request, limit_bytes) as wanted:
                    received = True
                    return await self._serve(operation, dialect, request, attempt, wanted, scope)
        except TimeoutError as problem:
            if not received:
                raise too_slow(allowed_s, param=None) from problem
            raise timed_out("The backend did not answer in time; it may be overloaded or hung.") from problem
        finally:
            admission.leave()

    async def _serve(
        self,
        operation: Operation[R],
        dialect: Dialect[R],
        request: web.BaseRequest,
        attempt: Attempt,
        wanted: R,
        scope: asyncio.Timeout,
    ) -> web.StreamResponse:
        model = self._backend.request_model(attempt.route)
        dialect.check_possible(wanted, model)
        identity = attempt.identity
        work = Work(wanted, model, wanted.model, identity.request_id, identity.hop, identity.number)
        by_rule = dialect.billed(wanted, model)
        most = {**operation.most(wanted, attempt), **by_rule}
        async with self._backend.admission.slot():
            self._backend.check()
            await self._backend.permit(attempt, most)
            until = asyncio.get_running_loop().time() + self._patience.deadline_s(most)
            if until < (scope.when() or 0.0):
                scope.reschedule(until)
            attempt.calls_backend(operation.known(wanted, attempt), by_rule)
            async with self._backend.call(dialect.call(work), scope) as given:
                response = await operation.answer(request, attempt, wanted, given)
            attempt.backend_done()
        if response.prepared:
            await to_client(response.write_eof())
        return response
