"""The vendors' own dialects on the wire: what is sent, how answers come back, and what is counted and billed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from insource.adapter.warmup import tone_wav
from insource.wire.vocabulary import Dialect, Modality
from tests import audio
from tests.gateway.adapter_answers import SOUND, USUAL, VERBOSE, png
from tests.gateway.adapter_harness import KEY
from tests.gateway.fake_vendor import before, says
from tests.gateway.test_adapter_image_edits import EDITS
from tests.gateway.test_adapter_modalities import ASKED, MODALITY

pytestmark = pytest.mark.gateway
TRANSCRIPTIONS = "/v1/audio/transcriptions"
SPEECH = "/v1/audio/speech"
IMAGES = "/v1/images/generations"
TRANSCRIPT = {
    "durationMilliseconds": 990,
    "combinedPhrases": [{"text": "Hello you."}],
    "phrases": [
        {
            "text": "Hello you.", "locale": "en", "confidence": 0.9, "offsetMilliseconds": 0,
            "durationMilliseconds": 900,
            "words": [
                {"text": "Hello", "offsetMilliseconds": 0, "durationMilliseconds": 400},
                {"text": "you", "offsetMilliseconds": 500, "durationMilliseconds": 400},
            ],
        }
    ],
}  # fmt: skip
PICTURE = {"data": [{"b64_json": png(1024, 1024).decode()}]}


def dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("2024-10-21", "/openai/deployments/our%20own/{path}?api-version=2024-10-21"),
        ("2025-04-01-preview", "/openai/deployments/our%20own/{path}?api-version=2025-04-01-preview"),
        ("v1", "/openai/v1/{path}"),
        ("preview", "/openai/v1/{path}?api-version=preview"),
    ],
)
@pytest.mark.parametrize("asked", ASKED)
async def test_azure_openai_is_asked_at_the_deployments_path_with_its_own_header(
    tmp_path: Path, asked: str, version: str, path: str
) -> None:
    versions = {"api_version": version}
    async with before(tmp_path, Dialect.AZURE_OPENAI, MODALITY[asked], "our own", **versions) as (here, azure):
        content_type, content = USUAL[asked.removeprefix("/v1")](ASKED[asked])
        azure.answer = says(content, content_type)
        reply = await here.ask(asked, ASKED[asked])
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        (call,) = azure.calls
        assert call.path == path.format(path=asked.removeprefix("/v1/"))
        assert call.headers["api-key"] == KEY
        assert "authorization" not in call.headers
        assert json.loads(call.body) == {**ASKED[asked], "model": "our own"}


async def test_azure_openai_transcribes(tmp_path: Path) -> None:
    versions = {"api_version": "2024-10-21"}
    async with before(tmp_path, Dialect.AZURE_OPENAI, Modality.TRANSCRIPTION, "whisper", **versions) as (here, azure):
        azure.answer = says(dumped(VERBOSE))
        reply = await here.post([("model", "any"), ("response_format", "srt")])
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        (call,) = azure.calls
        assert call.path == "/openai/deployments/whisper/audio/transcriptions?api-version=2024-10-21"
        assert call.parts["response_format"][1] == b"verbose_json"
        assert await here.quantities(reply.request) == {("audio_ms", "measured"): 1000, ("audio_ms", "billed"): 9000}


async def test_a_stream_of_azure_openai_begins_and_ends_with_chunks_without_choices(tmp_path: Path) -> None:
    """Azure tells of its filters before the first and after the last piece."""
    events: list[Any] = [
        {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{}]},
        {"id": "c", "model": "gpt-4.1-mini", "choices": [{"index": 0, "delta": {"content": "Hello"}}]},
        {"id": "c", "model": "", "choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]},
        {"id": "c", "model": "", "choices": [],
         "usage": {"prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7}},
    ]  # fmt: skip
    content = b"".join(b"data: " + dumped(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    path = "/v1/chat/completions"
    async with before(tmp_path, Dialect.AZURE_OPENAI, Modality.TEXT, "gpt-4.1-mini", api_version="v1") as (here, azure):
        azure.answer = says(content, "text/event-stream")
        reply = await here.ask(path, {**ASKED[path], "stream": True})
        told = [json.loads(line[6:]) for line in reply.body.decode().strip().split("\n\n")[:-1]]
        assert [event["choices"][0]["delta"].get("content", "") for event in told] == ["Hello", ""]
        assert (await here.quantities(reply.request))[("input_tokens", "billed")] == 6


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ("json", '{"text":"Hello you.","usage":{"type":"duration","seconds":0.99}}'),
        ("text", "Hello you.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:00,900\nHello you.\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\nHello you.\n\n"),
    ],
)
async def test_mai_transcribe_in_each_format(tmp_path: Path, response_format: str, text: str) -> None:
    asked = [("model", "any"), ("response_format", response_format), ("language", "en")]
    async with before(tmp_path, Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2") as (here, azure):
        azure.answer = says(dumped(TRANSCRIPT))
        reply = await here.post(asked)
        assert (reply.status, reply.body.decode()) == (200, text)
        (call,) = azure.calls
        assert call.path == "/speechtotext/transcriptions:transcribe?api-version=2025-10-15"
        assert call.headers["ocp-apim-subscription-key"] == KEY
        assert "authorization" not in call.headers
        assert set(call.parts) == {"definition", "audio"}
        assert call.parts["audio"] == ("audio.wav", tone_wav())
        timed = {} if response_format in ("json", "text") else {"modelOptions": {"timestamps": "word"}}
        assert json.loads(call.parts["definition"][1]) == {
            "enhancedMode": {"enabled": True, "model": "MAI-Transcribe-2", **timed},
            "locales": ["en"],
        }
        assert await here.quantities(reply.request) == {("audio_ms", "measured"): 1000, ("audio_ms", "billed"): 990}


@pytest.mark.parametrize("granularities", [[], ["word"], ["segment"], ["word", "segment"]])
async def test_mai_transcribe_with_times(tmp_path: Path, granularities: list[str]) -> None:
    asked = [("model", "any"), ("response_format", "verbose_json")]
    asked += [("timestamp_granularities[]", each) for each in granularities]
    async with before(tmp_path, Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2") as (here, azure):
        azure.answer = says(dumped(TRANSCRIPT))
        told = json.loads((await here.post(asked)).body)
        assert (told["language"], told["duration"], told["text"]) == ("en", 0.99, "Hello you.")
        assert {name for name in ("words", "segments") if name in told} == {
            f"{each}s" for each in granularities or ["segment"]
        }
        if "word" in granularities:
            assert told["words"][1] == {"word": "you", "start": 0.5, "end": 0.9}


async def test_mai_transcribe_as_events_and_from_a_spooled_upload(tmp_path: Path) -> None:
    long = audio.silence(60_000)
    async with before(tmp_path, Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-1.5") as (here, azure):
        azure.answer = says(dumped({**TRANSCRIPT, "durationMilliseconds": 60_000}))
        reply = await here.post([("model", "any"), ("stream", "true")], long, name="long.mp3")
        delta, done = (json.loads(event[6:]) for event in reply.body.decode().strip().split("\n\n"))
        assert (delta["delta"], done["usage"]["seconds"]) == ("Hello you.", 60)
        (call,) = azure.calls
        assert call.parts["audio"] == ("audio.wav", long)
        assert "stream" not in call.parts


@pytest.mark.parametrize(
    ("encoding", "status"), [("wav", 200), ("mp3", 200), ("flac", 200), ("ogg", 400), ("m4a", 400)]
)
async def test_mai_transcribe_gets_what_it_reads_as_it_is_and_nothing_else(
    tmp_path: Path, encoding: audio.Encoding, status: int
) -> None:
    sound = audio.encoded("0880", encoding)
    async with before(tmp_path, Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2") as (here, azure):
        azure.answer = says(dumped(TRANSCRIPT))
        reply = await here.post([("model", "any")], sound, name="named.wav")
        assert reply.status == status, reply.body
        if status == 200:
            assert azure.calls[0].parts["audio"] == (f"audio.{encoding}", sound)
            return
        assert (reply.error["param"], reply.error["code"]) == ("file", "unsupported_audio_format")
        assert azure.calls == []
        assert (await here.ended(reply.request))["quantities"] == []


@pytest.mark.parametrize(
    ("response_format", "output", "content_type"),
    [
        ("mp3", "audio-24khz-160kbitrate-mono-mp3", "audio/mpeg"),
        ("opus", "ogg-48khz-16bit-mono-opus", "audio/ogg; codecs=opus"),
        ("wav", "riff-24khz-16bit-mono-pcm", "audio/x-wav"),
        ("pcm", "raw-24khz-16bit-mono-pcm", "audio/pcm"),
    ],
)
async def test_mai_voice_speaks_ssml(tmp_path: Path, response_format: str, output: str, content_type: str) -> None:
    said = {"model": "any", "input": "1 < 2 & \u201cGr\u00fc\u00dfe\u201d \U0001f600", "voice": "en-US-Harper"}
    async with before(tmp_path, Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash") as (here, azure):
        azure.answer = says(SOUND[response_format], content_type.partition(";")[0])
        reply = await here.ask(SPEECH, {**said, "response_format": response_format, "speed": 1.5})
        assert reply.body == SOUND[response_format]
        assert reply.headers["content-type"] == f"audio/{'mpeg' if response_format == 'mp3' else response_format}"
        (call,) = azure.calls
        assert call.path == "/cognitiveservices/v1"
        assert call.headers["content-type"] == "application/ssml+xml"
        assert call.headers["x-microsoft-outputformat"] == output
        assert call.headers["user-agent"] == "Insource"
        assert call.headers["ocp-apim-subscription-key"] == KEY
        assert call.headers["x-client-request-id"] == "req-1.0.1"
        (voice,) = ElementTree.fromstring(call.body)
        assert voice.attrib["name"] == "en-US-Harper:MAI-Voice-2-Flash"
        assert "".join(voice.itertext()) == said["input"]
        assert await here.quantities(reply.request) == {
            ("characters", "measured"): len(said["input"]),
            ("characters", "billed"): len(said["input"]) + len('<prosody rate="+50.00%"></prosody>'),
        }


async def test_what_mai_voice_fails_at_is_not_billed_by_its_rule(tmp_path: Path) -> None:
    async with before(tmp_path, Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash") as (here, azure):
        azure.answer = says(b"", "text/plain", status=502)
        reply = await here.ask(SPEECH, {"model": "any", "input": "\u4f60", "voice": "en-US-Harper"})
        assert reply.outcome == "server"
        assert await here.quantities(reply.request) == {("characters", "measured"): 1}


async def test_mai_image_draws_by_width_and_height(tmp_path: Path) -> None:
    async with before(tmp_path, Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5") as (here, azure):
        azure.answer = says(dumped({**PICTURE, "usage": {"num_input_text_tokens": 7, "num_output_tokens": 900}}))
        reply = await here.ask(IMAGES, {"model": "any", "prompt": "a red circle", "size": "768x1024"})
        assert reply.status == 200
        (call,) = azure.calls
        assert (call.path, call.headers["api-key"]) == ("/mai/v1/images/generations", KEY)
        assert json.loads(call.body) == {
            "model": "MAI-Image-2.5", "prompt": "a red circle", "width": 768, "height": 1024,
        }  # fmt: skip
        told = json.loads(reply.body)
        assert told["data"] == PICTURE["data"]
        assert told["created"] > 1_700_000_000
        assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (7, 900)
        counted = await here.quantities(reply.request)
        assert counted[("images", "measured")] == 1
        assert counted[("pixels", "measured")] == 1024 * 1024
        assert counted[("image_tokens", "measured")] == 1024
        assert (counted[("input_tokens", "billed")], counted[("image_tokens", "billed")]) == (7, 900)


async def test_a_picture_whose_usage_nobody_tells_is_not_free(tmp_path: Path) -> None:
    async with before(tmp_path, Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5") as (here, azure):
        azure.answer = says(dumped(PICTURE))
        reply = await here.ask(IMAGES, {"model": "any", "prompt": "a red circle"})
        counted = await here.quantities(reply.request)
        assert not [source for _, source in counted if source == "billed"]
        assert counted[("image_tokens", "measured")] == 1024
        assert counted[("input_tokens", "measured")] > 0


async def test_the_vendors_requests_per_minute_are_kept_before_the_call(tmp_path: Path) -> None:
    """MAI-Image's tiers allow 2 to 12."""
    limits = {"requests_per_minute": 2}
    async with before(tmp_path, Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5", **limits) as (here, azure):
        azure.answer = says(dumped(PICTURE))
        body = {"model": "any", "prompt": "a red circle"}
        refused = await here.ask(IMAGES, {**body, "size": "512x512"})
        assert (refused.status, refused.error["param"]) == (400, "size")
        assert [(await here.ask(IMAGES, body)).status for _ in range(3)] == [200, 200, 429]
        assert len(azure.calls) == 2


async def test_others_that_speak_as_openai_does_tell_the_length_in_verbose_json_only(tmp_path: Path) -> None:
    heard = {name: value for name, value in VERBOSE.items() if name != "usage"} | {"duration": 2.5}
    model = "whisper-large-v3-turbo"
    groq = before(tmp_path, Dialect.OPENAI_COMPATIBLE, Modality.TRANSCRIPTION, model, base="/openai/v1")
    async with groq as (here, vendor):
        vendor.answer = says(dumped(heard))
        reply = await here.post([("model", "any")])
        assert json.loads(reply.body) == {
            "text": str(heard["text"]).strip(),
            "usage": {"type": "duration", "seconds": 2.5},
        }
        assert vendor.calls[0].path == "/openai/v1/audio/transcriptions"
        assert vendor.calls[0].headers["authorization"] == f"Bearer {KEY}"
        assert vendor.calls[0].parts["response_format"][1] == b"verbose_json"
        assert await here.quantities(reply.request) == {("audio_ms", "measured"): 1000, ("audio_ms", "billed"): 2500}
        vendor.answer = says(dumped({"text": "hello"}))
        silent = await here.post([("model", "any")])
        assert await here.quantities(silent.request) == {("audio_ms", "measured"): 1000}
        streamed = await here.post([("model", "any"), ("stream", "true")])
        assert vendor.calls[2].parts["response_format"][1] == b"json"
        assert streamed.body.count(b"data: ") == 2


async def test_others_that_speak_as_openai_does_refuse_for_themselves(tmp_path: Path) -> None:
    async with before(tmp_path, Dialect.OPENAI_COMPATIBLE, Modality.SPEECH, "tts-1-fast", base="/v1") as (here, vendor):
        vendor.answer = says(SOUND["mp3"], "audio/mpeg")
        body = {**ASKED[SPEECH], "instructions": "slowly"}
        assert (await here.ask(SPEECH, body)).status == 200
        assert json.loads(vendor.calls[0].body) == {**body, "model": "tts-1-fast"}


async def test_mai_image_edits_one_picture(tmp_path: Path) -> None:
    picture = base64.b64decode(png(800, 768))
    async with before(tmp_path, Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5") as (here, azure):
        azure.answer = says(dumped({"data": [{"b64_json": png(800, 768).decode()}]}))
        reply = await here.send_form(EDITS, [("model", "m"), ("prompt", "blue"), ("image[]", picture)])
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        (call,) = azure.calls
        assert (call.path, call.headers["api-key"]) == ("/mai/v1/images/edits", KEY)
        assert call.parts == {
            "model": (None, b"MAI-Image-2.5"), "prompt": (None, b"blue"), "image": ("picture.png", picture),
        }  # fmt: skip
        assert (await here.quantities(reply.request))[("pixels", "measured")] == 800 * 768
        refused = await here.send_form(EDITS, [("model", "m"), ("prompt", "blue"), ("image", b"GIF89a")])
        assert (refused.status, refused.error["param"]) == (400, "image")
        assert len(azure.calls) == 1


async def test_azure_openai_edits_at_the_deployments_path(tmp_path: Path) -> None:
    picture = base64.b64decode(png())
    versions = {"api_version": "2025-04-01-preview"}
    async with before(tmp_path, Dialect.AZURE_OPENAI, Modality.IMAGE, "gpt-image-1", **versions) as (here, azure):
        azure.answer = says(dumped(PICTURE))
        reply = await here.send_form(EDITS, [("model", "m"), ("prompt", "blue"), ("image", picture), ("mask", picture)])
        assert (reply.status, reply.outcome) == (200, "ok"), reply.body
        assert azure.calls[0].path == ("/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview")
        assert azure.calls[0].headers["api-key"] == KEY
        assert set(azure.calls[0].parts) == {"model", "prompt", "image", "mask"}
