"""The agent's HTTP interface for operators, probes and Prometheus. Shapes are `wire.gateway`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from insource.wire.gateway import Applied, Evidence, Signals


@dataclass(frozen=True)
class AdminAnswers:
    """Where each answer comes from."""

    applied: Callable[[Collection[str]], Applied]
    """Of these deployments; of all, if none is named."""
    evidence: Callable[[], Evidence]
    signals: Callable[[], Awaitable[Signals]]
    metrics: Callable[[], Awaitable[str]]
    unready: Callable[[], Awaitable[str]]
    """Why the gateway is not ready; "" if it is."""


def admin_application(answers: AdminAnswers) -> web.Application:
    """/applied /evidence /signals /metrics /healthz /readyz."""

    async def applied(request: web.Request) -> web.Response:
        return _json(answers.applied(request.query.getall("deployment", ())))

    async def evidence(_: web.Request) -> web.Response:
        return _json(answers.evidence())

    async def signals(_: web.Request) -> web.Response:
        return _json(await answers.signals())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=await answers.metrics(), content_type="text/plain")

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = await answers.unready()
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ok'}\n")

    app = web.Application()
    for path, handler in (
        ("/applied", applied),
        ("/evidence", evidence),
        ("/signals", signals),
        ("/metrics", metrics),
        ("/healthz", healthz),
        ("/readyz", readyz),
    ):
        app.router.add_get(path, handler)
    return app


def _json(message: BaseModel) -> web.Response:
    return web.Response(body=message.model_dump_json().encode(), content_type="application/json")
