"""The emulated `/v1/audio/speech` and `/translations` by the OpenAI SDK: formats, streams, refusals, the bill."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests import audio
from tests.gateway.emulator_harness import KEY, emulator, items, meter, probe

pytestmark = pytest.mark.gateway
TEXT = "Twenty characters ok"
WAV = audio.clip("0880").wav


FORMATS = {
    "mp3": ("mp3", "mp3", 24_000, "audio/mpeg"),
    "opus": ("ogg", "opus", 48_000, "audio/ogg"),
    "aac": ("aac", "aac", 24_000, "audio/aac"),
    "flac": ("flac", "flac", 24_000, "audio/flac"),
    "wav": ("wav", "pcm_s16le", 24_000, "audio/wav"),
}


async def test_every_format_is_what_it_says_and_costs_its_characters(
    sdk: openai.AsyncOpenAI, url: str, tmp_path: Path
) -> None:
    for name, (container, codec, rate, content_type) in FORMATS.items():
        answer = await sdk.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format=name)  # type: ignore[arg-type]
        assert answer.response.headers["content-type"] == content_type
        assert "content-length" not in answer.response.headers
        path = tmp_path / f"speech.{name}"
        path.write_bytes(answer.content)
        found = probe(path)
        assert found[:3] == (container, codec, rate)
        assert found[3] == pytest.approx(1.0, abs=0.15)  # 20 characters of 50 ms
    pcm = await sdk.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format="pcm", speed=2)
    assert len(pcm.content) / 2 / 24_000 == pytest.approx(0.5, abs=0.01)
    bill = await meter(url)
    assert bill["units"] == {"characters": 6 * 20}
    assert bill["bill_usd"] == "0.0018"  # 120 characters at 15 USD per million
    assert {line["path"] for line in bill["lines"]} == {"/v1/audio/speech"}


async def test_the_newer_model_is_billed_by_tokens_and_streams_events(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.audio.speech.with_streaming_response.create
    request: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "cedar", "input": TEXT, "instructions": "Calmly."}
    async with create(**request, response_format="pcm") as plain:
        whole = b"".join([chunk async for chunk in plain.iter_bytes()])
    events = []
    async with create(**request, response_format="pcm", stream_format="sse") as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        async for line in streamed.iter_lines():
            if line:
                events.append(json.loads(line.removeprefix("data: ")))
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage["output_tokens"] == 21  # one second at 1250 tokens per minute, rounded up
    assert usage["total_tokens"] == usage["input_tokens"] + 21
    lines = (await meter(url))["lines"]
    for line in lines:
        assert items(line) == {"input_tokens": usage["input_tokens"], "output_audio_tokens": 21}
        assert line["nano_usd"] == usage["input_tokens"] * 600 + 21 * 12_000
    assert len(lines) == 2


async def test_what_the_vendor_refuses(sdk: openai.AsyncOpenAI, url: str) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"input": "x" * 4097}, "input"),
        ({"input": ""}, "input"),
        ({"speed": 0.24}, "speed"),
        ({"speed": 4.01}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"voice": "harper"}, "voice"),
        ({"voice": "marin"}, "voice"),
        ({"voice": {"id": "voice_1234"}}, "voice"),
        ({"instructions": "Calmly."}, "instructions"),
        ({"stream_format": "sse"}, "stream_format"),
        ({"extra_body": {"pitch": 1}}, "pitch"),
        ({"model": "whisper-1"}, "model"),
    ]
    for extra, param in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": "a", **extra})
        assert refused.value.param == param
    with pytest.raises(openai.NotFoundError):
        await sdk.audio.speech.create(model="tts-9", voice="alloy", input="a")
    longest = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="é" * 4096, response_format="pcm")
    assert longest.content
    assert (await meter(url))["units"] == {"characters": 4096}  # code points, whatever their bytes


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'"text"',
        b'{"model":"tts-1","voice":"alloy","input":"\\ud800"}',
        b'{"model":"tts-1","voice":"alloy","input":"a","speed":NaN}',
        b'{"model":"tts-1","voice":"alloy","input":["a"]}',
        b'{"model":1,"voice":"alloy","input":"a"}',
        b"[" * 200_000,
        b"\xff\xfe",
    ],
)
async def test_malformed_json_is_a_400(url: str, body: bytes) -> None:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/v1/audio/speech", data=body) as answer,
    ):
        assert answer.status == 400
        assert set((await answer.json())["error"]) == {"message", "type", "param", "code"}
    assert (await meter(url))["requests"] == 0


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_translations(sdk: openai.AsyncOpenAI, url: str) -> None:
    create = sdk.audio.translations.create
    plain = await create(model="whisper-1", file=WAV)
    assert plain.model_dump() == {"text": "echo of 2990 milliseconds"}  # and no usage
    assert await create(model="whisper-1", file=WAV, response_format="text") == plain.text + "\n"
    verbose = await create(model="whisper-1", file=WAV, response_format="verbose_json")
    assert verbose.language == "english"
    assert float(verbose.duration) == pytest.approx(2.99)
    for refused in ({"language": "de"}, {"timestamp_granularities[]": "word"}, {"stream": "true"}):
        with pytest.raises(openai.BadRequestError):
            await create(model="whisper-1", file=WAV, extra_body=refused)
    with pytest.raises(openai.BadRequestError):
        await create(model="gpt-4o-transcribe", file=WAV)
    bill = await meter(url)
    assert (bill["units"], bill["seconds"], bill["bill_usd"]) == ({"seconds": 9}, 9, "0.0009")


@pytest.mark.models
async def test_the_real_voice_is_understood_and_dies_without_harm(tmp_path: Path) -> None:
    async with (
        emulator(tmp_path, "openai", engine="pocketsphinx") as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        spoken = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="The weather is good. " + "x" * 400, response_format="wav"
        )
        assert len(spoken.content) > 24_000 * 2
        short = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="The weather is good today.", response_format="wav"
        )
        heard = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", short.content))
        assert "weather" in heard.text
        bill = await meter(url)
    assert [line["model"] for line in bill["lines"]] == ["tts-1", "tts-1", "whisper-1"]
