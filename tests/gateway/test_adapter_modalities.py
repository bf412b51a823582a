"""Speech, images, text and embeddings by either side: what is asked, what comes back, what is counted."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from insource.wire.vocabulary import Modality
from tests.gateway.adapter_answers import SOUND, TEXT_USAGE, png, sse
from tests.gateway.adapter_harness import KEY, Hanging, until, world, write_routes

pytestmark = pytest.mark.gateway
PATHS = {
    Modality.TRANSCRIPTION: ["/v1/audio/transcriptions"],
    Modality.SPEECH: ["/v1/audio/speech"],
    Modality.IMAGE: ["/v1/images/generations"],
    Modality.TEXT: ["/v1/completions", "/v1/chat/completions"],
    Modality.EMBEDDING: ["/v1/embeddings"],
}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/audio/speech": {"model": "any", "input": "Grüße 😀", "voice": "alloy"},
    "/v1/images/generations": {"model": "any", "prompt": "a red circle"},
    "/v1/completions": {"model": "any", "prompt": "Say hello to me"},
    "/v1/chat/completions": {"model": "any", "messages": [{"role": "user", "content": "Say hello to me"}]},
    "/v1/embeddings": {"model": "any", "input": ["one", "two"]},
}
MODALITY = {path: modality for modality, paths in PATHS.items() for path in paths}
SIDES = ["inHouse", "vendor"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", ASKED)
async def test_it_is_asked_by_the_backends_name_and_with_the_vendors_key(tmp_path: Path, path: str, side: str) -> None:
    async with world(tmp_path, side=side, modality=MODALITY[path]) as here:
        reply = await here.ask(path, ASKED[path])
        assert (reply.status, reply.outcome, reply.request) == (200, "ok", "req-1")
        (call,) = here.server.calls
        assert call["path"] == path
        assert call["body"] == {**ASKED[path], "model": "whisper-1" if side == "vendor" else "tiny.en"}
        key = f"Bearer {KEY}" if side == "vendor" else None
        assert call["headers"].get("Authorization", call["headers"].get("authorization")) == key
        assert not any("gateway-token" in name.lower() for name in call["headers"])
        end = await here.ended(reply.request)
        assert (end["outcome"], end["status"], end["reason"]) == ("ok", 200, "")
        assert here.ledger.starts()["req-1.0.1"]["modality"] == MODALITY[path]
        assert here.server.probes == (1 if side == "inHouse" else 0)


@pytest.mark.parametrize("modality", PATHS)
async def test_paths_of_another_modality_are_not_found_with_what_is_served(tmp_path: Path, modality: Modality) -> None:
    async with world(tmp_path, modality=modality) as here:
        for path, body in {**ASKED, "/v1/audio/transcriptions": {}}.items():
            if MODALITY[path] is modality:
                continue
            reply = await here.ask(path, body)
            assert (reply.status, reply.outcome, reply.error["code"]) == (404, "client", "unknown_url")
            assert f"This deployment is for {modality}, not for {MODALITY[path]}" in reply.error["message"]
            assert all(f"{served}" in reply.error["message"] for served in PATHS[modality])
        assert here.server.calls == []
        for path in PATHS[modality]:
            async with here.session.get(here.url(path), headers=here.identity()) as response:
                assert response.status == 405
        async with here.session.get(here.url("/v1/models"), headers=here.identity()) as response:
            assert [each["id"] for each in (await response.json())["data"]] == ["dictation"]


@pytest.mark.parametrize("response_format", SOUND)
async def test_sound_passes_as_it_is_and_is_counted_in_code_points(tmp_path: Path, response_format: str) -> None:
    async with world(tmp_path, modality=Modality.SPEECH) as here:
        body = {**ASKED["/v1/audio/speech"], "response_format": response_format, "speed": 1.5, "instructions": "slowly"}
        reply = await here.ask("/v1/audio/speech", body)
        assert reply.body == SOUND[response_format]
        assert reply.headers["content-type"] == (
            "audio/mpeg" if response_format == "mp3" else f"audio/{response_format}"
        )
        assert here.server.calls[0]["body"] == {**body, "model": "tiny.en"}
        assert await here.quantities(reply.request) == {("characters", "measured"): 7}


async def test_speech_as_events_and_their_tokens_beside_our_characters(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor", modality=Modality.SPEECH) as here:
        reply = await here.ask("/v1/audio/speech", {**ASKED["/v1/audio/speech"], "stream_format": "sse"})
        assert reply.headers["content-type"].startswith("text/event-stream")
        delta, done = (json.loads(event[6:]) for event in reply.body.decode().strip().split("\n\n"))
        assert base64.b64decode(delta["audio"]) == SOUND["mp3"]
        assert done == {
            "type": "speech.audio.done", "usage": {"input_tokens": 7, "output_tokens": 11, "total_tokens": 18},
        }  # fmt: skip
        assert await here.quantities(reply.request) == {
            ("characters", "measured"): 7,
            ("input_tokens", "billed"): 7,
            ("output_tokens", "billed"): 11,
        }


async def test_what_openais_models_cannot_do_is_refused_by_name_before_the_call(tmp_path: Path) -> None:
    write_routes(tmp_path, modality="Speech", model="tts-1")
    async with world(tmp_path, side="vendor") as here:
        for name, value in (("instructions", "slowly"), ("stream_format", "sse")):
            reply = await here.ask("/v1/audio/speech", {**ASKED["/v1/audio/speech"], name: value})
            assert (reply.status, reply.error["param"], reply.error["code"]) == (400, name, "unsupported_value")
        write_routes(tmp_path, modality="Image", model="gpt-image-1-mini")
        reply = await here.ask("/v1/images/generations", {**ASKED["/v1/images/generations"], "response_format": "url"})
        assert (reply.status, reply.error["param"]) == (400, "response_format")
        assert here.server.calls == []
        body = {**ASKED["/v1/images/generations"], "response_format": "b64_json"}
        assert (await here.ask("/v1/images/generations", body)).status == 200
        assert "response_format" not in here.server.calls[0]["body"]


@pytest.mark.parametrize("path", PATHS[Modality.TEXT])
async def test_text_is_counted_by_the_server_in_house_and_twice_at_a_vendor(tmp_path: Path, path: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with world(tmp_path / "a", modality=Modality.TEXT) as here:
        reply = await here.ask(path, ASKED[path])
        assert json.loads(reply.body)["model"] == "any"
        assert json.loads(reply.body)["usage"] == TEXT_USAGE
        assert await here.quantities(reply.request) == {
            ("input_tokens", "measured"): 6,
            ("output_tokens", "measured"): 3,
        }
    async with world(tmp_path / "b", side="vendor", modality=Modality.TEXT) as here:
        reply = await here.ask(path, ASKED[path])
        estimate = 4 if path == "/v1/completions" else 8  # 15 bytes; and 4 tokens for a message
        assert await here.quantities(reply.request) == {
            ("input_tokens", "measured"): estimate,
            ("input_tokens", "billed"): 6,
            ("output_tokens", "measured"): 3,
            ("output_tokens", "billed"): 3,
        }


@pytest.mark.parametrize("path", PATHS[Modality.TEXT])
@pytest.mark.parametrize("shown", [True, False])
async def test_a_stream_of_text_shows_its_usage_to_who_asked(tmp_path: Path, path: str, shown: bool) -> None:
    async with world(tmp_path, side="vendor", modality=Modality.TEXT) as here:
        body = {**ASKED[path], "stream": True, **({"stream_options": {"include_usage": True}} if shown else {})}
        reply = await here.ask(path, body)
        assert here.server.calls[0]["body"]["stream_options"] == {"include_usage": True}
        *chunks, done = (event[6:] for event in reply.body.decode().strip().split("\n\n"))
        assert done == "[DONE]"
        events = [json.loads(chunk) for chunk in chunks]
        assert {event["model"] for event in events} == {"any"}
        assert [event["usage"] for event in events if event.get("usage")] == ([TEXT_USAGE] if shown else [])
        assert len(events) == (3 if shown else 2)
        assert (await here.quantities(reply.request))["output_tokens", "billed"] == 3


async def test_no_usage_from_a_vendor_leaves_our_own_count_as_the_basis(tmp_path: Path) -> None:
    def silent(usage: dict[str, Any]) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response({"choices": [{"text": "Hello you."}], **usage})

        return answer

    async with world(tmp_path, side="vendor", modality=Modality.TEXT) as here:
        nothing: dict[str, Any] = {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}
        for usage in ({}, {"usage": None}, nothing, {"usage": "x"}):
            here.server.answer = silent(usage)
            reply = await here.ask("/v1/completions", ASKED["/v1/completions"])
            assert reply.status == 200
            assert await here.quantities(reply.request) == {
                ("input_tokens", "measured"): 4,
                ("output_tokens", "measured"): 3,
            }


@pytest.mark.parametrize("sent", ["float", "base64", None])
@pytest.mark.parametrize("given", ["float", "base64"])
async def test_vectors_come_in_the_encoding_that_was_asked_for(tmp_path: Path, sent: str | None, given: str) -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -0.25)).decode()

    async def encoded(request: web.Request) -> web.StreamResponse:
        vector = [0.5, -0.25] if given == "float" else packed
        return web.json_response(
            {"object": "list", "data": [{"index": 0, "embedding": vector}], "usage": {"prompt_tokens": 4}}
        )

    async with world(tmp_path, modality=Modality.EMBEDDING) as here:
        here.server.answer = encoded
        body = {"model": "any", "input": "one", **({"encoding_format": sent} if sent else {})}
        reply = await here.ask("/v1/embeddings", body)
        answer = json.loads(reply.body)
        assert answer["data"][0]["embedding"] == (packed if sent == "base64" else [0.5, -0.25])
        assert answer["model"] == "any"
        assert await here.quantities(reply.request) == {("input_tokens", "measured"): 4}


async def test_pictures_are_counted_by_their_own_headers(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    body = {**ASKED["/v1/images/generations"], "n": 3, "size": "64x48"}
    async with world(tmp_path / "a", modality=Modality.IMAGE) as here:
        reply = await here.ask("/v1/images/generations", body)
        pictures = json.loads(reply.body)["data"]
        assert [each["b64_json"] for each in pictures] == [png(64, 48).decode()] * 3
        assert await here.quantities(reply.request) == {
            ("images", "measured"): 3,
            ("pixels", "measured"): 3 * 64 * 48,
            ("pixel_steps", "measured"): 3 * 64 * 48 * 4,
            ("input_tokens", "measured"): 3,
            ("image_tokens", "measured"): 9,
        }
    async with world(tmp_path / "b", side="vendor", modality=Modality.IMAGE) as here:
        reply = await here.ask("/v1/images/generations", body)
        assert await here.quantities(reply.request) == {
            ("images", "measured"): 3,
            ("pixels", "measured"): 3 * 64 * 48,
            ("input_tokens", "measured"): 3,
            ("input_tokens", "billed"): 5,
            ("image_tokens", "measured"): 9,
            ("image_tokens", "billed"): 272,
        }


@pytest.mark.parametrize(
    ("path", "extra", "first", "last"),
    [
        ("/v1/audio/speech", {"response_format": "wav"}, SOUND["wav"], bytes(100)),
        (
            "/v1/audio/speech", {"stream_format": "sse"}, sse({"type": "speech.audio.delta", "audio": "AAAA"}),
            sse({"type": "speech.audio.done"}),
        ),
        ("/v1/chat/completions", {"stream": True}, sse({"choices": [{"delta": {"content": "a"}}]}), sse(b"[DONE]")),
        ("/v1/images/generations", {}, b'{"data":[{"b64_json":"' + png(), b'"}]}'),
    ],
)  # fmt: skip
async def test_the_first_byte_comes_before_the_last_is_made(
    tmp_path: Path, path: str, extra: dict[str, Any], first: bytes, last: bytes
) -> None:
    seen = asyncio.Event()
    event_stream = "stream" in extra or "stream_format" in extra

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream" if event_stream else "audio/x"})
        await response.prepare(request)
        await response.write(first)
        await seen.wait()
        await response.write(last)
        return response

    async with world(tmp_path, modality=MODALITY[path]) as here:
        here.server.answer = answer
        headers = {"content-type": "application/json", **here.identity()}
        body = json.dumps({**ASKED[path], **extra})
        async with here.session.post(here.url(path), data=body, headers=headers) as response:
            piece = await response.content.readany()
            assert piece
            seen.set()
            assert (piece + await response.read()).startswith(first[:6])
        assert (await here.ended("req-1"))["outcome"] == "ok"


async def test_a_spill_reserves_all_units_at_their_most(tmp_path: Path) -> None:
    write_routes(tmp_path, modality="Text", spill_daily_limit="5")
    async with world(tmp_path, side="vendor") as here:
        reply = await here.ask("/v1/completions", {**ASKED["/v1/completions"], "max_tokens": 100, "n": 2}, role="spill")
        assert reply.status == 200
        (asked,) = here.ledger.reservations
        assert (asked["unit"], asked["quantity"]) == ("input_tokens", 4)
        assert asked["more"] == [{"unit": "output_tokens", "quantity": 200}]
        here.ledger.grant = {"granted": False, "reason": "daily_limit"}
        reply = await here.ask("/v1/completions", ASKED["/v1/completions"], role="spill")
        assert (reply.status, reply.outcome) == (429, "refused_policy")
        assert (await here.ended(reply.request))["quantities"] == []
        assert len(here.server.calls) == 1


async def test_a_client_that_leaves_before_the_answer_is_counted_and_the_work_stopped(tmp_path: Path) -> None:
    hangs = Hanging()
    async with world(tmp_path, side="vendor", modality=Modality.SPEECH) as here:
        here.server.answer = hangs
        asking = asyncio.create_task(here.ask("/v1/audio/speech", ASKED["/v1/audio/speech"]))
        await until(lambda: len(here.server.calls) == 1)
        asking.cancel()
        async with asyncio.timeout(60):
            await hangs.cancelled.wait()
        assert (await here.ended("req-1"))["outcome"] == "gone"
        assert await here.quantities("req-1") == {("characters", "measured"): 7}


@pytest.mark.parametrize("last", [[], [{"index": 0, "delta": {}, "finish_reason": "stop"}]])
async def test_a_servers_own_count_stands_whatever_comes_behind_it(tmp_path: Path, last: list[Any]) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        said = {"choices": [{"index": 0, "delta": {"content": "sixteen bytes..."}}], "usage": TEXT_USAGE}
        body = sse(said, {"choices": last}) + b"data: [DONE]\n\n"
        return web.Response(body=body, content_type="text/event-stream")

    async with world(tmp_path, modality=Modality.TEXT) as here:
        here.server.answer = answer
        reply = await here.ask("/v1/chat/completions", {**ASKED["/v1/chat/completions"], "stream": True})
        assert (reply.status, reply.outcome) == (200, "ok")
        assert await here.quantities(reply.request) == {
            ("input_tokens", "measured"): 6,
            ("output_tokens", "measured"): 3,
        }


@pytest.mark.parametrize("leaves", ["client", "backend"])
async def test_a_stream_of_text_that_breaks_off_keeps_what_was_counted(tmp_path: Path, leaves: str) -> None:
    go = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse({"choices": [{"delta": {"content": "twelve bytes"}}]}))
        await go.wait()
        assert request.transport is not None
        request.transport.abort()
        return response

    async with world(tmp_path, side="vendor", modality=Modality.TEXT) as here:
        here.server.answer = answer
        headers = {"content-type": "application/json", **here.identity()}
        body = json.dumps({**ASKED["/v1/chat/completions"], "stream": True})
        async with here.session.post(here.url("/v1/chat/completions"), data=body, headers=headers) as response:
            assert b"twelve bytes" in await response.content.readany()
            if leaves == "client":
                response.close()
            else:
                go.set()
                with pytest.raises(aiohttp.ClientError):  # a reset, never an end
                    await response.read()
        assert (await here.ended("req-1"))["outcome"] == ("gone" if leaves == "client" else "server")
        assert await here.quantities("req-1") == {("input_tokens", "measured"): 8, ("output_tokens", "measured"): 3}
        go.set()
