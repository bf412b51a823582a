"""A vendor that keeps every request as it came on the wire, and answers as told; with an adapter before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from insource.wire.vocabulary import Dialect, Modality
from tests.gateway.adapter_harness import World, serve, world, write_routes

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Call:
    """One request."""

    path: str
    """With the query, as it was sent."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    parts: dict[str, tuple[str | None, bytes]]
    """Of a form: name -> file name and content."""


@dataclass
class FakeVendor:
    """Answers everything alike."""

    answer: Answer | None = None
    calls: list[Call] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        parts: dict[str, tuple[str | None, bytes]] = {}
        body = b""
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                parts[part.name or ""] = (part.filename, bytes(await part.read()))
        else:
            body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(request.raw_path, headers, body, parts))
        assert self.answer is not None
        return await self.answer(request)


def says(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Answer:
    """Always this answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, status=status, headers=named)

    return answer


@asynccontextmanager
async def before(
    folder: Path, dialect: Dialect, modality: Modality, model: str, *, base: str = "", **backend: Any
) -> AsyncIterator[tuple[World, FakeVendor]]:
    """An adapter that speaks this dialect to a fake vendor, whose endpoint ends with `base`."""
    fake = FakeVendor()
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", fake.take)
    runner, port = await serve(application)
    write_routes(folder, modality=modality.value, model=model)
    settings = {"dialect": dialect, "endpoint": f"http://127.0.0.1:{port}{base}", **backend}
    try:
        async with world(folder, side="vendor", modality=modality, backend=settings) as here:
            yield here, fake
    finally:
        await runner.cleanup()
