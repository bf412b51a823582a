"""How an answer that the agent relays leaves it."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from insource.gateway.reentry import relay


@pytest.mark.parametrize("told", [True, False])
async def test_the_head_of_a_body_of_known_length_never_goes_out_alone(told: bool) -> None:
    """Killed between the two, the agent would leave Envoy nothing to try again; a stream's head must not wait."""
    sent: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if told:
            response.content_length = 4
        await response.prepare(request)
        await response.write(b"body")
        await response.write_eof()
        return response

    async def relayed(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        write = request.transport.write
        request.transport.write = lambda data: (sent.append(bytes(data)), write(data))  # type: ignore[assignment]
        async with aiohttp.ClientSession() as session:
            return await relay(request, await session.get(f"{request.url.origin()}/answer"))

    application = web.Application()
    application.router.add_get("/answer", answer)
    application.router.add_get("/relayed", relayed)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/relayed"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert await response.read() == b"body"
    finally:
        await runner.cleanup()
    assert sent[0].startswith(b"HTTP/1.1 200")
    assert sent[0].endswith(b"\r\n\r\nbody") == told


async def test_a_body_that_breaks_off_before_its_first_byte_has_a_head_all_the_same() -> None:
    """Without one Envoy would take it for a request that never arrived, and try all of it again."""
    asked = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        response = web.StreamResponse()
        response.content_length = 4
        await response.prepare(request)
        assert request.transport is not None
        request.transport.close()
        return response

    async def relayed(request: web.Request) -> web.StreamResponse:
        async with aiohttp.ClientSession() as session:
            return await relay(request, await session.get(f"{request.url.origin()}/answer"))

    application = web.Application()
    application.router.add_get("/answer", answer)
    application.router.add_get("/relayed", relayed)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/relayed"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
    finally:
        await runner.cleanup()
    assert asked == 1
