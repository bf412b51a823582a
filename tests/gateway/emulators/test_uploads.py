"""Forms that no emulated vendor takes: too large, doubled, nameless, no form at all; and the program by its flags."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from PIL import Image

from insource.cli.programs import emulator as program_of_emulators
from tests import audio
from tests.gateway.emulator_harness import KEY, meter
from tests.programs import program

pytestmark = pytest.mark.gateway
WAV = audio.clip("0880").wav.read_bytes()
HEAR = "/v1/audio/transcriptions"


def form(*fields: tuple[str, str], sound: bytes = WAV, files: int = 1) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for _ in range(files):
        data.add_field("file", io.BytesIO(sound), filename="a.wav")
    for name, value in fields:
        data.add_field(name, value)
    return data


async def test_sizes_at_the_bound_and_above_it(client: aiohttp.ClientSession, url: str) -> None:
    model = ("model", "whisper-1")
    async with client.post(HEAR, data=form(model, sound=bytes(26_214_401))) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (413, "server_error")
    async with client.post(HEAR, data=form(model, sound=bytes(26_214_400))) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "file")  # it is no audio
    long = form(model)
    long.add_field("prompt", io.BytesIO(b"a" * ((1 << 20) + 1)))
    async with client.post(HEAR, data=long) as answer:
        assert (answer.status, "prompt" in await answer.text()) == (400, True)
    mask = aiohttp.FormData({"model": "gpt-image-2", "prompt": "a"})
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    mask.add_field("image", picture.getvalue(), filename="a.png")
    mask.add_field("mask", io.BytesIO(bytes(4_000_001)), filename="m.png")
    async with client.post("/v1/images/edits", data=mask) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (413, "mask")
    big = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "a" * (20 << 20)}]}
    async with client.post("/v1/chat/completions", data=io.BytesIO(json.dumps(big).encode()), headers=JSON) as answer:
        assert answer.status == 413
    assert (await meter(url))["requests"] == 0


JSON = {"content-type": "application/json"}


async def test_forms_that_are_wrong(client: aiohttp.ClientSession, url: str) -> None:
    model = ("model", "whisper-1")
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    for data, headers in (
        (form(model, model), {}),
        (form(model, files=2), {}),
        (b"", boundary),
        (b"--x\r\n", boundary),
        (b"--x\r\ncontent-disposition: form-data\r\n\r\na\r\n--x--\r\n", boundary),
        (b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\n\xff\xfe\r\n--x--\r\n", boundary),
        (b"--x\r\n\r\n--x--", boundary),
        (b"model=whisper-1", {"content-type": "application/x-www-form-urlencoded"}),
        (b"a", {"content-type": "multipart/form-data"}),
    ):
        async with client.post(HEAR, data=data, headers=headers) as answer:
            assert answer.status == 400, (data, await answer.text())
            assert (await answer.json())["error"]["type"] == "invalid_request_error"
    both = form(
        model,
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    )
    async with client.post(HEAR, data=both) as answer:
        found = await answer.json()
    assert found["words"]
    assert found["segments"]
    assert (await meter(url))["requests"] == 1


async def test_one_program_is_several_vendors_each_with_its_address_key_and_bill(tmp_path: Path) -> None:
    flags = ["azure-speech", "azure-images", "--engine", "echo"]
    for vendor in flags[:2]:
        (tmp_path / vendor).write_text(f"key-of-{vendor}")
        flags += ["--listen", "127.0.0.1:0", "--data", str(tmp_path / f"bill-{vendor}")]
        flags += ["--key-file", str(tmp_path / vendor)]
    code = f"from insource.cli.programs import emulator\nemulator({flags!r})"
    with program(code, os.environ) as running:
        speech, images = running.url, running.next_url()
        body = {"model": "MAI-Image-2.6", "prompt": "a", "width": 768, "height": 768}
        async with aiohttp.ClientSession() as session:
            for key, status in (("key-of-azure-speech", 401), ("key-of-azure-images", 200)):
                post = session.post(f"{images}/mai/v1/images/generations", json=body, headers={"api-key": key})
                async with post as answer:
                    assert answer.status == status
            voices = f"{speech}/cognitiveservices/voices/list"
            async with session.get(voices, headers={"ocp-apim-subscription-key": "key-of-azure-speech"}) as answer:
                assert answer.status == 200
        assert ((await meter(speech))["requests"], (await meter(images))["requests"]) == (0, 1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            "openai --listen 127.0.0.1:0 --listen 127.0.0.1:0 --data a --key-file k",
            "--listen must be given once for each VENDOR: 1 times, not 2",
        ),
        (
            "openai azure-speech --listen 127.0.0.1:0 --listen 127.0.0.1:0 --data a --data b --key-file k",
            "--key-file must be given once for each VENDOR: 2 times, not 1",
        ),
        (
            "openai azure-speech --listen 127.0.0.1:0 --listen 127.0.0.1:0 --data a --data a --key-file k --key-file k",
            "would share their bill",
        ),
        ("openai gcp --listen 127.0.0.1:0 --data a --key-file k", "'gcp' is not one of"),
        ("--listen 127.0.0.1:0 --data a --key-file k", "Missing argument 'VENDOR...'"),
    ],
)
def test_a_vendor_without_its_own_address_is_refused(flags: str, said: str) -> None:
    done = CliRunner().invoke(program_of_emulators, flags.split())
    assert done.exit_code == 2
    assert said in done.output


async def test_the_program_takes_a_vendor_a_tier_and_deployments(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    flags = ["azure-images", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "bill"), "--key-file"]
    flags += [str(tmp_path / "key"), "--engine", "echo", "--tier", "3", "--deployment", "mine=MAI-Image-2.6-Flash"]
    code = f"from insource.cli.programs import emulator\nemulator({flags!r})"
    with program(code, os.environ) as running:
        body = {"model": "mine", "prompt": "a", "width": 768, "height": 768}
        async with (
            aiohttp.ClientSession(headers={"api-key": KEY}) as session,
            session.post(f"{running.url}/mai/v1/images/generations", json=body) as answer,
        ):
            assert answer.status == 200
            assert answer.headers["x-ratelimit-limit-requests"] == "6"
        bill = await meter(running.url)
    assert bill["lines"][0]["model"] == "MAI-Image-2.6-Flash"
    assert bill["lines"][0]["nano_usd"] == 1_750 + 576 * 19_000
