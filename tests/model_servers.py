"""Our model servers for tests: ready, and run as their program runs them: who leaves cancels the work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from insource.servers.serving import ModelServer

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def listening(server: ModelServer[Any]) -> AsyncIterator[str]:
    """Its URL on loopback, once its model is loaded."""
    runner = web.AppRunner(server.application(), handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await server.ready()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asked_by_sdk(server: ModelServer[Any]) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK, which asks it."""
    async with (
        listening(server) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@asynccontextmanager
async def asked(server: ModelServer[Any]) -> AsyncIterator[Client]:
    """aiohttp's test client, which asks it."""
    test_server = TestServer(server.application(), handler_cancellation=True)  # type: ignore[call-arg]
    async with TestClient(test_server) as client:
        await server.ready()
        yield client
