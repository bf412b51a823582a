"""The OpenAI emulator on the wire, as the OpenAI SDK meets it: answers, errors, limits, faults, and the bill."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from insource.emulator.program import run_emulator
from insource.emulator.settings import EmulatorSettings
from tests import audio
from tests.gateway.emulator_harness import KEY, emulator, faults, meter
from tests.programs import program

pytestmark = pytest.mark.gateway
WAV = audio.clip("0880").wav


async def test_whisper_answers_every_format_and_bills_each(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.audio.transcriptions.create
    plain = await create(model="whisper-1", file=WAV)
    assert plain.text == "echo of 2990 milliseconds"
    assert plain.usage is not None
    assert (plain.usage.type, plain.usage.seconds) == ("duration", 3)
    assert await create(model="whisper-1", file=WAV, response_format="text") == plain.text + "\n"
    assert (await create(model="whisper-1", file=WAV, response_format="srt")).startswith("1\n00:00:00,000 -->")
    assert (await create(model="whisper-1", file=WAV, response_format="vtt")).startswith("WEBVTT\n\n00:00:00.000")
    verbose = await create(model="whisper-1", file=WAV, response_format="verbose_json")
    assert verbose.duration == pytest.approx(2.99)
    assert verbose.segments
    assert verbose.words is None
    words = await create(model="whisper-1", file=WAV, response_format="verbose_json", timestamp_granularities=["word"])
    assert [word.word for word in words.words or ()] == plain.text.split()
    assert words.segments is None
    bill = await meter(url)
    assert (bill["requests"], bill["seconds"], bill["bill_usd"]) == (6, 18, "0.0018")


async def test_gpt_4o_knows_json_and_streams(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.audio.transcriptions.create
    plain = await create(model="gpt-4o-transcribe", file=WAV)
    assert plain.usage is not None
    assert plain.usage.type == "tokens"
    with pytest.raises(openai.BadRequestError, match="not compatible") as refused:
        await create(model="gpt-4o-transcribe", file=WAV, response_format="verbose_json")
    assert (refused.value.param, refused.value.code) == ("response_format", "unsupported_value")
    events = [event async for event in await create(model="gpt-4o-mini-transcribe", file=WAV, stream=True)]
    assert events[-1].type == "transcript.text.done"
    assert events[-1].usage is not None
    assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == events[-1].text
    assert (await meter(url))["requests"] == 2


async def test_headers_and_request_ids(url: str) -> None:
    form = aiohttp.FormData()
    form.add_field("file", WAV.read_bytes(), filename="a.wav")
    form.add_field("model", "whisper-1")
    headers = {"authorization": f"Bearer {KEY}", "x-client-request-id": "mine", "x-request-id": "gateway-1"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/audio/transcriptions", data=form, headers=headers) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "500"
        assert answer.headers["x-ratelimit-remaining-requests"] == "499"
        assert answer.headers["x-ratelimit-reset-requests"].endswith("ms")
        assert int(answer.headers["openai-processing-ms"]) >= 0
        request_id = answer.headers["x-request-id"]
    [line] = (await meter(url))["lines"]
    assert (line["id"], line["client_request_id"], line["caller_request_id"]) == (request_id, "mine", "gateway-1")


async def test_keys(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-proj-wrong0123456789z", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.audio.transcriptions.create(model="whisper-1", file=WAV)
    assert refused.value.code == "invalid_api_key"
    assert "sk-proj-************789z" in refused.value.message
    assert "wrong" not in refused.value.message
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/audio/transcriptions") as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["message"].startswith("You didn't provide an API key.")
    assert (await meter(url))["requests"] == 0


async def test_bad_requests_name_the_parameter(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.audio.transcriptions.create
    with pytest.raises(openai.NotFoundError) as refused:
        await create(model="whisper-9", file=WAV)
    assert refused.value.code == "model_not_found"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"file": ("a.wav", b"no audio")}, "file"),
        ({"file": ("a.txt", b"no audio")}, "file"),
        ({"file": ("a.wav", audio.silence(20))}, "file"),
        ({"response_format": "xml"}, "response_format"),
        ({"temperature": 3}, "temperature"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
    ]
    for extra, param in cases:
        with pytest.raises(openai.BadRequestError) as wrong:
            await create(**{"model": "whisper-1", "file": WAV, **extra})
        assert wrong.value.param == param
    assert (await meter(url))["requests"] == 0


async def test_the_rate_limit_refuses_and_says_when(sdk: openai.AsyncOpenAI, url: str) -> None:
    await faults(url, rate_limit_rpm=2)
    for _ in range(2):
        await sdk.audio.transcriptions.create(model="whisper-1", file=WAV)
    with pytest.raises(openai.RateLimitError) as refused:
        await sdk.audio.transcriptions.create(model="whisper-1", file=WAV)
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 30
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert (await meter(url))["requests"] == 2


async def test_faults(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.audio.transcriptions.create
    await faults(url, error_rate=1, status=503)
    with pytest.raises(openai.InternalServerError, match="overloaded"):
        await create(model="whisper-1", file=WAV)
    await faults(url, reset=True)
    with pytest.raises(openai.APIConnectionError):
        await create(model="whisper-1", file=WAV)
    await faults(url, hang=True)
    with pytest.raises(openai.APITimeoutError):
        await create(model="whisper-1", file=WAV, timeout=0.3)
    hanging = asyncio.create_task(create(model="whisper-1", file=WAV))
    async with asyncio.timeout(60):
        while (await meter(url))["arrived"] < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await faults(url)
    assert (await hanging).text
    assert (await meter(url))["requests"] == 1


async def test_unknown_faults_are_refused(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/emulator/faults", json={"fire": 1}) as answer:
        assert answer.status == 400


async def test_the_bill_survives_a_kill(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    code = (
        "from pathlib import Path\nfrom insource.emulator.program import run_emulator\n"
        "from insource.emulator.settings import EmulatorSettings\n"
        f"run_emulator(EmulatorSettings(data=Path({str(tmp_path)!r}), key_file=Path({str(key_file)!r}), engine='echo'))"
    )
    with program(code, os.environ) as first:
        async with openai.AsyncOpenAI(base_url=f"{first.url}/v1", api_key=KEY, max_retries=0) as client:
            create = client.audio.transcriptions.create
            answers = await asyncio.gather(*(create(model="whisper-1", file=WAV) for _ in range(10)))
            first.process.kill()
            first.process.wait()
    assert len(answers) == 10
    with program(code, os.environ) as second:
        bill = await meter(second.url)
    assert (bill["requests"], bill["bill_usd"]) == (10, "0.003")


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loopback"):
        run_emulator(EmulatorSettings(data=tmp_path, key_file=tmp_path / "key", listen="0.0.0.0:0"))


@pytest.mark.models
async def test_the_real_engine_hears_speech_and_dies_without_harm(tmp_path: Path) -> None:
    async with (
        emulator(tmp_path, "openai", engine="pocketsphinx") as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        create = client.audio.transcriptions.create
        heard = await create(model="whisper-1", file=audio.clip("0930").wav)
        assert "might" in heard.text
        leaving = asyncio.create_task(create(model="whisper-1", file=audio.clip("0930").wav, timeout=0.2))
        with pytest.raises(openai.APITimeoutError):
            await leaving
        words = await create(
            model="whisper-1",
            file=("a.m4a", audio.encoded("0930", "m4a")),
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
        assert "might" in words.text
        assert words.words
        silent = await create(model="whisper-1", file=("a.wav", audio.silence(1500)))
        assert isinstance(silent.text, str)
        bill = await meter(url)
    assert [line["seconds"] for line in bill["lines"]] == [4, 4, 4, 2]  # who leaves is billed all the same
    assert json.dumps(bill)
