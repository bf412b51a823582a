"""Every response format, from either side, and streaming that arrives before it is over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.gateway.adapter_answers import VERBOSE
from tests.gateway.adapter_harness import KEY, form, world, write_routes

pytestmark = pytest.mark.gateway
SRT = "1\n00:00:00,000 --> 00:00:00,600\nhello\n\n2\n01:01:01,500 --> 01:01:02,250\n-> world\n\n"
VTT = "WEBVTT\n\n00:00:00.000 --> 00:00:00.600\nhello\n\n01:01:01.500 --> 01:01:02.250\n-> world\n\n"


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
async def test_each_format(tmp_path: Path, side: str) -> None:
    async with world(tmp_path, side=side) as here:
        replies = {}
        for wanted in ("json", "text", "srt", "vtt", "verbose_json"):
            reply = await here.post([("model", "any"), ("response_format", wanted), ("temperature", "0")])
            assert (reply.status, reply.outcome, reply.request) == (200, "ok", f"req-{here.sent}")
            replies[wanted] = reply.body.decode()
        billed = 9 if side == "vendor" else 1
        assert json.loads(replies["json"]) == {
            "text": "hello --> world",
            "usage": {"type": "duration", "seconds": billed},
        }
        assert replies["text"] == "hello --> world\n"
        assert replies["srt"] == SRT
        assert replies["vtt"] == VTT
        verbose = json.loads(replies["verbose_json"])
        assert verbose["segments"] == VERBOSE["segments"]
        assert verbose["usage"] == {"type": "duration", "seconds": billed}
        assert "words" not in verbose
        model = "whisper-1" if side == "vendor" else "tiny.en"
        assert {call["model"] for call in here.server.calls} == {model}
        assert {call["authorization"] for call in here.server.calls} == {f"Bearer {KEY}" if side == "vendor" else None}
        assert not any("gateway-token" in name.lower() for call in here.server.calls for name in call["headers"])


async def test_word_timestamps(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        fields = [("model", "w"), ("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
        verbose = json.loads((await here.post(fields)).body)
        assert verbose["words"] == VERBOSE["words"]
        assert "segments" not in verbose
        assert here.server.calls[0]["granularities"] == ["word"]


async def test_usage_is_measured_by_us_and_billed_by_the_vendor(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:
        end = await here.ended((await here.post()).request)
        assert {(q["unit"], q["source"], q["quantity"]) for q in end["quantities"]} == {
            ("audio_ms", "measured", 1000),
            ("audio_ms", "billed", 9000),
        }
        start = here.ledger.starts()["req-1.0.1"]
        assert (start["backend"], start["vendor"], start["model"]) == ("openai", "openai", "whisper-1")
        assert (start["role"], start["client"], start["pod"]) == ("serve", "anna", "pod-1")


async def test_the_port_is_the_role(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for role in ("serve", "rescue", "spill", "shadow"):
            reply = await here.post(role=role)
            await here.ended(reply.request)
            assert here.ledger.starts()[f"{reply.request}.0.1"]["role"] == role


async def test_stream_arrives_as_it_is_made(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        seen = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"type":"transcript.text.delta","delta":"one "}\n\nda')
            async with asyncio.timeout(60):
                await seen.wait()  # the first event must reach the client before the second is made
            await response.write(b'ta: {"type":"transcript.text.delta","delta":"two"}\r\n\r\n')
            await response.write(b'data: {"type":"transcript.text.done","text":"one two"}\n\n')
            return response

        here.server.answer = answer
        events = []
        async with here.session.post(
            here.url(), data=form([("model", "w"), ("stream", "true")], b""), headers=here.identity()
        ) as response:
            assert response.content_type == "text/event-stream"
            assert response.headers["x-insource-outcome"] == "ok"
            async for line in response.content:
                if line.startswith(b"data: "):
                    events.append(json.loads(line[6:]))
                    seen.set()
        assert [event["type"].split(".")[-1] for event in events] == ["delta", "delta", "done"]
        assert events[-1]["usage"] == {"type": "duration", "seconds": 1}
        assert (await here.ended("req-1"))["outcome"] == "ok"


async def test_a_vendor_that_ignores_stream_still_gives_events(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor") as here:
        reply = await here.post([("model", "w"), ("stream", "true")])
        events = [json.loads(block[6:]) for block in reply.body.decode().split("\n\n") if block]
        assert [event["type"] for event in events] == ["transcript.text.delta", "transcript.text.done"]
        assert events[-1]["usage"] == {"type": "duration", "seconds": 9}


async def test_a_stream_that_breaks_is_reset_and_not_ok(tmp_path: Path) -> None:
    async with world(tmp_path) as here:

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"type":"transcript.text.delta","delta":"one "}\n\n')
            return response  # no `done`

        here.server.answer = answer
        with pytest.raises(Exception, match=r"(?i)payload|closed|disconnect|reset"):
            await here.post([("model", "w"), ("stream", "true")])
        assert (await here.ended("req-1"))["outcome"] == "server"
        here.server.answer = None
        assert (await here.post()).status == 200


async def test_a_model_without_times_refuses_what_needs_them(tmp_path: Path) -> None:
    write_routes(tmp_path, model="gpt-4o-transcribe")
    async with world(tmp_path, side="vendor") as here:
        reply = await here.post([("model", "w"), ("response_format", "srt")])
        assert (reply.status, reply.error["param"], here.server.calls) == (400, "response_format", [])
        assert (await here.post([("model", "w"), ("response_format", "text")])).body == b"hello --> world\n"


async def test_models_lists_the_deployment(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        async with here.session.get(here.url("/v1/models"), headers=here.identity()) as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["dictation"]
        async with here.session.get(here.url("/v1/models/other"), headers=here.identity()) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (404, "model_not_found")
