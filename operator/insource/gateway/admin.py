"""The agent's HTTP interface for operators, probes and Prometheus. Shapes are `wire.gateway`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from insource.wire.errors import error_body
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
    drain: Callable[[], Awaitable[str]]
    """Drains and returns "" once nothing is in flight, else what went wrong."""


def admin_application(answers: AdminAnswers) -> web.Application:
    """/applied /evidence /signals /metrics /healthz /readyz /drain."""

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

    async def drain(request: web.Request) -> web.Response:
        # Anyone who reaches this port could otherwise take the gateway out of service.
        peer = request.transport.get_extra_info("peername") if request.transport else None
        own = request.transport.get_extra_info("sockname") if request.transport else None
        if not peer or not own or peer[0] != own[0]:
            body = error_body("Draining is asked for from the gateway's own pod.", type="permission_error")
            return web.json_response(body, status=403)
        trouble = await answers.drain()
        return web.Response(status=500 if trouble else 200, text=f"{trouble or 'drained'}\n")

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
    app.router.add_post("/drain", drain)
    return app


def _json(message: BaseModel) -> web.Response:
    return web.Response(body=message.model_dump_json().encode(), content_type="application/json")
