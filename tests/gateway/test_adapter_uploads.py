"""Uploads as the wire brings them: many at once, in chunks, packed, slow, broken off."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
from pathlib import Path

import pytest
from aiohttp import web

from insource.adapter.upload import MAX_FIELD_BYTES, MEMORY_BYTES, SMALL_BYTES
from insource.adapter.warmup import tone_wav
from tests.gateway.adapter_harness import until, world
from tests.gateway.upload_wire import (
    END,
    FILE,
    MODEL,
    Wire,
    is_refusal,
    nothing_is_held,
    part,
    spooled,
    wire,
)

pytestmark = pytest.mark.gateway


# Many at once


async def test_uploads_in_memory_have_one_budget_and_the_rest_goes_to_disk(tmp_path: Path) -> None:
    samples = SMALL_BYTES - len(MODEL) - len(part("file", b"", "a.wav")) - len(END) - 44
    samples -= samples % 2
    wav = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + samples, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16,
                      b"data", samples) + bytes(samples)  # fmt: skip
    body = MODEL + part("file", wav, "a.wav") + END
    in_memory = MEMORY_BYTES // len(body)
    wires: list[Wire] = []
    async with world(tmp_path, backend={"slots": 100}) as here:

        async def begin() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.adapter.ports["serve"])
            wires.append(Wire(here, reader, writer))
            wires[-1].head(f"content-length: {len(body)}")
            writer.write(body[:1000])
            await until(lambda: here.adapter.entrance.in_flight == len(wires))

        async def finish(one: Wire) -> int:
            one.writer.write(body[1000:])
            return (await one.reply()).status

        try:
            for _ in range(in_memory):
                await begin()
            assert spooled(here) == []
            for number in range(3):  # each above the budget lies on disk, and is served like the others
                await begin()
                await until(lambda number=number: len(spooled(here)) == number + 1)  # type: ignore[misc]
            served = [wires.pop(0) for _ in range(3)] + [wires.pop() for _ in range(3)]
            for one in served:
                assert await finish(one) == 200
                one.writer.transport.abort()
                end = await here.ended(one.request)
                assert (end["outcome"], end["quantities"][0]["quantity"]) == ("ok", round(samples / 32))
            assert {len(call["bytes"]) for call in here.server.calls} == {len(wav)}
            for one in wires:  # the others leave
                one.writer.transport.abort()
            await nothing_is_held(here)
            wires.clear()
            for _ in range(in_memory):  # the budget is whole again
                await begin()
            assert spooled(here) == []
        finally:
            for one in wires:
                one.writer.transport.abort()


# Without a length


async def test_a_chunked_upload_is_served(tmp_path: Path) -> None:
    async with world(tmp_path) as here, wire(here) as one:
        one.head("transfer-encoding: chunked")
        body = MODEL + FILE + END
        for at in range(0, len(body), 700):  # a boundary may fall anywhere into a chunk
            one.chunk(body[at : at + 700])
        one.chunk(b"")
        assert (await one.reply()).status == 200
        assert here.server.calls[0]["bytes"] == tone_wav()
        await nothing_is_held(here)


@pytest.mark.parametrize("field", ["file", "prompt"])
async def test_a_chunked_upload_above_the_limit_is_refused_while_it_streams(tmp_path: Path, field: str) -> None:
    async with world(tmp_path, max_body_bytes=100_000) as here, wire(here) as one:
        one.head("transfer-encoding: chunked")
        if field == "file":
            one.chunk(MODEL + part("file", b"", "a.wav")[:-2])
        else:  # many fields, none of them too long
            one.chunk(b"".join(part("prompt", bytes(MAX_FIELD_BYTES)) for _ in range(2)))
        one.chunk(bytes(300_000))
        reply = await one.reply()  # though the body has no end yet
        is_refusal(reply, 413, "content_too_large", "file")
        assert "100000 bytes" in json.loads(reply.body)["error"]["message"]
        assert here.server.calls == []
        assert (await here.ended(one.request))["outcome"] == "client"
        await nothing_is_held(here)
        assert (await here.post()).status == 200


async def test_an_announced_length_above_the_limit_is_refused_before_the_body(tmp_path: Path) -> None:
    async with world(tmp_path, max_body_bytes=100_000) as here, wire(here) as one:
        one.head("content-length: 100001")
        is_refusal(await one.reply(), 413, "content_too_large", "file")
        await nothing_is_held(here)


@pytest.mark.parametrize("chunks", [b"5\r\nab", b"zz\r\nab\r\n", b"-5\r\nabcde\r\n"])
async def test_chunks_that_are_none_are_refused(tmp_path: Path, chunks: bytes) -> None:
    async with world(tmp_path) as here, wire(here) as one:
        one.head("transfer-encoding: chunked")
        one.writer.write(chunks)
        one.writer.write_eof()
        reply_or_end = await one._reader.read()
        assert reply_or_end == b"" or reply_or_end.startswith(b"HTTP/1.1 400 ")
        assert here.server.calls == []
        await nothing_is_held(here)
        assert (await here.post()).status == 200


# Packed


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity", "rot13"])
async def test_a_packed_body_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    body = gzip.compress(MODEL + FILE + END)
    async with world(tmp_path) as here, wire(here) as one:
        one.head(f"content-length: {len(body)}", f"content-encoding: {encoding}")
        one.writer.write(body)
        reply = await one.reply()
        is_refusal(reply, 415, "unsupported_content_encoding", None)
        assert encoding.lower() in json.loads(reply.body)["error"]["message"]
        end = await here.ended(one.request)
        assert (end["outcome"], end["status"], end["quantities"]) == ("client", 415, [])
        assert here.server.calls == []
        await nothing_is_held(here)


async def test_identity_is_no_packing(tmp_path: Path) -> None:
    body = MODEL + FILE + END
    async with world(tmp_path) as here, wire(here) as one:
        one.head(f"content-length: {len(body)}", "content-encoding: identity")
        one.writer.write(body)
        assert (await one.reply()).status == 200


# Slow, or broken off


@pytest.mark.parametrize("length", ["content-length: 100000", "content-length: 2000000", "transfer-encoding: chunked"])
async def test_an_upload_past_its_deadline_frees_its_place(tmp_path: Path, length: str) -> None:
    async with world(tmp_path, backend={"slots": 1, "request_timeout_s": 0.3}) as here, wire(here) as one:
        one.head(length)
        reply = await one.reply()
        is_refusal(reply, 408, "upload_timeout", "file")
        assert "0.3 seconds" in json.loads(reply.body)["error"]["message"]
        end = await here.ended(one.request)
        assert (end["outcome"], end["status"], end["reason"], end["quantities"]) == (
            "client",
            408,
            "upload_timeout",
            [],
        )
        assert here.server.calls == []
        await nothing_is_held(here)


@pytest.mark.parametrize("length", ["content-length: 100000", "content-length: 2000000", "transfer-encoding: chunked"])
async def test_a_client_that_leaves_in_mid_upload_leaves_nothing(tmp_path: Path, length: str) -> None:
    async with world(tmp_path, backend={"slots": 1}) as here:
        async with wire(here) as one:
            one.head(length)
            some = MODEL + FILE[:500]
            if length.endswith("chunked"):
                one.chunk(some)
            else:
                one.writer.write(some)
            await until(lambda: here.adapter.entrance.in_flight == 1)
        end = await here.ended(one.request)
        assert (end["outcome"], end["status"], end["reason"], end["quantities"]) == ("gone", 0, "client_left", [])
        assert here.server.calls == []
        await nothing_is_held(here)
        assert (await here.post()).status == 200


async def test_a_client_that_leaves_in_mid_stream_ends_the_servers_work(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def streams(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"type":"transcript.text.delta","delta":"he"}\n\n')
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    body = MODEL + part("stream", b"true") + FILE + END
    async with world(tmp_path, backend={"slots": 1}) as here:
        here.server.answer = streams
        async with wire(here) as one:
            one.head(f"content-length: {len(body)}")
            one.writer.write(body)
            assert b"200 OK" in await one._reader.readline()
            await one._reader.readuntil(b'"delta":"he"}\n\n')
        await asyncio.wait_for(ended.wait(), 10)
        end = await here.ended(one.request)
        assert (end["outcome"], end["status"], end["reason"]) == ("gone", 0, "client_left")
        assert end["quantities"] == [{"unit": "audio_ms", "source": "measured", "quantity": 1000}]
        await nothing_is_held(here)
        here.server.answer = None
        assert (await here.post()).status == 200


async def test_a_server_that_breaks_off_in_mid_stream_resets_the_client(tmp_path: Path) -> None:
    async def streams(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"type":"transcript.text.delta","delta":"he"}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    body = MODEL + part("stream", b"true") + FILE + END
    async with world(tmp_path) as here, wire(here) as one:
        here.server.answer = streams
        one.head(f"content-length: {len(body)}")
        one.writer.write(body)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await one._reader.readuntil(b"\r\n0\r\n\r\n")  # nobody can take it for a whole answer
        end = await here.ended(one.request)
        assert (end["outcome"], end["status"], end["reason"]) == ("server", 200, "broken_off")
        await nothing_is_held(here)
