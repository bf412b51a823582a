"""The stub server: the wire format that all transcription servers share, its counts, and that both survive a kill."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from insource.servers.counts import read_counts
from insource.servers.settings import ServerSettings, SettingsError, StubSettings, server_settings, stub_settings
from insource.servers.stub import stub_server
from tests import audio
from tests.model_servers import Client, asked
from tests.programs import program

URL = "/v1/audio/transcriptions"


def form(data: bytes = b"", **fields: str) -> aiohttp.FormData:
    body = aiohttp.FormData()
    body.add_field("file", data or audio.encoded(), filename="a.wav")
    for name, value in {"model": "stub", **fields}.items():
        body.add_field(name, value)
    return body


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = stub_server(StubSettings(ServerSettings(model_name="stub", slots=2), text="One. Two."))
    async with asked(server) as client:
        yield client


async def test_answers_each_format(client: Client) -> None:
    answers = {}
    for name in ("json", "text", "srt", "vtt", "verbose_json"):
        async with client.post(URL, data=form(response_format=name)) as answer:
            assert answer.status == 200
            answers[name] = await answer.text()
    assert json.loads(answers["json"]) == {"text": "One. Two.", "usage": {"type": "duration", "seconds": 3}}
    assert answers["text"] == "One. Two.\n"
    assert answers["srt"].startswith("1\n00:00:00,000 --> 00:00:01,496\nOne.\n\n2\n")
    assert answers["vtt"].startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.496\nOne.\n\n")
    assert [s["text"] for s in json.loads(answers["verbose_json"])["segments"]] == [" One.", " Two."]


async def test_waits_as_long_as_the_audio_asks() -> None:
    settings = StubSettings(ServerSettings(model_name="stub"), delay_per_audio_s=0.1)
    async with asked(stub_server(settings)) as client:
        began = asyncio.get_running_loop().time()
        async with client.post(URL, data=form(audio.silence(5000))) as answer:
            assert answer.status == 200
        assert asyncio.get_running_loop().time() - began >= 0.5


async def test_streams_deltas_that_join_to_the_text(client: Client) -> None:
    async with client.post(URL, data=form(stream="true")) as answer:
        assert answer.content_type == "text/event-stream"
        lines = (await answer.text()).split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert [e["type"] for e in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(e["delta"] for e in events[:-1]) == events[-1]["text"] == "One. Two."


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"language": "de"}, 400, "language"),
        ({"response_format": "xml"}, 400, "response_format"),
        ({"temperature": "2"}, 400, "temperature"),
        ({"temperature": "warm"}, 400, "temperature"),
        ({"timestamp_granularities[]": "word"}, 400, "timestamp_granularities[]"),
        ({"chunking_strategy": "auto"}, 400, "chunking_strategy"),
        ({"stream": "true", "response_format": "srt"}, 400, "stream"),
        ({"model": "other"}, 404, "model"),
    ],
)
async def test_refuses_what_it_cannot_do_and_names_it(
    client: Client, fields: dict[str, str], status: int, param: str
) -> None:
    async with client.post(URL, data=form(**fields)) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["type"], error["param"]) == (status, "invalid_request_error", param)
    async with client.post(URL, data=form()) as answer:
        assert answer.status == 200


async def test_refuses_bodies_that_are_not_audio(client: Client) -> None:
    for data in (b"hello, this is text", b"\xff"):
        async with client.post(URL, data=form(data)) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["param"] == "file"
    empty = aiohttp.FormData()
    empty.add_field("file", b"", filename="a.wav")
    async with client.post(URL, data=empty) as answer:
        assert answer.status == 400
    async with client.post(URL, json={"model": "stub"}) as answer:
        assert answer.status == 400
    async with client.post(URL, data={"model": "stub"}) as answer:
        assert answer.status == 400
    async with client.post(URL, data=b"junk", headers={"content-type": "multipart/form-data; boundary=x"}) as answer:
        assert answer.status == 400
    headerless = b"--x\r\nno header\r\n\r\n--x--\r\n"
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    async with client.post(URL, data=headerless, headers=multipart) as answer:
        assert answer.status == 400
    async with client.get("/nowhere") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_counts_a_client_that_left_as_cancelled(tmp_path: Path) -> None:
    settings = StubSettings(
        ServerSettings(slots=1, count_file=tmp_path / "count"), delay_ms=200, text=" ".join(["More."] * 20)
    )
    server = stub_server(settings)
    runner = web.AppRunner(server.application(), handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await server.ready()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{URL}"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=form(stream="true"), headers={"x-request-id": "r1"}) as answer:
                await answer.content.readuntil(b"\n\n")
            async with asyncio.timeout(60):
                while server.counts.report()["cancelled"] == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    finally:
        await runner.cleanup()
    assert [(c["event"], c["request_id"]) for c in read_counts(tmp_path / "count")] == [
        ("begun", "r1"),
        ("cancelled", "r1"),
    ]


async def test_counts_survive_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "count"
    code = (
        "import os\nfrom insource.servers.stub import run_stub\nfrom insource.servers.settings import stub_settings\n"
        "run_stub(stub_settings(os.environ))"
    )
    environment = {**os.environ, "PORT": "0", "STUB_COUNT_FILE": str(file), "MODEL_NAME": "stub"}
    with program(code, environment) as running:
        async with aiohttp.ClientSession(running.url) as session:
            for number in range(5):
                headers = {"x-request-id": f"r{number}", "x-envoy-attempt-count": "1"}
                async with session.post(URL, data=form(), headers=headers) as answer:
                    assert answer.status == 200
        running.process.kill()
        running.process.wait()
    completed = [line["request_id"] for line in read_counts(file) if line["event"] == "completed"]
    assert completed == [f"r{number}" for number in range(5)]


def test_settings_name_the_variable_that_is_wrong() -> None:
    with pytest.raises(SettingsError, match="SLOTS"):
        server_settings({"SLOTS": "0"})
    with pytest.raises(SettingsError, match="STUB_DELAY_MS"):
        stub_settings({"STUB_DELAY_MS": "soon"})
