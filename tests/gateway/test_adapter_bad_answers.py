"""Backends that answer badly, in each modality: nothing bad reaches a client as good, and serving goes on."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from insource.wire.vocabulary import Modality
from tests.gateway.adapter_answers import USUAL, sse
from tests.gateway.adapter_harness import KEY, Reply, World, world
from tests.gateway.test_adapter_modalities import ASKED, MODALITY

pytestmark = pytest.mark.gateway
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
ERROR = {"error": {"message": "out of memory", "type": "server_error", "param": None, "code": None}}
HTML = b"<!doctype html><title>502</title>" + b" " * 5000
ASKS: list[tuple[str, dict[str, Any]]] = [
    *ASKED.items(),
    ("/v1/audio/speech", {**ASKED["/v1/audio/speech"], "stream_format": "sse"}),
    ("/v1/completions", {**ASKED["/v1/completions"], "stream": True}),
    ("/v1/chat/completions", {**ASKED["/v1/chat/completions"], "stream": True}),
]
NAMES = [f"{path.rpartition('/')[2]}{'-stream' if len(body) > len(ASKED[path]) else ''}" for path, body in ASKS]


def says(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, status=status, headers=headers)

    return answer


def good(path: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """What a good backend says to this, asked as we ask it."""
    asked = {**body, "stream_options": {"include_usage": True}} if body.get("stream") else body
    return USUAL[path.removeprefix("/v1")](asked)


async def in_pieces(
    request: web.Request, content_type: str, pieces: list[bytes], *, breaks: bool
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": content_type})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    if breaks:
        assert request.transport is not None
        request.transport.abort()
    return response


async def broken(here: World, path: str, body: dict[str, Any]) -> Reply | None:
    """The answer, or None if the connection was broken off."""
    try:
        return await here.ask(path, body)
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
@pytest.mark.parametrize(("path", "body"), ASKS, ids=NAMES)
async def test_what_is_no_answer_is_the_servers_failure_and_can_be_retried(
    tmp_path: Path, path: str, body: dict[str, Any], side: str
) -> None:
    async with world(tmp_path, side=side, modality=MODALITY[path]) as here:
        bad = [
            says(b""),
            says(b"", good(path, body)[0]),
            says(HTML, "text/html"),
            says(json.dumps(ERROR).encode()),
            says(b"[]"),
            says(b'{"data": [{"b64_js', "application/json"),
        ]
        if good(path, body)[0] == "text/event-stream":
            bad += [
                says(sse(ERROR), "text/event-stream"),
                says(sse(b"[DONE]"), "text/event-stream"),
                says(b"data: {nonsense\n\n", "text/event-stream"),
            ]
        else:
            bad.append(says(HTML, good(path, body)[0]))
        for answer in bad:
            here.server.answer = answer
            reply = await here.ask(path, body)
            assert (reply.status, reply.outcome) == (503, "server")
            end = await here.ended(reply.request)
            assert end["outcome"] == "server"
            assert end["reason"] in ("invalid_answer", "broken_off")
            assert end["quantities"]
        here.server.answer = None
        assert (await here.ask(path, body)).status == 200


@pytest.mark.parametrize(("path", "body"), ASKS, ids=NAMES)
async def test_an_answer_that_breaks_off_never_looks_whole(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    content_type, content = good(path, body)
    async with world(tmp_path, modality=MODALITY[path]) as here:
        for cut in (0, 1, len(content) // 2, len(content) - 1):

            async def answer(request: web.Request, cut: int = cut) -> web.StreamResponse:
                return await in_pieces(request, content_type, [content[:cut]] if cut else [], breaks=True)

            here.server.answer = answer
            reply = await broken(here, path, body)
            assert reply is None or reply.status == 503
            assert (await here.ended(f"req-{here.sent}"))["outcome"] == "server"
        here.server.answer = None
        assert (await here.ask(path, body)).status == 200


@pytest.mark.parametrize(("path", "body"), ASKS, ids=NAMES)
async def test_an_answer_that_comes_byte_by_byte_is_the_same(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    content_type, content = good(path, body)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await in_pieces(request, content_type, [bytes([byte]) for byte in content], breaks=False)

    async with world(tmp_path, modality=MODALITY[path]) as here:
        at_once = await here.ask(path, body)
        here.server.answer = answer
        slowly = await here.ask(path, body)
        assert (slowly.status, slowly.body) == (200, at_once.body)
        assert await here.quantities(slowly.request) == await here.quantities(at_once.request)


async def test_each_form_of_retry_after_and_a_refused_key(tmp_path: Path) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=3000), usegmt=True)
    path, body = "/v1/audio/speech", ASKED["/v1/audio/speech"]
    for number, (header, least, most) in enumerate(
        (({}, 1, 1), ({"Retry-After": "7"}, 7, 7), ({"Retry-After": later}, 120, 120), ({"Retry-After": "soon"}, 1, 1))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with world(folder, side="vendor", modality=Modality.SPEECH) as here:
            here.server.answer = says(b"{}", status=429, **header)
            reply = await here.ask(path, body)
            assert (reply.status, reply.outcome) == (429, "shed")
            assert least <= int(reply.headers["retry-after"]) <= most
            assert (await here.ended(reply.request))["quantities"] == []
            assert (await here.ask(path, body)).status == 429  # the vendor is left alone meanwhile
            assert len(here.server.calls) == 1
    folder = tmp_path / "key"
    folder.mkdir()
    async with world(folder, side="vendor", modality=Modality.SPEECH) as here:
        here.server.answer = says(json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}}).encode(), status=401)
        reply = await here.ask(path, body)
        assert (reply.status, reply.outcome) == (503, "refused_credentials")
        assert KEY.encode() not in reply.body
        assert here.adapter.state().credentials_resolved is False


async def test_another_format_than_was_asked_for_is_no_answer(tmp_path: Path) -> None:
    body = {**ASKED["/v1/audio/speech"], "response_format": "flac"}
    async with world(tmp_path, modality=Modality.SPEECH) as here:
        here.server.answer = says(b"RIFF" + bytes(40), "audio/flac")
        reply = await here.ask("/v1/audio/speech", body)
        assert (reply.status, reply.outcome) == (503, "server")


async def test_links_are_not_taken_for_pictures(tmp_path: Path) -> None:
    async with world(tmp_path, modality=Modality.IMAGE) as here:
        here.server.answer = says(b'{"data": [{"url": "https://example.com/1.png"}]}')
        body = ASKED["/v1/images/generations"]
        reply = await here.ask("/v1/images/generations", {**body, "response_format": "b64_json"})
        assert (reply.status, reply.outcome) == (503, "server")
        reply = await here.ask("/v1/images/generations", {**body, "response_format": "url", "size": "64x64"})
        assert reply.status == 200
        counted = await here.quantities(reply.request)
        assert (counted["images", "measured"], counted["pixels", "measured"]) == (1, 4096)
