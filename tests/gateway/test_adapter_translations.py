"""`/v1/audio/translations`: by each dialect that has it, against the emulated vendors; refused by name elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest

from insource.wire.vocabulary import Dialect, Modality
from tests import audio
from tests.gateway.adapter_harness import world
from tests.gateway.test_dialects_emulated import billed, emulated

pytestmark = pytest.mark.gateway
PATH = "/v1/audio/translations"
CLIP = audio.encoded()
HEARD = "echo of 2990 milliseconds"
BY = [
    ("openai", Dialect.OPENAI, "whisper-1", {}),
    ("openai", Dialect.OPENAI_COMPATIBLE, "whisper-1", {}),
    ("azure-openai", Dialect.AZURE_OPENAI, "whisper", {"api_version": "2024-10-21"}),
]


@pytest.mark.parametrize(("vendor", "dialect", "model", "backend"), BY, ids=[each[1].value for each in BY])
async def test_every_format_is_answered_and_billed(
    tmp_path: Path, vendor: str, dialect: Dialect, model: str, backend: dict[str, str]
) -> None:
    async with emulated(tmp_path, vendor, dialect, Modality.TRANSCRIPTION, model, **backend) as (here, url):
        for response_format in ("json", "text", "srt", "vtt", "verbose_json"):
            asked = [("model", "any"), ("response_format", response_format), ("prompt", "x"), ("temperature", "0.2")]
            reply = await here.post(asked, CLIP, path=PATH)
            assert (reply.status, reply.outcome) == (200, "ok"), reply.body
            assert HEARD.split()[2].encode() in reply.body
            counted = await here.quantities(reply.request)
            # OpenAI tells no usage of a translation, so what we measured is charged; others tell the length.
            told = {("audio_ms", "billed"): 2990} if dialect is Dialect.OPENAI_COMPATIBLE else {}
            assert counted == {("audio_ms", "measured"): audio.clip().duration_ms, **told}
        verbose = json.loads(reply.body)
        assert (verbose["task"], verbose["text"]) == ("translate", HEARD)
        assert len(await billed(url)) == 5


async def test_openais_sdk(tmp_path: Path) -> None:
    async with emulated(tmp_path, "openai", Dialect.OPENAI, Modality.TRANSCRIPTION, "whisper-1") as (here, _):
        sdk = openai.AsyncOpenAI(base_url=here.url("/v1"), api_key="none", max_retries=0)
        async with sdk.with_options(default_headers=here.identity()) as client:
            with pytest.deprecated_call():  # OpenAI shuts it down on 2027-02-26
                answer = await client.audio.translations.create(model="whisper-1", file=("a.wav", CLIP))
        assert answer.text == HEARD


@pytest.mark.parametrize(
    ("name", "value"),
    [("language", "de"), ("stream", "true"), ("timestamp_granularities[]", "word"), ("include[]", "logprobs")],
)
async def test_what_a_translation_does_not_know_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    async with emulated(tmp_path, "openai", Dialect.OPENAI, Modality.TRANSCRIPTION, "whisper-1") as (here, url):
        reply = await here.post([("model", "any"), (name, value)], CLIP, path=PATH)
        assert (reply.status, reply.outcome) == (400, "client")
        assert json.loads(reply.body)["error"]["param"].rstrip("[]") == name.rstrip("[]")
        assert await billed(url) == []


async def test_a_model_that_only_transcribes_is_said_so(tmp_path: Path) -> None:
    model = "gpt-4o-transcribe"
    async with emulated(tmp_path, "openai", Dialect.OPENAI, Modality.TRANSCRIPTION, model) as (here, url):
        reply = await here.post([("model", "any")], CLIP, path=PATH)
        assert (reply.status, reply.outcome) == (400, "client")
        error = json.loads(reply.body)["error"]
        assert (error["param"], error["code"]) == ("model", "unsupported_model")
        assert "does not translate" in error["message"]
        assert await billed(url) == []


async def test_servers_of_ours_and_azure_speech_do_not_translate(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    async with world(tmp_path / "ours") as here:
        ours = await here.post([("model", "any")], CLIP, path=PATH)
        assert here.server.calls == []
    speech = emulated(tmp_path, "azure-speech", Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2")
    async with speech as (there, _):
        theirs = await there.post([("model", "any")], CLIP, path=PATH)
    for reply in (ours, theirs):
        assert (reply.status, reply.outcome) == (404, "client")
        assert json.loads(reply.body)["error"]["message"] == f"This deployment's backend cannot serve {PATH}."
