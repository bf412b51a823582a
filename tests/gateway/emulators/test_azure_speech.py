"""The emulated Azure Speech, asked as its REST references write: MAI-Transcribe, and SSML spoken by MAI-Voice."""

from __future__ import annotations

import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests import audio
from tests.gateway.emulator_harness import KEY, emulator, faults, items, meter, probe

pytestmark = pytest.mark.gateway
KEYS = {"Ocp-Apim-Subscription-Key": KEY}
TRANSCRIBE = "/speechtotext/transcriptions:transcribe?api-version=2025-10-15"
MODEL = {"enhancedMode": {"enabled": True, "model": "MAI-Transcribe-2"}}
SPOKEN = audio.clip("0880").wav.read_bytes()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with emulator(tmp_path, "azure-speech") as found:
        yield found


@pytest.fixture
async def client(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, headers=KEYS) as session:
        yield session


def form(definition: Any, sound: bytes | None = SPOKEN, **more: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    if sound is not None:
        data.add_field("audio", sound, filename="a.wav", content_type="audio/wav")
    if definition is not None:
        data.add_field("definition", definition if isinstance(definition, str) else json.dumps(definition))
    for name, value in more.items():
        data.add_field(name, value)
    if not more and sound is None and definition is None:
        data.add_field("none", "")
    return data


async def test_a_transcript(client: aiohttp.ClientSession, url: str) -> None:
    async with client.post(TRANSCRIBE, data=form(MODEL)) as answer:
        assert answer.status == 200
        assert answer.headers["apim-request-id"]
        assert await answer.json() == {
            "durationMilliseconds": 2990,
            "combinedPhrases": [{"text": "echo of 2990 milliseconds"}],
            "phrases": [{"text": "echo of 2990 milliseconds", "locale": "en-US", "confidence": 0.9}],
        }
    [line] = (await meter(url))["lines"]
    assert (line["model"], items(line)) == ("MAI-Transcribe-2", {"audio_ms": 2990})
    assert line["nano_usd"] == 83_056  # 0.10 USD per hour
    assert (line["items"][0]["price_nano_usd"], line["items"][0]["per"]) == (100_000_000, 3_600_000)


async def test_options_shape_the_phrases(client: aiohttp.ClientSession) -> None:
    definition = {
        "enhancedMode": {**MODEL["enhancedMode"], "modelOptions": {"timestamps": "word", "transcribeStyle": "clean"}},
        "locales": ["en"],
        "diarization": {"enabled": True, "maxSpeakers": 2},
        "phraseList": {"phrases": ["Insource"]},
    }
    async with client.post(TRANSCRIBE, data=form(definition)) as answer:
        found = await answer.json()
    phrase = found["phrases"][0]
    assert (phrase["speaker"], phrase["locale"], phrase["offsetMilliseconds"]) == (1, "en", 0)
    assert [word["text"] for word in phrase["words"]] == ["echo", "of", "2990", "milliseconds"]
    last = phrase["words"][-1]
    assert last["offsetMilliseconds"] + last["durationMilliseconds"] == 2990
    for encoding in ("mp3", "flac"):
        async with client.post(TRANSCRIBE, data=form(MODEL, audio.encoded("0880", encoding))) as answer:
            assert answer.status == 200, await answer.text()


WRONG: list[Any] = [
    None,
    "",
    "{",
    "[]",
    '{"enhancedMode": {"enabled": true, "model": "MAI-Transcribe-2"},}',
    {},
    {"enhancedMode": {"enabled": False, "model": "MAI-Transcribe-2"}},
    {"enhancedMode": {"enabled": "true", "model": "MAI-Transcribe-2"}},
    {"enhancedMode": {"enabled": True}},
    {"enhancedMode": {"enabled": True, "model": "whisper"}},
    {"enhancedMode": {"enabled": True, "model": "MAI-Transcribe-2", "prompt": ["a"]}},
    {"enhancedMode": {"enabled": True, "model": "MAI-Transcribe-2", "modelOptions": {"timestamps": "all"}}},
    {"enhancedMode": {"enabled": True, "model": "MAI-Transcribe-1", "modelOptions": {"timestamps": "word"}}},
    {"enhancedMode": {"enabled": True, "model": "MAI-Transcribe-1.5"}, "diarization": {"enabled": True}},
    {**MODEL, "locales": ["en", "de"]},
    {**MODEL, "locales": ["English"]},
    {**MODEL, "locales": "en"},
    {**MODEL, "diarization": {"enabled": True, "maxSpeakers": 1}},
    {**MODEL, "diarization": {"enabled": True, "maxSpeakers": 36}},
    {**MODEL, "phraseList": {"phrases": [""]}},
    {**MODEL, "temperature": 0},
]


async def test_a_definition_is_checked_strictly(client: aiohttp.ClientSession, url: str) -> None:
    for definition in WRONG:
        async with client.post(TRANSCRIBE, data=form(definition)) as answer:
            assert answer.status == 400, definition
            body = await answer.json()
            assert (body["code"], body["innerError"]["code"]) == ("InvalidRequest", "InvalidPayload")
            assert body["message"] == body["innerError"]["message"]
    for data, status in (
        (form(MODEL, None), 400),
        (form(MODEL, b""), 400),
        (form(MODEL, b"no sound"), 422),
        (form(MODEL, audio.encoded("0880", "ogg")), 422),
        (form(MODEL, model="MAI-Transcribe-2"), 400),
    ):
        async with client.post(TRANSCRIBE, data=data) as answer:
            assert answer.status == status
            assert (await answer.json())["message"]
    async with client.post(TRANSCRIBE, json=MODEL) as answer:
        assert answer.status == 400
    for path in (TRANSCRIBE.partition("?")[0], TRANSCRIBE.replace("2025-10-15", "2024-11-15")):
        async with client.post(path, data=form(MODEL)) as answer:
            assert answer.status == 400
    assert (await meter(url))["requests"] == 0


async def test_long_recordings_cannot_be_diarized(client: aiohttp.ClientSession, url: str) -> None:
    long = audio.encode(audio.silence(15 * 60 * 1000), "flac")
    async with client.post(TRANSCRIBE, data=form({**MODEL, "diarization": {"enabled": True}}, long)) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "diarization_unavailable"
    async with client.post(TRANSCRIBE, data=form(MODEL, long)) as answer:
        assert (await answer.json())["durationMilliseconds"] == 900_000
    [line] = (await meter(url))["lines"]
    assert line["usd"] == "0.025"  # a quarter of an hour at 0.10 USD


async def test_keys_and_limits(url: str) -> None:
    async with aiohttp.ClientSession(url) as session:
        for headers in ({}, {"Ocp-Apim-Subscription-Key": "wrong"}, {"Authorization": f"Basic {KEY}"}):
            async with session.post(TRANSCRIBE, data=form(MODEL), headers=headers) as answer:
                assert answer.status == 401
                assert (await answer.json())["error"]["code"] == "401"
        async with session.post(TRANSCRIBE, data=form(MODEL), headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert answer.status == 200
        await faults(url, rate_limit_rpm=1)
        statuses = []
        for _ in range(2):
            async with session.post(TRANSCRIBE, data=form(MODEL), headers=KEYS) as answer:
                statuses.append(answer.status)
        assert statuses == [200, 429]
        assert 1 <= int(answer.headers["retry-after"]) <= 60


SPEAK = "/cognitiveservices/v1"
PCM = "raw-24khz-16bit-mono-pcm"


def speech_headers(output: str = PCM, **more: str) -> dict[str, str]:
    return {"X-Microsoft-OutputFormat": output, "Content-Type": "application/ssml+xml", "User-Agent": "tests", **more}


def ssml(inside: str, voice: str = "en-US-Harper:MAI-Voice-2-Flash") -> str:
    return (
        "<speak version='1.0' xmlns='http://www.w3.org/2001/10/synthesis' xmlns:mstts='http://www.w3.org/2001/mstts' "
        f"xml:lang='en-US'><voice name='{voice}'>{inside}</voice></speak>"
    )


async def test_ssml_is_spoken_and_billed_by_its_characters(client: aiohttp.ClientSession, url: str) -> None:
    markup = (
        "<mstts:express-as style='excited' styledegree='1.2'>",
        "</mstts:express-as>",
        "<break time='1s'/>",
        "<prosody rate='2'>",
        "</prosody>",
    )
    styled = ssml("Tom &amp; {}Jerry &#233;{}{}{}fast{}".format(*markup))
    async with client.post(SPEAK, data=styled, headers=speech_headers()) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "audio/pcm"
        content = await answer.read()
    assert len(content) / 2 / 24_000 == pytest.approx(0.05 * (6 + 7 + 2), abs=0.01)
    [line] = (await meter(url))["lines"]
    characters = 6 + 7 + 4 + len("".join(markup))
    assert (line["model"], items(line)) == ("MAI-Voice-2-Flash", {"characters": characters})
    assert line["nano_usd"] == characters * 15_000


@pytest.mark.parametrize(
    ("inside", "characters"),
    [
        # What somebody was charged: https://learn.microsoft.com/answers/questions/5493673
        (12 * '<prosody rate="-10.00%">about </prosody>', 480),
        ("\u4f60\u597d, \uff0c a", 2 * 2 + 5),
        ("\u6771\u4eac\u306f\U00020000", 2 + 2 + 1 + 2),
        ('<prosody rate="1" pitch=">">\u4f60</prosody><break/>', 28 + 2 + 10 + 8),
        ("a<!-- nothing -->b", 2),
    ],
)
async def test_chinese_is_billed_twice_and_markup_as_it_is_written(
    client: aiohttp.ClientSession, url: str, inside: str, characters: int
) -> None:
    async with client.post(SPEAK, data=ssml(inside).encode(), headers=speech_headers()) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
    [line] = (await meter(url))["lines"]
    assert items(line) == {"characters": characters}


async def test_formats(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    for name, container, codec, rate, content_type in (
        ("audio-24khz-160kbitrate-mono-mp3", "mp3", "mp3", 24_000, "audio/mpeg"),
        ("ogg-48khz-16bit-mono-opus", "ogg", "opus", 48_000, "audio/ogg; codecs=opus"),
        ("webm-24khz-16bit-mono-opus", "matroska,webm", "opus", 48_000, "audio/webm; codecs=opus"),
        ("riff-24khz-16bit-mono-pcm", "wav", "pcm_s16le", 24_000, "audio/x-wav"),
        ("riff-8khz-8bit-mono-mulaw", "wav", "pcm_mulaw", 8_000, "audio/x-wav"),
    ):
        async with client.post(SPEAK, data=ssml("a" * 20), headers=speech_headers(name)) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, content_type)
            path = tmp_path / name
            path.write_bytes(await answer.read())
        found = probe(path)
        assert found[:3] == (container, codec, rate)
        assert found[3] == pytest.approx(1.0, abs=0.1)
    with wave.open(str(tmp_path / "riff-24khz-16bit-mono-pcm")) as file:
        assert file.getnframes() == pytest.approx(24_000, abs=100)
    async with client.post(SPEAK, data=ssml("a"), headers=speech_headers("amr-wb-16000hz")) as answer:
        assert answer.status == 501


async def test_headers_are_required(url: str) -> None:
    async with aiohttp.ClientSession(url, headers=KEYS, skip_auto_headers=["User-Agent", "Content-Type"]) as session:
        for gone, status in (("X-Microsoft-OutputFormat", 400), ("User-Agent", 400), ("Content-Type", 415)):
            headers = {name: value for name, value in speech_headers().items() if name != gone}
            async with session.post(SPEAK, data=ssml("a").encode(), headers=headers) as answer:
                assert answer.status == status, gone
        for changed, status in (
            ({"User-Agent": "x" * 255}, 400),
            ({"Content-Type": "text/plain"}, 415),
            ({"X-Microsoft-OutputFormat": "mp3"}, 400),
            ({"Ocp-Apim-Subscription-Key": "wrong"}, 401),
        ):
            async with session.post(SPEAK, data=ssml("a"), headers=speech_headers() | changed) as answer:
                assert answer.status == status, changed
    assert (await meter(url))["requests"] == 0


BOMB = "<!DOCTYPE speak [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>" + ssml("&b;&b;&b;")
REFUSED = [
    "",
    "text",
    "<speak>",
    BOMB,
    '<!DOCTYPE speak SYSTEM "file:///etc/passwd">' + ssml("a"),
    ssml("&nbsp;"),
    ssml(""),
    ssml("  "),
    ssml("a & b"),
    ssml("a < b"),
    ssml("a\x00"),
    ssml("a\x0b"),
    ssml("<voice name='x'>a</voice>"),
    ssml("<audio src='https://example.com/a.wav'/>"),
    ssml("<mstts:express-as>a</mstts:express-as>"),
    ssml("<mstts:express-as style='sad' styledegree='2.1'>a</mstts:express-as>"),
    ssml("<mstts:express-as style='sad' styledegree='much'>a</mstts:express-as>"),
    ssml("<prosody rate='5'>a</prosody>"),
    ssml("<other:tag>a</other:tag>"),
    ssml("<p>" * 40 + "a" + "</p>" * 40),
    ssml("a").replace("version='1.0'", "version='2.0'"),
    ssml("a").replace("xml:lang='en-US'", ""),
    ssml("a").replace("xmlns='http://www.w3.org/2001/10/synthesis'", ""),
    ssml("a").replace("<voice", "text<voice"),
    ssml("a", "en-US-Nobody:MAI-Voice-2-Flash"),
    ssml("a", "en-US-Harper"),
    ssml("a") * 2,
    "<?xml version='1.0' encoding='ebcdic-none'?>" + ssml("a"),
]


@pytest.mark.parametrize("document", REFUSED, ids=range(len(REFUSED)))
async def test_ssml_is_parsed_strictly(client: aiohttp.ClientSession, url: str, document: str) -> None:
    async with client.post(SPEAK, data=document.encode(), headers=speech_headers()) as answer:
        assert answer.status == 400
        assert answer.content_type == "text/plain"
        assert "passwd" not in await answer.text()
    assert (await meter(url))["requests"] == 0


async def test_audio_above_ten_minutes_is_cut_and_billed_whole(client: aiohttp.ClientSession, url: str) -> None:
    characters = 12_100  # 605 seconds
    headers = speech_headers("raw-8khz-8bit-mono-mulaw")
    async with client.post(SPEAK, data=ssml("a" * characters), headers=headers) as answer:
        assert answer.status == 200
        content = await answer.read()
    assert len(content) / 8_000 == pytest.approx(600, abs=0.1)
    assert (await meter(url))["units"] == {"characters": characters}


async def test_voices(client: aiohttp.ClientSession) -> None:
    async with client.get("/cognitiveservices/voices/list") as answer:
        names = {voice["ShortName"] for voice in await answer.json()}
    assert "en-US-Harper:MAI-Voice-2-Flash" in names
    async with client.post(SPEAK, data=ssml("a", "en-us-harper:MAI-Voice-2-Flash"), headers=speech_headers()) as answer:
        assert answer.status == 200


@pytest.mark.models
async def test_the_real_engines(tmp_path: Path) -> None:
    async with (
        emulator(tmp_path, "azure-speech", engine="pocketsphinx") as url,
        aiohttp.ClientSession(url, headers=KEYS) as session,
    ):
        wav = speech_headers("riff-16khz-16bit-mono-pcm")
        async with session.post(SPEAK, data=ssml("The weather is good today."), headers=wav) as answer:
            spoken = await answer.read()
        async with session.post(TRANSCRIBE, data=form(MODEL, spoken)) as answer:
            assert "weather" in (await answer.json())["combinedPhrases"][0]["text"]
