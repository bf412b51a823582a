"""Bad days of the emulated vendors, on the wire: what is answered, and what is billed all the same."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.gateway.emulator_harness import KEY, emulator, faults, meter

pytestmark = pytest.mark.gateway
EMBED = "/v1/embeddings"
CHAT = "/v1/chat/completions"
BODY = {"model": "text-embedding-3-small", "input": "a"}
CHAT_BODY = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "a b c"}], "stream": True}


async def test_answers_that_are_none(client: aiohttp.ClientSession, url: str) -> None:
    async with client.post(EMBED, json=BODY) as answer:
        whole = await answer.read()
    for fault, billed in (("empty", 2), ("truncated", 3), ("html", 3), ("error", 3)):
        await faults(url, answer=fault)
        async with client.post(EMBED, json=BODY) as answer:
            assert answer.status == 200
            content = await answer.read()
        match fault:
            case "empty":
                assert content == b""
            case "truncated":
                assert content == whole[: len(whole) // 2]
            case "html":
                assert answer.content_type == "text/html"
                assert content.startswith(b"<!DOCTYPE html>")
            case "error":
                assert set(json.loads(content)) == {"error"}
        assert (await meter(url))["requests"] == billed
    await faults(url, answer="closed")
    async with client.post(EMBED, json=BODY) as answer:
        assert answer.headers["content-length"] == str(len(whole))
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert (await meter(url))["requests"] == 4


async def test_streams_that_break(client: aiohttp.ClientSession, url: str) -> None:
    async with client.post(CHAT, json=CHAT_BODY) as answer:
        whole = await answer.read()
    assert whole.endswith(b"data: [DONE]\n\n")
    await faults(url, answer="truncated")
    async with client.post(CHAT, json=CHAT_BODY) as answer:
        assert abs(2 * len(await answer.read()) - len(whole)) < 20  # the ids differ, not their length
    await faults(url, answer="closed")
    async with client.post(CHAT, json=CHAT_BODY) as answer:
        assert answer.status == 200
        seen = b""
        try:
            async for chunk in answer.content.iter_any():
                seen += chunk
        except aiohttp.ClientPayloadError:
            broken = True
        else:
            broken = False
    assert broken
    assert seen.startswith(b"data: {")
    assert b"[DONE]" not in seen
    await faults(url, answer="empty")
    async with client.post(CHAT, json=CHAT_BODY) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert (await meter(url))["requests"] == 4


async def test_slow_by_byte(client: aiohttp.ClientSession, url: str) -> None:
    await faults(url, byte_ms=1)
    async with client.post(CHAT, json={**CHAT_BODY, "stream": False}) as answer:
        first = await answer.content.readany()
        assert len(first) < int(answer.headers["content-length"])
        assert json.loads(first + await answer.read())["choices"][0]["message"]["content"] == "Echo: a b c"


@pytest.mark.parametrize("form", ["seconds", "date", "absent"])
async def test_every_way_to_say_when_to_come_again(client: aiohttp.ClientSession, url: str, form: str) -> None:
    await faults(url, error_rate=1, status=429, retry_after=form, retry_after_s=7)
    before = datetime.now(UTC)
    async with client.post(EMBED, json=BODY) as by_fault:
        assert (by_fault.status, (await by_fault.json())["error"]["code"]) == (429, "rate_limit_exceeded")
    await faults(url, rate_limit_rpm=1, retry_after=form)
    async with client.post(EMBED, json=BODY) as admitted:
        assert admitted.status == 200
    async with client.post(EMBED, json=BODY) as by_limit:
        assert by_limit.status == 429
    after = datetime.now(UTC)
    for answer, longest in ((by_fault, 7), (by_limit, 60)):
        match form:
            case "seconds":
                assert 1 <= int(answer.headers["retry-after"]) <= longest
            case "date":
                at = parsedate_to_datetime(answer.headers["retry-after"])
                assert before < at + timedelta(seconds=1)
                assert at <= after + timedelta(seconds=longest)
                assert "retry-after-ms" not in answer.headers
            case _:
                assert not {"retry-after", "retry-after-ms"} & {name.lower() for name in answer.headers}
    assert (await meter(url))["requests"] == 1


VENDORS: list[tuple[str, str, dict[str, str], dict[str, Any]]] = [
    ("openai", EMBED, {"authorization": f"Bearer {KEY}"}, {"json": BODY}),
    (
        "azure-openai",
        "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21",
        {"api-key": KEY},
        {"json": BODY},
    ),
    (
        "azure-speech",
        "/cognitiveservices/v1",
        {
            "ocp-apim-subscription-key": KEY,
            "content-type": "application/ssml+xml",
            "x-microsoft-outputformat": "raw-24khz-16bit-mono-pcm",
        },
        {
            "data": "<speak version='1.0' xmlns='http://www.w3.org/2001/10/synthesis' xml:lang='en-US'>"
            "<voice name='en-US-Harper:MAI-Voice-2-Flash'>a</voice></speak>"
        },
    ),
    (
        "azure-images",
        "/mai/v1/images/generations",
        {"api-key": KEY},
        {"json": {"model": "MAI-Image-2.6", "prompt": "a"}},
    ),
]


@pytest.mark.parametrize(("vendor", "path", "headers", "request_"), VENDORS, ids=[one[0] for one in VENDORS])
async def test_every_vendor_suffers_in_its_own_words(
    tmp_path: Path, vendor: str, path: str, headers: dict[str, str], request_: dict[str, Any]
) -> None:
    async with emulator(tmp_path, vendor, requests_per_minute=1000) as url, aiohttp.ClientSession(url) as session:
        for status in (401, 429, 500, 503):
            await faults(url, error_rate=1, status=status)
            async with session.post(path, headers=headers, **request_) as answer:
                assert answer.status == status
                error = (await answer.json())["error"]
                assert error["message"]
                assert set(error) == ({"message", "type", "param", "code"} if vendor == "openai" else set(error))
                assert ("retry-after" in answer.headers) == (status == 429)
        await faults(url, reset=True)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(path, headers=headers, **request_)
        await faults(url, answer="closed")
        async with session.post(path, headers=headers, **request_) as broken:
            with pytest.raises(aiohttp.ClientPayloadError):
                await broken.read()
        await faults(url)
        async with session.post(path, headers=headers, **request_) as answer:
            assert answer.status == 200
            assert await answer.read()
        assert (await meter(url))["requests"] == 2


async def test_a_fault_can_be_of_one_path(client: aiohttp.ClientSession, url: str) -> None:
    await faults(url, path="/embeddings", error_rate=1, status=503)
    async with client.post(EMBED, json=BODY) as answer:
        assert answer.status == 503
    async with client.post(CHAT, json=CHAT_BODY) as answer:
        assert answer.status == 200


async def test_the_sdk_gives_up_on_a_stream_that_breaks(url: str) -> None:
    await faults(url, answer="closed")
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(**CHAT_BODY)  # type: ignore[call-overload]
        with pytest.raises(openai.APIConnectionError):
            async for _ in stream:
                pass


async def test_who_leaves_in_the_middle_is_billed_all_the_same(url: str) -> None:
    await faults(url, byte_ms=1)
    headers = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(url, headers=headers) as leaving:
        async with leaving.post(CHAT, json=CHAT_BODY) as answer:
            await answer.content.readexactly(10)
            answer.close()
        speech = {"model": "tts-1", "voice": "alloy", "input": "a" * 400, "response_format": "pcm"}
        async with leaving.post("/v1/audio/speech", json=speech) as answer:
            await answer.content.readexactly(10)
            answer.close()
    assert (await meter(url))["units"] == {"input_tokens": 3 + 4 + 3, "output_tokens": 5, "characters": 400}


async def test_work_that_is_wanted_at_once_is_billed_each(client: aiohttp.ClientSession, url: str) -> None:
    async def one(number: int) -> int:
        body = {"model": "tts-1", "voice": "alloy", "input": "a" * number, "response_format": "opus"}
        async with client.post("/v1/audio/speech", json=body) as answer:
            await answer.read()
            return answer.status

    assert set(await asyncio.gather(*(one(number) for number in range(1, 41)))) == {200}
    bill = await meter(url)
    assert (bill["requests"], bill["units"]) == (40, {"characters": 820})
