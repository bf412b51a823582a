"""Our dialects against the emulated vendors, which are written from the public formats and count for themselves:
every request is taken, and both bills are the same."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest
from PIL import Image

from insource.adapter.backends import Vendor
from insource.wire.vocabulary import Dialect, Modality
from tests import audio
from tests.gateway import emulator_harness
from tests.gateway.adapter_harness import Reply, World, until, world, write_routes
from tests.gateway.emulator_harness import emulator, faults, items, meter
from tests.gateway.test_adapter_image_edits import EDITS
from tests.gateway.test_adapter_modalities import ASKED, MODALITY

pytestmark = pytest.mark.gateway
IMAGES = "/v1/images/generations"
SPEECH = "/v1/audio/speech"
VERSIONS = ["2024-10-21", "v1", "preview"]
MODELS = {
    Modality.TRANSCRIPTION: "gpt-4o-mini-transcribe",
    Modality.SPEECH: "gpt-4o-mini-tts",
    Modality.IMAGE: "gpt-image-1-mini",
    Modality.TEXT: "gpt-6-luna",
    Modality.EMBEDDING: "text-embedding-3-small",
}


@asynccontextmanager
async def emulated(
    folder: Path, vendor: str, dialect: Dialect, modality: Modality, model: str, **backend: Any
) -> AsyncIterator[tuple[World, str]]:
    """An adapter that speaks this dialect to this emulator, and the emulator's URL."""
    (folder / "vendor").mkdir()
    write_routes(folder, modality=modality.value, model=model)
    async with emulator(folder / "vendor", vendor) as url:
        base = "/v1" if dialect in (Dialect.OPENAI, Dialect.OPENAI_COMPATIBLE) else ""
        settings = {"dialect": dialect, "endpoint": f"{url}{base}", **backend}
        async with world(folder, side="vendor", modality=modality, backend=settings) as here:
            (folder / "key").write_text(emulator_harness.KEY + "\n")
            yield here, url


async def billed(url: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = (await meter(url))["lines"]
    return lines


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", ASKED)
async def test_azure_openai(tmp_path: Path, path: str, version: str) -> None:
    modality = MODALITY[path]
    models = {**MODELS, Modality.TEXT: MODELS[Modality.TEXT] if "chat" in path else "gpt-35-turbo-instruct"}
    azure = emulated(tmp_path, "azure-openai", Dialect.AZURE_OPENAI, modality, models[modality], api_version=version)
    async with azure as (here, url):
        reply = await here.ask(path, ASKED[path])
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        assert len(await billed(url)) == 1


async def test_azure_openai_transcribes_by_a_whisper_deployment(tmp_path: Path) -> None:
    azure = emulated(
        tmp_path, "azure-openai", Dialect.AZURE_OPENAI, Modality.TRANSCRIPTION, "whisper", api_version="2024-10-21"
    )
    async with azure as (here, url):
        for response_format in ("json", "text", "srt", "vtt", "verbose_json"):
            reply = await here.post([("model", "any"), ("response_format", response_format)], audio.encoded())
            assert reply.status == 200, reply.body
        assert len(await billed(url)) == 5


@pytest.mark.parametrize("model", ["MAI-Transcribe-2", "MAI-Transcribe-1.5"])
@pytest.mark.parametrize("encoding", ["wav", "mp3", "flac"])
async def test_mai_transcribe_hears_and_bills_the_same_length(
    tmp_path: Path, model: str, encoding: audio.Encoding
) -> None:
    speech = emulated(tmp_path, "azure-speech", Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, model)
    async with speech as (here, url):
        formats = ["json", "text", *(["srt", "vtt", "verbose_json"] if model.endswith("-2") else [])]
        for response_format in formats:
            asked = [("model", "any"), ("response_format", response_format), ("language", "en")]
            reply = await here.post(asked, audio.encoded("0880", encoding))
            assert (reply.status, reply.outcome) == (200, "ok"), reply.body
            assert b"echo" in reply.body
            counted = await here.quantities(reply.request)
            (line,) = (await billed(url))[-1:]
            assert counted["audio_ms", "billed"] == items(line)["audio_ms"]
            assert abs(counted["audio_ms", "measured"] - counted["audio_ms", "billed"]) < 100
            assert line["client_request_id"] == f"{reply.request}.0.1"


async def test_words_and_events_of_mai_transcribe(tmp_path: Path) -> None:
    speech = emulated(tmp_path, "azure-speech", Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2")
    async with speech as (here, _):
        asked = [("model", "any"), ("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
        told = json.loads((await here.post(asked, audio.encoded())).body)
        assert [word["word"] for word in told["words"]] == ["echo", "of", "2990", "milliseconds"]
        events = await here.post([("model", "any"), ("stream", "true")], audio.encoded())
        assert b"transcript.text.done" in events.body


@pytest.mark.parametrize(
    ("response_format", "codec", "rate", "speed"),
    [
        ("mp3", "mp3", 24_000, 1.5),
        ("opus", "opus", 48_000, 0.5),
        ("wav", "pcm_s16le", 24_000, 1),
        ("pcm", "", 24_000, 2),
    ],
)
async def test_mai_voice_speaks_and_bills_the_same_characters(
    tmp_path: Path, response_format: str, codec: str, rate: int, speed: float
) -> None:
    said = 'Tom & Jerry <b>say</b> "hi"\r\n]]> \u00fc \U0001f600 \u6771\u4eac\u306f \U00020000 \uf900'
    speech = emulated(tmp_path, "azure-speech", Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash")
    async with speech as (here, url):
        body = {
            "model": "any",
            "input": said,
            "voice": "en-US-Harper",
            "response_format": response_format,
            "speed": speed,
        }
        reply = await here.ask(SPEECH, body)
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        (line,) = await billed(url)
        rate_tags = "" if speed == 1 else f'<prosody rate="{(speed - 1) * 100:+.2f}%"></prosody>'
        characters = len(said) + 4 + len(rate_tags)  # four are Chinese
        assert items(line) == {"characters": characters}
        assert await here.quantities(reply.request) == {
            ("characters", "measured"): len(said),
            ("characters", "billed"): characters,
        }
        if codec:
            with av.open(io.BytesIO(reply.body)) as container:
                stream = container.streams.audio[0]
                assert (stream.codec_context.name.removesuffix("float"), stream.codec_context.sample_rate) == (
                    codec,
                    rate,
                )


async def test_a_voice_that_the_vendor_has_not_is_the_clients_mistake(tmp_path: Path) -> None:
    speech = emulated(tmp_path, "azure-speech", Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash")
    async with speech as (here, url):
        reply = await here.ask(SPEECH, {"model": "any", "input": "Hello", "voice": "en-US-Nobody"})
        assert (reply.status, reply.outcome) == (400, "client")
        assert "Unsupported voice" in reply.error["message"]
        assert await billed(url) == []


@pytest.mark.parametrize("size", ["auto", "1024x1024", "768x768", "768x1365", "1365x768"])
async def test_mai_image_draws_what_is_asked_and_the_estimate_is_the_bill(tmp_path: Path, size: str) -> None:
    async with emulated(tmp_path, "azure-images", Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5") as (here, url):
        reply = await here.ask(IMAGES, {"model": "any", "prompt": "a red circle", "size": size})
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        picture = Image.open(io.BytesIO(base64.b64decode(json.loads(reply.body)["data"][0]["b64_json"])))
        assert f"{picture.width}x{picture.height}" == size.replace("auto", "1024x1024")
        (line,) = await billed(url)
        counted = await here.quantities(reply.request)
        assert counted["image_tokens", "measured"] == items(line)["output_image_tokens"]


async def test_mai_image_edits(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("RGB", (800, 800), "red").save(held, "JPEG")
    async with emulated(tmp_path, "azure-images", Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5") as (here, url):
        reply = await here.send_form(EDITS, [("model", "m"), ("prompt", "a blue circle"), ("image", held.getvalue())])
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        (line,) = await billed(url)
        counted = await here.quantities(reply.request)
        assert counted["image_tokens", "measured"] == items(line)["output_image_tokens"]
        assert counted["input_image_tokens", "measured"] == items(line)["input_image_tokens"] == 625


@pytest.mark.parametrize(("vendor", "dialect", "more"), [
    ("openai", Dialect.OPENAI, {}), ("azure-openai", Dialect.AZURE_OPENAI, {"api_version": "preview"}),
])  # fmt: skip
async def test_pictures_that_go_in_are_billed_as_what_they_are(
    tmp_path: Path, vendor: str, dialect: Dialect, more: dict[str, str]
) -> None:
    held = io.BytesIO()
    Image.new("RGB", (1024, 768), "red").save(held, "PNG")
    async with emulated(tmp_path, vendor, dialect, Modality.IMAGE, "gpt-image-2", **more) as (here, url):
        parts = [("model", "m"), ("prompt", "a blue circle"), ("image", held.getvalue()), ("size", "1024x1024")]
        reply = await here.send_form(EDITS, parts)
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        (line,) = await billed(url)
        counted = await here.quantities(reply.request)
        names = {"input_tokens": "input_text_tokens", "image_tokens": "output_image_tokens"}
        told = {unit: quantity for (unit, source), quantity in counted.items() if source == "billed"}
        assert {names.get(unit, unit): quantity for unit, quantity in told.items()} == items(line)
        assert items(line)["input_image_tokens"] > 0


async def test_a_limit_of_the_vendor_is_not_met_twice(tmp_path: Path) -> None:
    async with emulated(tmp_path, "azure-images", Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5") as (here, url):
        body = {"model": "any", "prompt": "a red circle"}
        replies = [await here.ask(IMAGES, body) for _ in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 429, 429]
        assert all(int(reply.headers["retry-after"]) <= 60 for reply in replies[2:])
        assert len(await billed(url)) == 2


@pytest.mark.parametrize("vendor", ["azure-openai", "azure-speech", "azure-images"])
async def test_a_key_that_the_vendor_does_not_know(tmp_path: Path, vendor: str) -> None:
    dialect, modality, model = {
        "azure-openai": (Dialect.AZURE_OPENAI, Modality.SPEECH, "gpt-4o-mini-tts"),
        "azure-speech": (Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash"),
        "azure-images": (Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5"),
    }[vendor]
    async with emulated(tmp_path, vendor, dialect, modality, model, api_version="2024-10-21") as (here, url):
        (tmp_path / "key").write_text("another-key\n")
        asked = ASKED[IMAGES] if modality is Modality.IMAGE else {**ASKED[SPEECH], "voice": "en-US-Harper"}
        reply = await here.ask(IMAGES if modality is Modality.IMAGE else SPEECH, asked)
        assert (reply.status, reply.outcome) == (503, "refused_credentials"), reply.body
        assert here.adapter.state().credentials_resolved is False
        assert await billed(url) == []


KINDS = {
    "azure-openai": (Dialect.AZURE_OPENAI, Modality.SPEECH, "gpt-4o-mini-tts"),
    "azure-speech": (Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash"),
    "fast-transcription": (Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2"),
    "azure-images": (Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5"),
}


async def asked(here: World, modality: Modality, voice: str = "en-US-Harper") -> Reply | None:
    """The answer; None if the connection was broken off."""
    try:
        if modality is Modality.TRANSCRIPTION:
            return await here.post([("model", "any")], audio.encoded())
        if modality is Modality.IMAGE:
            return await here.ask(IMAGES, {"model": "any", "prompt": "a red circle"})
        return await here.ask(SPEECH, {"model": "any", "input": "Hello there", "voice": voice})
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_days_of_each_vendor(tmp_path: Path, kind: str) -> None:
    dialect, modality, model = KINDS[kind]
    vendor = "azure-speech" if kind == "fast-transcription" else kind
    version = {"api_version": "2024-10-21" if dialect is Dialect.AZURE_OPENAI else ""}
    sound = modality is Modality.SPEECH
    voice = "alloy" if dialect is Dialect.AZURE_OPENAI else "en-US-Harper"
    async with emulated(tmp_path, vendor, dialect, modality, model, **version) as (here, url):
        bad: list[tuple[dict[str, Any], str]] = [
            ({"error_rate": 1, "status": 401}, "refused_credentials"),
            ({"error_rate": 1, "status": 500}, "server"),
            ({"error_rate": 1, "status": 503}, "server"),
            ({"error_rate": 1, "status": 504}, "timeout"),
            ({"reset": True}, "server"),
            ({"answer": "empty"}, "server"),
            ({"answer": "html"}, "server"),
            ({"answer": "error"}, "server"),
            *([] if sound else [({"answer": "truncated"}, "server"), ({"answer": "closed"}, "server")]),
        ]
        backend = here.adapter.backend
        assert isinstance(backend, Vendor)
        window = backend._window
        for fault, outcome in bad:
            await faults(url, **fault, rate_limit_rpm=1000)
            reply = await asked(here, modality, voice)
            assert reply is not None
            assert (reply.status, reply.outcome) == (503, outcome), (fault, reply.body)
        if sound:  # a part has gone out: the client must see that the rest is missing
            await faults(url, answer="closed")
            assert await asked(here, modality, voice) is None
            await until(lambda: any(end["reason"] == "broken_off" for end in here.ledger.ends().values()))
        await faults(url, byte_ms=0.01 if modality is not Modality.IMAGE else 0, rate_limit_rpm=1000)
        reply = await asked(here, modality, voice)
        assert reply is not None
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        assert here.adapter.state().credentials_resolved is True
        for form, wait_s in (("date", 2), ("absent", 1), ("seconds", 60)):
            await until(lambda: here.adapter._env.clock.monotonic() >= window._closed_until)
            await faults(url, error_rate=1, status=429, retry_after=form, retry_after_s=wait_s)
            reply = await asked(here, modality, voice)
            assert reply is not None
            assert (reply.status, reply.outcome) == (429, "shed")
            assert 1 <= int(reply.headers["retry-after"]) <= wait_s + 1
            assert (await here.ended(reply.request))["reason"] not in ("vendor_limit", "requests_per_minute")
        await faults(url, rate_limit_rpm=1000)
        held = await asked(here, modality, voice)  # the vendor is well again, and left alone until it said
        assert held is not None
        assert (held.status, (await here.ended(held.request))["reason"]) == (429, "vendor_limit")
