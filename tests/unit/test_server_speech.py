"""What speech servers share, before a speaker of the tests' own: parameters, formats, streams, faults, who leaves."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import av
import numpy
import pytest

from insource.servers.audio_encoding import AUDIO_FORMATS, CONTENT_TYPES, AudioFormat, Encoder, to_int16
from insource.servers.chunks import chunks_of
from insource.servers.requests import RefusedRequestError
from insource.servers.settings import PiperSettings, ServerSettings, SettingsError, piper_settings
from insource.servers.speech import SpeechServer, Spoken
from insource.servers.speech_request import LONGEST_INPUT, OPENAI_VOICES, SpeechRequest, parse_speech_request
from tests.model_servers import Client, asked

URL = "/v1/audio/speech"
GOOD: dict[str, Any] = {"model": "tone", "input": "a", "voice": "joe"}
RATE = 22_050
VOICES = ("joe", "en_US-joe-medium")


class Tone:
    """Says each letter as 100 ms of a tone, `!` as an error; a space is nothing.

    A `-` waits until it is let go, a `~` takes 20 ms.
    """

    voices: Sequence[str] = VOICES
    sample_rate = RATE

    def __init__(self) -> None:
        self.said = 0
        self.closed = False
        self.go = threading.Event()
        self.never = threading.Event()

    def speak(self, text: str, speed: float) -> Iterator[Spoken]:
        for letter in text:
            if letter == "!":
                raise RuntimeError("the speaker has a cold")
            if letter == "-":
                assert self.go.wait(60)
            if letter == "~":
                self.never.wait(0.02)
            if letter != " ":
                self.said += 1
                samples = round(RATE / 10 / speed)
                wave = numpy.sin(numpy.arange(samples) * 2 * numpy.pi * 440 / RATE) / 2
                yield Spoken(to_int16(wave), input_tokens=2, output_tokens=7)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def tone() -> Tone:
    return Tone()


@pytest.fixture
async def client(tone: Tone) -> AsyncIterator[Client]:
    server = SpeechServer(ServerSettings(model_name="tone", slots=1), lambda: tone)
    async with asked(server) as client:
        yield client
        tone.go.set()
    assert tone.closed


def parsed(**changes: Any) -> SpeechRequest:
    return parse_speech_request(json.dumps({**GOOD, **changes}).encode(), "tone", VOICES)


@pytest.mark.parametrize("speed", [0.25, 0.5, 1, 1.0, 3.99, 4, 4.0])
def test_a_speed_within_bounds(speed: float) -> None:
    assert parsed(speed=speed).speed == speed


@pytest.mark.parametrize("speed", [0.2499, 4.0001, 0, -1, 1e300, "1", True, [1], {}])
def test_a_speed_beyond_them(speed: Any) -> None:
    with pytest.raises(RefusedRequestError, match=r"speed must be a number from 0\.25 to 4"):
        parsed(speed=speed)


@pytest.mark.parametrize("text", ["a", "a" * LONGEST_INPUT, "😀" * LONGEST_INPUT, "\x00"])
def test_an_input_within_bounds_is_counted_in_code_points(text: str) -> None:
    assert parsed(input=text).text == text


@pytest.mark.parametrize("text", ["", "a" * (LONGEST_INPUT + 1), "😀" * (LONGEST_INPUT + 1), 7, ["a"], True])
def test_an_input_beyond_them(text: Any) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        parsed(input=text)
    assert refused.value.body["error"]["param"] == "input"


@pytest.mark.parametrize("voice", sorted(OPENAI_VOICES))
def test_openais_names_stand_for_the_first_voice(voice: str) -> None:
    assert parsed(voice=voice).voice == "joe"


@pytest.mark.parametrize(
    "voice", ["en-US-Harper", "en-us-harper", "en-AU-Lisa", "en-US-Harper:MAI-Voice-2-Flash", "en-US-Joy:MAI-Voice-1"]
)
def test_english_voices_of_mai_voice_stand_for_the_first_voice(voice: str) -> None:
    assert parsed(voice=voice).voice == "joe"


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"voice": "de-DE-Klaus"}, 400, "voice", "invalid_value"),
        ({"voice": "en-US-"}, 400, "voice", "invalid_value"),
        ({"voice": "en-US-JennyNeural:Other"}, 400, "voice", "invalid_value"),
        ({"voice": "xen-US-Harper"}, 400, "voice", "invalid_value"),
        ({"voice": "en-US-Harper\n"}, 400, "voice", "invalid_value"),
        ({"voice": "emma"}, 400, "voice", "invalid_value"),
        ({"voice": "Joe"}, 400, "voice", "invalid_value"),
        ({"voice": {"id": "voice_1"}}, 400, "voice", "invalid_value"),
        ({"voice": 1}, 400, "voice", None),
        ({"voice": None}, 400, "voice", None),
        ({"model": None}, 400, "model", None),
        ({"model": "tts-1"}, 404, "model", "model_not_found"),
        ({"input": None}, 400, "input", None),
        ({"instructions": "Be cheerful."}, 400, "instructions", "unsupported_parameter"),
        ({"lang": "en"}, 400, "lang", "unsupported_parameter"),
        ({"response_format": "ogg"}, 400, "response_format", "invalid_value"),
        ({"response_format": ["mp3"]}, 400, "response_format", "invalid_value"),
        ({"stream_format": "ndjson"}, 400, "stream_format", "invalid_value"),
        ({"input": " "}, 400, "input", "invalid_value"),
    ],
)
async def test_what_is_refused_names_its_parameter(
    client: Client, changes: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    async with client.post(URL, json={**GOOD, **changes}) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["code"] == code
    assert error["message"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'"text"', "application/json"),
        (b'{"model":"tone","voice":"joe","input":"\\ud800"}', "application/json"),
        (b'{"model":"tone","voice":"joe","input":"a","speed":NaN}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (json.dumps(GOOD).encode(), "text/plain"),
    ],
)
async def test_a_body_that_is_no_json_object(client: Client, body: bytes, content_type: str) -> None:
    async with client.post(URL, data=body, headers={"content-type": content_type}) as answer:
        assert answer.status == 400
        assert "JSON" in (await answer.json())["error"]["message"]


async def test_a_message_does_not_repeat_a_megabyte(client: Client) -> None:
    async with client.post(URL, json={**GOOD, "voice": "x" * 500_000}) as answer:
        assert answer.status == 400
        assert len(await answer.text()) < 1000
    large = io.BytesIO(json.dumps({**GOOD, "input": "x" * 2_000_000}).encode())
    async with client.post(URL, data=large, headers={"content-type": "application/json"}) as answer:
        assert answer.status == 413


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
async def test_each_format_can_be_decoded_to_the_right_length(client: Client, audio_format: AudioFormat) -> None:
    async with client.post(URL, json={**GOOD, "input": "abcde" * 4, "response_format": audio_format}) as answer:
        assert answer.status == 200
        assert answer.content_type == CONTENT_TYPES[audio_format]
        assert answer.headers["x-insource-voice"] == "joe"
        body = await answer.read()
    if audio_format == "pcm":
        samples = numpy.frombuffer(body, "<i2")
    else:
        with av.open(io.BytesIO(body)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=24_000)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            samples = numpy.concatenate([frame.to_ndarray()[0] for frame in frames])
    assert 2.0 - 0.002 <= len(samples) / 24_000 <= 2.0 + 0.1
    middle = samples[12_000:36_000].astype(float)
    crossings = ((middle[:-1] < 0) & (middle[1:] >= 0)).sum()
    assert crossings == pytest.approx(440, abs=12), "the tone's own pitch: nothing was slowed down by the way"


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
def test_each_format_comes_piece_by_piece(audio_format: AudioFormat) -> None:
    """Half a second of audio is more than any codec holds back."""
    encoder = Encoder(audio_format, RATE)
    second = to_int16(numpy.sin(numpy.arange(RATE)))
    sizes = [len(encoder.encode(second)) for _ in range(5)]
    assert all(size > 1000 for size in sizes), sizes
    assert len(encoder.finish()) < 2 * max(sizes)


def test_a_wav_of_unknown_length_says_so() -> None:
    data = Encoder("wav", 24_000)
    whole = data.encode(to_int16(numpy.zeros(2_400))) + data.finish()
    assert whole[:4] == b"RIFF"
    assert whole[4:8] == whole[40:44] == b"\xff\xff\xff\xff"
    assert len(whole) == 44 + 2 * 2_400


def test_samples_are_clipped_and_do_not_wrap() -> None:
    assert to_int16(numpy.array([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [-32767, -32767, 0, 32767, 32767]


async def test_speed_reaches_the_speaker(client: Client) -> None:
    sizes = {}
    for speed in (0.25, 1, 4):
        async with client.post(URL, json={**GOOD, "speed": speed, "response_format": "pcm"}) as answer:
            sizes[speed] = len(await answer.read())
    assert sizes[0.25] == pytest.approx(4 * sizes[1], rel=0.01)
    assert sizes[4] == pytest.approx(sizes[1] / 4, rel=0.05)


async def test_the_first_piece_comes_before_the_last_is_made(client: Client, tone: Tone) -> None:
    async with client.post(URL, json={**GOOD, "input": "a-", "response_format": "pcm"}) as answer:
        assert await answer.content.readany()
        assert tone.said == 1
        tone.go.set()
        await answer.read()
    assert tone.said == 2


async def test_events(client: Client) -> None:
    async with client.post(URL, json={**GOOD, "input": "ab", "response_format": "pcm"}) as answer:
        whole = await answer.read()
    body = {**GOOD, "input": "ab", "response_format": "pcm", "stream_format": "sse"}
    async with client.post(URL, json=body) as answer:
        assert answer.content_type == "text/event-stream"
        events = [json.loads(line[6:]) for line in (await answer.text()).split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    usage = {"input_tokens": 4, "output_tokens": 14, "total_tokens": 18}
    assert events[-1] == {"type": "speech.audio.done", "usage": usage}


async def test_a_fault_before_the_first_sentence_is_a_500(client: Client) -> None:
    async with client.post(URL, json={**GOOD, "input": "!"}) as answer:
        assert answer.status == 500
        assert (await answer.json())["error"]["type"] == "server_error"


async def test_a_fault_later_breaks_off_and_never_looks_whole(client: Client) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with client.post(URL, json={**GOOD, "input": "a!", "response_format": "pcm"}) as answer:
            await answer.read()
    body = {**GOOD, "input": "a!", "response_format": "pcm", "stream_format": "sse"}
    async with client.post(URL, json=body) as answer:
        events = [json.loads(line[6:]) for line in (await answer.text()).split("\n\n") if line]
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["type"] == "server_error"
    assert "speech.audio.done" not in {event.get("type") for event in events}
    async with client.get("/count") as answer:
        assert (await answer.json())["failed"] == 2


async def test_a_client_that_leaves_stops_the_speaker(client: Client, tone: Tone) -> None:
    async with client.post(URL, json={**GOOD, "input": "a" + "~" * 4000, "response_format": "pcm"}) as answer:
        await answer.content.readany()
        answer.close()
    counted: dict[str, Any] = {}
    async with asyncio.timeout(30):
        while not counted.get("cancelled"):
            async with client.get("/count") as answer:
                counted = await answer.json()
    assert tone.said < 4000
    async with client.post(URL, json=GOOD) as answer:  # the one slot is free
        assert answer.status == 200


async def test_requests_wait_for_a_slot(client: Client, tone: Tone) -> None:
    first = asyncio.create_task(_status(client, {**GOOD, "input": "-"}))
    second = asyncio.create_task(_status(client, {**GOOD, "input": "a"}))
    async with asyncio.timeout(30):
        while True:
            async with client.get("/count") as answer:
                if (await answer.json())["begun"] == 2:
                    break
    assert tone.said == 0
    tone.go.set()
    assert await first == await second == 200


async def _status(client: Client, body: dict[str, Any]) -> int:
    async with client.post(URL, json=body) as answer:
        await answer.read()
        return answer.status


async def test_a_slow_reader_holds_the_speaker_only_beyond_the_limit(tone: Tone) -> None:
    """Chunks of 10 bytes, at most 30 of them wait: it makes three, then one more for each that is taken."""
    made = 0

    def start() -> Any:
        nonlocal made
        for _ in range(10):
            made += 1
            yield bytes(10)

    async def until(count: int) -> None:  # a thread counts, and sets no asyncio.Event
        async with asyncio.timeout(30):
            while made < count:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    with ThreadPoolExecutor(1) as threads:
        async with chunks_of(start, threads, most_waiting_bytes=30) as chunks:
            await until(4)  # the fourth is made, and finds no room
            arriving = aiter(chunks)
            for taken in range(1, 7):
                assert made <= 3 + taken
                assert await anext(arriving) == bytes(10)
                await until(4 + taken)
            assert [len(chunk) async for chunk in arriving] == [10] * 4
        async with chunks_of(start, threads, most_waiting_bytes=30):
            await until(14)
        assert made == 14, "left while it waited for room"


def test_settings() -> None:
    assert piper_settings({}) == PiperSettings(ServerSettings())
    read = piper_settings({"PIPER_NOISE_SCALE": "0", "PIPER_NOISE_W": "2", "SLOTS": "3"})
    assert (read.noise_scale, read.noise_w, read.server.slots) == (0.0, 2.0, 3)
    for wrong in ("-0.1", "2.01", "nan", "inf", "x"):
        with pytest.raises(SettingsError, match=r"PIPER_NOISE_W.*from 0 to 2"):
            piper_settings({"PIPER_NOISE_W": wrong})
