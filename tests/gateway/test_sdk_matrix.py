"""OpenAI's SDK, endpoint x backend x format x stream, through the adapter: it passes, or a 400 names the parameter."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from PIL import Image

from insource.adapter.warmup import tone_wav
from tests.gateway.emulator_harness import probe
from tests.gateway.sdk_backends import IN_HOUSE, VENDOR, Backends, backends, floats

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("sdk-matrix"),
]
SIDES = [IN_HOUSE, VENDOR]
CODECS = {"mp3": "mp3", "opus": "opus", "aac": "aac", "flac": "flac", "wav": "pcm_s16le"}
MESSAGES: Any = [{"role": "user", "content": "one two three"}]
both = pytest.mark.parametrize("side", SIDES)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def at(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Backends]:
    async with backends(tmp_path_factory.mktemp("matrix")) as found:
        yield found


def recording() -> tuple[str, bytes]:
    return "a.wav", tone_wav()


@both
@pytest.mark.parametrize("response_format", ["json", "text", "verbose_json", "srt", "vtt"])
async def test_transcription(at: Backends, side: str, response_format: Any) -> None:
    async with at.sdk(side, "transcription") as sdk:
        extra: dict[str, Any] = {"timestamp_granularities": ["word"]} if response_format == "verbose_json" else {}
        said: Any = await sdk.audio.transcriptions.create(
            file=recording(),
            model="whisper-1",
            response_format=response_format,
            language="en",
            temperature=0.5,
            **extra,
        )
        if response_format == "json":
            assert said.text
        elif response_format == "verbose_json":
            assert said.duration == pytest.approx(1.0, abs=0.01)  # the stub counts a header, too
            assert said.words
        else:
            assert said.startswith("WEBVTT" if response_format == "vtt" else "1\n" if response_format == "srt" else "")
            assert said.strip()


@both
@pytest.mark.parametrize("deployment", ["transcription", "transcription-by-tokens"])
async def test_streamed_transcription(at: Backends, side: str, deployment: str) -> None:
    async with at.sdk(side, deployment) as sdk:
        events = await sdk.audio.transcriptions.create(file=recording(), model="m", stream=True)
        *deltas, done = [event async for event in events]
        assert done.type == "transcript.text.done"
        assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == done.text != ""


@both
@pytest.mark.parametrize("deployment", ["speech", "speech-by-tokens"])
@pytest.mark.parametrize("response_format", [*CODECS, "pcm"])
async def test_speech(at: Backends, side: str, deployment: str, response_format: Any, tmp_path: Path) -> None:
    async with at.sdk(side, deployment) as sdk:
        spoken = await sdk.audio.speech.create(
            model="m", input="Hello you", voice="alloy", response_format=response_format, speed=2.0
        )
        if response_format == "pcm":
            assert len(spoken.content) > 2000
            assert len(spoken.content) % 2 == 0
            return
        file = tmp_path / f"a.{response_format}"
        file.write_bytes(spoken.content)
        _, codec, _, seconds = probe(file)
        assert codec == CODECS[response_format]
        assert seconds > 0.1


@pytest.mark.parametrize(("side", "deployment"), [(IN_HOUSE, "speech"), (VENDOR, "speech-by-tokens")])
async def test_speech_as_events(at: Backends, side: str, deployment: str) -> None:
    async with (
        at.sdk(side, deployment) as sdk,
        sdk.audio.speech.with_streaming_response.create(
            model="m", input="Hello", voice="alloy", response_format="pcm", stream_format="sse"
        ) as streamed,
    ):
        lines = [line async for line in streamed.iter_lines() if line]
        assert all(line.startswith("data: ") for line in lines)
        assert '"speech.audio.delta"' in lines[0]
        assert '"speech.audio.done"' in lines[-1]


@both
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_images(at: Backends, side: str, output_format: Any) -> None:
    async with at.sdk(side, "image") as sdk:
        made = await sdk.images.generate(
            model="m", prompt="a red circle", n=2, size="64x32", output_format=output_format, quality="low"
        )
        assert len(made.data or []) == 2
        for each in made.data or []:
            picture = Image.open(io.BytesIO(base64.b64decode(each.b64_json or "")))
            assert (picture.format, picture.size) == (output_format.upper(), (64, 32))
        assert made.usage is not None


async def test_changed_pictures(at: Backends) -> None:
    held = io.BytesIO()
    Image.new("RGB", (64, 32), "blue").save(held, "PNG")
    asked: dict[str, Any] = {
        "model": "m", "image": ("a.png", held.getvalue(), "image/png"), "prompt": "a red circle", "size": "64x32",
    }  # fmt: skip
    async with at.sdk(VENDOR, "image") as sdk:
        made = await sdk.images.edit(**asked)
        assert [bool(each.b64_json) for each in made.data or []] == [True]
    async with at.sdk(IN_HOUSE, "image") as sdk:
        with pytest.raises(openai.NotFoundError, match="cannot serve /v1/images/edits"):
            await sdk.images.edit(**asked)


@both
async def test_completion(at: Backends, side: str) -> None:
    async with at.sdk(side, "completion") as sdk:
        made = await sdk.completions.create(model="name", prompt=["one two", "three"], n=2, max_tokens=20)
        assert [bool(choice.text) for choice in made.choices] == [True] * 4
        assert made.model == "name"
        assert made.usage is not None
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0


@both
@pytest.mark.parametrize("deployment", ["completion", "chat"])
@pytest.mark.parametrize("usage", [True, False])
async def test_streamed_text(at: Backends, side: str, deployment: str, usage: bool) -> None:
    options: dict[str, Any] = {"stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}
    async with at.sdk(side, deployment) as sdk:
        stream: Any = (
            await sdk.completions.create(model="name", prompt="one two three", **options)
            if deployment == "completion"
            else await sdk.chat.completions.create(model="name", messages=MESSAGES, **options)
        )
        chunks = [chunk async for chunk in stream]
        choices = [choice for chunk in chunks for choice in chunk.choices]
        pieces = [choice.text if deployment == "completion" else choice.delta.content or "" for choice in choices]
        assert "".join(pieces).replace(" ", "").endswith("onetwothree")
        assert choices[-1].finish_reason in ("stop", "length")
        assert {chunk.model for chunk in chunks} == {"name"}
        told = [chunk.usage for chunk in chunks if chunk.usage]
        assert [bool(each.completion_tokens) for each in told] == [True] * usage


@both
async def test_chat(at: Backends, side: str) -> None:
    async with at.sdk(side, "chat") as sdk:
        turns: Any = [{"role": "system", "content": "Be brief."}, *MESSAGES]
        made = await sdk.chat.completions.create(
            model="name", messages=turns, n=2, max_completion_tokens=20, temperature=0.5, seed=7, stop=["zzz"]
        )
        assert [choice.message.role for choice in made.choices] == ["assistant"] * 2
        assert all(choice.message.content for choice in made.choices)
        assert made.model == "name"
        assert made.usage is not None


@both
@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
@pytest.mark.parametrize("given", ["one", ["one", "two three"]])
async def test_embeddings(at: Backends, side: str, encoding_format: Any, given: Any) -> None:
    async with at.sdk(side, "embedding") as sdk:
        asked = {"encoding_format": encoding_format} if encoding_format else {}
        made = await sdk.embeddings.create(model="name", input=given, **asked)
        count = 1 if isinstance(given, str) else len(given)
        assert [each.index for each in made.data] == list(range(count))
        if encoding_format == "base64":
            assert all(len(base64.b64decode(str(each.embedding))) % 4 == 0 for each in made.data)
        else:
            assert all(floats(each.embedding).any() for each in made.data)
        assert made.usage.prompt_tokens > 0


Ask = Callable[[openai.AsyncOpenAI], Any]


def transcribe(**asked: Any) -> Ask:
    return lambda sdk: sdk.audio.transcriptions.create(**{"file": recording(), "model": "m", **asked})


def speak(**asked: Any) -> Ask:
    return lambda sdk: sdk.audio.speech.create(**{"model": "m", "input": "Hello", "voice": "alloy", **asked})


def draw(**asked: Any) -> Ask:
    return lambda sdk: sdk.images.generate(**{"model": "m", "prompt": "a red circle", "size": "64x32", **asked})


def complete(**asked: Any) -> Ask:
    return lambda sdk: sdk.completions.create(**{"model": "m", "prompt": "one", **asked})


def talk(**asked: Any) -> Ask:
    return lambda sdk: sdk.chat.completions.create(**{"model": "m", "messages": MESSAGES, **asked})


def embed(**asked: Any) -> Ask:
    return lambda sdk: sdk.embeddings.create(**{"model": "m", "input": "one", **asked})


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
EVERYWHERE: list[tuple[str, Ask, str]] = [
    ("transcription", transcribe(response_format="yaml"), "response_format"),
    ("transcription", transcribe(response_format="srt", stream=True), "response_format"),
    ("transcription", transcribe(timestamp_granularities=["word"]), "timestamp_granularities"),
    ("transcription", transcribe(temperature=2), "temperature"),
    ("transcription", transcribe(language="English"), "language"),
    ("transcription", transcribe(include=["logprobs"]), "include"),
    ("transcription", transcribe(file=("a.wav", b"no sound at all")), "file"),
    ("speech", speak(response_format="amr"), "response_format"),
    ("speech", speak(speed=9), "speed"),
    ("speech", speak(input=""), "input"),
    ("speech", speak(voice="nobody"), "voice"),
    ("speech", speak(instructions="slowly"), "instructions"),
    ("image", draw(n=11), "n"),
    ("image", draw(size="65x31"), "size"),
    ("image", draw(output_format="gif"), "output_format"),
    ("image", draw(response_format="url"), "response_format"),
    ("image", draw(stream=True), "stream"),
    ("completion", complete(temperature=3), "temperature"),
    ("completion", complete(stream_options={"include_usage": True}), "stream_options"),
    ("completion", complete(best_of=2, n=3), "best_of"),
    ("completion", complete(best_of=2), "best_of"),
    ("completion", complete(logprobs=2), "logprobs"),
    ("completion", complete(prompt=[1, 2, 3]), "prompt"),
    ("chat", talk(messages=[]), "messages"),
    ("chat", talk(stream_options={"include_usage": True}), "stream_options"),
    ("chat", talk(max_tokens=3, max_completion_tokens=3), "max_tokens"),
    ("chat", talk(tools=TOOLS), "tools"),
    ("chat", talk(logprobs=True), "logprobs"),
    ("chat", talk(service_tier="flex"), "service_tier"),
    ("chat", talk(modalities=["audio"]), "modalities"),
    ("embedding", embed(input=""), "input"),
    ("embedding", embed(input=[1, 2, 3]), "input"),
    ("embedding", embed(dimensions=0), "dimensions"),
    ("embedding", embed(dimensions=3000), "dimensions"),
    ("embedding", embed(encoding_format="int8"), "encoding_format"),
]
"""Deployment, what is asked of it, and the parameter that is refused by either side."""
BY_ONE_SIDE: list[tuple[str, str, Ask, str]] = [
    (VENDOR, "transcription-by-tokens", transcribe(response_format="verbose_json"), "response_format"),
    (VENDOR, "transcription-by-tokens", transcribe(response_format="srt"), "response_format"),
    (VENDOR, "speech", speak(stream_format="sse"), "stream_format"),
    (VENDOR, "image", draw(output_format="jpeg", background="transparent"), "background"),
    (IN_HOUSE, "image", draw(background="transparent"), "background"),
    (IN_HOUSE, "completion", complete(echo=True), "echo"),
    (IN_HOUSE, "completion", complete(presence_penalty=1), "presence_penalty"),
    (IN_HOUSE, "embedding", embed(dimensions=1), "dimensions"),
]


@pytest.mark.parametrize(
    ("side", "deployment", "ask", "param"),
    [(side, *case) for side in SIDES for case in EVERYWHERE] + BY_ONE_SIDE,
    ids=[f"{side}-{case[0]}-{case[2]}" for side in SIDES for case in EVERYWHERE]
    + [f"{side}-{deployment}-{param}" for side, deployment, _, param in BY_ONE_SIDE],
)
async def test_what_is_not_possible_is_refused_by_name(
    at: Backends, side: str, deployment: str, ask: Ask, param: str
) -> None:
    async with at.sdk(side, deployment) as sdk:
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(sdk)
        error: Any = refused.value
        assert error.param == param, error
        assert error.type == "invalid_request_error"
        assert param in error.message


@both
@pytest.mark.parametrize(
    ("deployment", "ask"), [("speech", talk()), ("chat", embed()), ("embedding", draw()), ("image", transcribe())]
)
async def test_a_deployment_of_something_else(at: Backends, side: str, deployment: str, ask: Ask) -> None:
    async with at.sdk(side, deployment) as sdk:
        with pytest.raises(openai.NotFoundError, match="This deployment is for") as refused:
            await ask(sdk)
        assert refused.value.code == "unknown_url"
