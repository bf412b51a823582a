"""The ledger's HTTP face: who may do what, and the answers. Data is in `store`, sums are in `report`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import structlog
from aiohttp import web
from sqlalchemy import Connection

from insource.domain.pricing import amount_of
from insource.ledger.attempts import AttemptView, Patience, join_attempts
from insource.ledger.auth import Authenticator, Caller, ReviewUnavailableError, caller_of
from insource.ledger.bodies import (
    MAX_BODY_BYTES,
    RefusalError,
    only_parameters,
    read_batch,
    read_limit,
    read_message,
    read_time,
)
from insource.ledger.disk import disk_trouble
from insource.ledger.metrics import Metrics, double_entry
from insource.ledger.report import GROUPINGS, CostFacts, CostQuery, cost_report, instant
from insource.ledger.reservations import ReservationConflictError
from insource.ledger.rows import Selection, load_attempts, load_pods, load_rates
from insource.ledger.spill import DAY_MS
from insource.ledger.store import Store, load_prices
from insource.ledger.writer import LedgerBusyError
from insource.wire.records import IngestResult, RecordBatch, ReservationRequest, SightingBatch

_log = structlog.get_logger(__name__)

RETRY_AFTER_S = 2
SHOWN = 10
"""Of the identities or reasons in one line of the log."""
DEFAULT_ATTEMPTS = 100
MOST_ATTEMPTS = 10_000
COST_PARAMETERS = frozenset({"namespace", "deployment", "since", "until", "by", "vendor", "model"})
ATTEMPT_PARAMETERS = frozenset({"namespace", "deployment", "request_id", "since", "until", "limit"})

References = Callable[[], dict[tuple[str, str], tuple[str, str]]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class ServiceOptions:
    """What the service must know besides its data."""

    currency: str
    patience: Patience


class LedgerService:
    """Make the application with `application`; it owns nothing that must be closed."""

    def __init__(
        self, store: Store, authenticator: Authenticator, options: ServiceOptions, references: References = dict
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._options = options
        self._references = references
        self._metrics = Metrics(options.currency)
        self.stopping = False

    def application(self) -> web.Application:
        """Routes, with errors in OpenAI's shape."""
        app = web.Application(middlewares=[_errors], client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.post("/v1/records", self.post_records),
                web.post("/v1/sightings", self.post_sightings),
                web.post("/v1/reservations", self.post_reservations),
                web.get("/v1/cost", self.get_cost),
                web.get("/v1/attempts", self.get_attempts),
                web.get("/metrics", self.get_metrics),
                web.get("/healthz", self.get_healthz),
                web.get("/readyz", self.get_readyz),
            ]
        )
        return app

    async def post_records(self, request: web.Request) -> web.Response:
        """An adapter's batch. The namespace is the token's, whatever the records say."""
        caller = await self._caller(request)
        if not caller.may_send:
            raise _forbidden(caller, "send records: only adapters may, which run in other namespaces")
        batch = await read_batch(request, RecordBatch, "records")
        result = await self._store.ingest(caller.namespace, batch.message.records)
        return self._ingested("record", caller, result.model_copy(update={"rejected": batch.rejected}))

    async def post_sightings(self, request: web.Request) -> web.Response:
        """A gateway's batch, of any namespace."""
        caller = await self._caller(request)
        if not caller.is_gateway:
            raise _forbidden(caller, "send sightings: only the gateway may")
        batch = await read_batch(request, SightingBatch, "sightings")
        result = await self._store.ingest_sightings(batch.message.sightings)
        return self._ingested("sighting", caller, result.model_copy(update={"rejected": batch.rejected}))

    async def post_reservations(self, request: web.Request) -> web.Response:
        """May an adapter's spill attempt be made today?"""
        caller = await self._caller(request)
        if not caller.may_send:
            raise _forbidden(caller, "reserve: only adapters may, which run in other namespaces")
        answer = await self._store.reserve(caller.namespace, await read_message(request, ReservationRequest))
        self._metrics.reserved(answer)
        return _json(answer.model_dump())

    async def get_cost(self, request: web.Request) -> web.Response:
        """The cost report; `by` one of deployment, backend, role, day."""
        await self._reader(request)
        query = request.query
        only_parameters(query, COST_PARAMETERS)
        by = next((grouping for grouping in GROUPINGS if grouping == query.get("by", "backend")), None)
        if by is None:
            raise RefusalError(400, f"by must be one of {', '.join(GROUPINGS)}, not {query['by'][:64]!r}", param="by")
        if bool(query.get("vendor")) != bool(query.get("model")):
            raise RefusalError(400, "vendor and model go together: give both or neither", param="model")
        now_ms = self._store.now_ms()
        cost_query = CostQuery(
            since_ms=read_time(query, "since") or 0,
            until_ms=min(read_time(query, "until") or now_ms, now_ms),
            by=by,
            currency=self._options.currency,
            reference=(query["vendor"], query["model"]) if query.get("vendor") else None,
        )
        namespace, deployment = query.get("namespace", ""), query.get("deployment", "")
        references = self._references()

        def report(connection: Connection) -> bytes:
            # A day more than asked for: work that began before may reach into the report's time.
            selection = Selection(
                namespace,
                deployment,
                since_ms=max(0, cost_query.since_ms - DAY_MS),
                until_ms=cost_query.until_ms + 1,
            )
            span = Selection(namespace, deployment, since_ms=cost_query.since_ms, until_ms=cost_query.until_ms)
            facts = CostFacts(
                attempts=join_attempts(
                    load_attempts(connection, selection), now_ms=now_ms, patience=self._options.patience
                ),
                pods=load_pods(connection, span),
                rates=load_rates(connection),
                prices=load_prices(connection),
                references=references,
            )
            return orjson.dumps(cost_report(facts, cost_query))

        return web.Response(body=await self._store.read(report), content_type="application/json")

    async def get_attempts(self, request: web.Request) -> web.Response:
        """The newest attempts that match, oldest first, with what both sides say of each."""
        await self._reader(request)
        query = request.query
        only_parameters(query, ATTEMPT_PARAMETERS)
        limit = read_limit(query, default=DEFAULT_ATTEMPTS, most=MOST_ATTEMPTS)
        selection = Selection(
            query.get("namespace", ""),
            query.get("deployment", ""),
            query.get("request_id", ""),
            since_ms=read_time(query, "since"),
            until_ms=read_time(query, "until"),
            newest=limit,
        )
        now_ms = self._store.now_ms()

        def attempts(connection: Connection) -> bytes:
            rows = load_attempts(connection, selection)
            views = join_attempts(rows, now_ms=now_ms, patience=self._options.patience)[-limit:]
            return orjson.dumps({"attempts": [attempt_json(view) for view in views]})

        return web.Response(body=await self._store.read(attempts), content_type="application/json")

    async def get_metrics(self, request: web.Request) -> web.Response:
        """Prometheus' text format; no token is asked for."""
        del request
        now_ms, patience = self._store.now_ms(), self._options.patience
        entry = await self._store.read(lambda connection: double_entry(connection, now_ms=now_ms, patience=patience))
        return web.Response(body=self._metrics.render(entry), content_type="text/plain", charset="utf-8")

    async def get_healthz(self, request: web.Request) -> web.Response:
        """The event loop runs."""
        del request
        return web.Response(text="ok\n")

    async def get_readyz(self, request: web.Request) -> web.Response:
        """The writer commits. The API server is not asked: known callers are served without it."""
        del request
        if self.stopping:
            return web.Response(status=503, text="stopping\n")
        async with asyncio.timeout(5):
            await self._store.write(lambda connection: None)  # noqa: ARG005
        return web.Response(text="ok\n")

    def _ingested(self, kind: str, caller: Caller, result: IngestResult) -> web.Response:
        self._metrics.ingested(kind, result)
        if result.conflicts:
            _log.error(f"{kind}s_conflict", namespace=caller.namespace, attempts=list(result.conflicts[:SHOWN]))
        if result.rejected:
            # Note: the reasons only. What is no valid record may hold anything, also in its identity.
            reasons = [each.reason for each in result.rejected[:SHOWN]]
            _log.error(f"{kind}s_rejected", namespace=caller.namespace, count=len(result.rejected), reasons=reasons)
        return _json(result.model_dump())

    async def _reader(self, request: web.Request) -> None:
        caller = await self._caller(request)
        if not caller.may_read:
            raise _forbidden(caller, "read reports: only ServiceAccounts of insource-system may")

    async def _caller(self, request: web.Request) -> Caller:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthorized(
                "send a ServiceAccount token of the audience insource-ledger: Authorization: Bearer ..."
            )
        try:
            user = await self._authenticator.user_of(token.strip())
        except ReviewUnavailableError:
            raise RefusalError(
                503,
                "the cluster cannot be asked about this token now: try again",
                type="server_error",
                code="token_review_unavailable",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        if user is None:
            raise _unauthorized("the token is not valid for the audience insource-ledger: ask for a new one")
        caller = caller_of(user)
        if caller is None:
            raise RefusalError(403, "only ServiceAccounts use the ledger", type="permission_error", code="forbidden")
        return caller


def attempt_json(view: AttemptView) -> dict[str, Any]:
    """One row of `GET /v1/attempts`."""
    row = asdict(view)
    row["measured"], row["billed"] = dict(view.measured), dict(view.billed)
    row["charges"] = [
        {
            "unit": charge.unit,
            "source": charge.source,
            "quantity": charge.quantity,
            "amount": None if charge.amount_nano is None else amount_of(charge.amount_nano),
        }
        for charge in view.charges
    ]
    row["started_at"] = instant(view.started_at_ms)
    return row


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusalError as problem:
        return problem.response()
    except ReservationConflictError as error:
        return RefusalError(409, str(error), param="attempt_id", code="reservation_conflict").response()
    except LedgerBusyError as error:
        return RefusalError(503, str(error), type="server_error", code="busy", retry_after_s=RETRY_AFTER_S).response()
    except web.HTTPException as error:
        allowed = error.headers.get("Allow")
        hint = f": use {allowed}" if allowed else ""
        return RefusalError(error.status, f"{request.method} {request.path}: {error.reason}{hint}").response()
    except Exception as error:
        if words := disk_trouble(error):
            _log.error("disk_trouble", path=request.path, problem=words)
            return RefusalError(
                503, words, type="server_error", code="disk_trouble", retry_after_s=RETRY_AFTER_S
            ).response()
        _log.exception("request_failed", path=request.path, error=type(error).__name__)
        return RefusalError(
            500, "the ledger could not do this; nothing was written", type="server_error", code="internal"
        ).response()


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _unauthorized(message: str) -> RefusalError:
    return RefusalError(401, message, type="authentication_error", code="invalid_token")


def _forbidden(caller: Caller, what: str) -> RefusalError:
    return RefusalError(403, f"{caller} may not {what}", type="permission_error", code="forbidden")
