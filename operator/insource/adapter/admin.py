"""The admin port: /healthz, /readyz, /state, /metrics. For kubelet, operator and Prometheus; no client comes here."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from insource.wire.gateway import AdapterState


def admin_application(
    state: Callable[[], AdapterState], scrape: Callable[[], None], registry: CollectorRegistry
) -> web.Application:
    """The admin application; `scrape` refreshes what is only known on asking."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        now = state()
        return web.Response(status=200 if now.ready else 503, text="ready\n" if now.ready else _why_not(now))

    async def show_state(_: web.Request) -> web.Response:
        return web.Response(text=state().model_dump_json(), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        scrape()
        return web.Response(body=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/state", show_state)
    application.router.add_get("/metrics", metrics)
    return application


def _why_not(state: AdapterState) -> str:
    if state.draining:
        return "draining\n"
    return (
        state.credentials_message
        or state.message
        or "the backend is not ready (starting, warming up, or not answering)"
    ) + "\n"
