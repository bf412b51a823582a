"""The emulated Azure OpenAI by the SDK's `AzureOpenAI`, its v1 path by `OpenAI`: every endpoint, Azure's own errors."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import openai
import pytest
from PIL import Image

from insource.emulator.settings import EmulatorSettings
from tests import audio
from tests.gateway.emulator_harness import KEY, emulator, faults, items, meter

pytestmark = pytest.mark.gateway
WAV = audio.clip("0880").wav
VERSION = "2024-10-21"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with emulator(tmp_path, "azure-openai", deployments={"dictation": "whisper"}) as found:
        yield found


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with openai.AsyncAzureOpenAI(azure_endpoint=url, api_key=KEY, api_version=VERSION, max_retries=0) as client:
        yield client


@pytest.fixture
async def v1(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_every_endpoint_of_a_deployment(sdk: openai.AsyncAzureOpenAI, url: str) -> None:
    heard = await sdk.audio.transcriptions.create(model="dictation", file=WAV)
    assert heard.text == "echo of 2990 milliseconds"
    assert (await sdk.audio.translations.create(model="whisper", file=WAV)).text == heard.text
    spoken = await sdk.audio.speech.create(model="tts-hd", voice="nova", input="a" * 10, response_format="pcm")
    assert len(spoken.content) == 24_000  # half a second
    drawn = await sdk.images.generate(model="gpt-image-2", prompt="a", size="160x160")
    assert drawn.data
    target = io.BytesIO()
    Image.new("RGB", (64, 64)).save(target, "PNG")
    edited = await sdk.images.edit(
        model="gpt-image-2", prompt="a", size="160x160", image=("a.png", target.getvalue()), stream=True
    )
    assert [event.type async for event in edited] == ["image_edit.completed"]
    chat = await sdk.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": "a"}])
    assert chat.choices[0].message.content == "Echo: a"
    assert (await sdk.completions.create(model="gpt-35-turbo-instruct", prompt="a")).choices[0].text == "Echo: a"
    assert len((await sdk.embeddings.create(model="text-embedding-3-large", input="a")).data[0].embedding) == 3072
    lines = (await meter(url))["lines"]
    assert [line["model"] for line in lines] == [
        *("whisper", "whisper", "tts-hd", "gpt-image-2", "gpt-image-2", "gpt-6-luna", "gpt-35-turbo-instruct"),
        "text-embedding-3-large",
    ]
    assert lines[0]["path"] == "/openai/deployments/dictation/audio/transcriptions"
    assert (items(lines[0]), lines[0]["usd"]) == ({"seconds": 3}, "0.0003")
    assert (items(lines[2]), lines[2]["usd"]) == ({"characters": 10}, "0.0003")


async def test_streams_and_headers(sdk: openai.AsyncAzureOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="gpt-6-luna", messages=[{"role": "user", "content": "a"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Echo: a"
    raw = await sdk.embeddings.with_raw_response.create(model="text-embedding-3-small", input="a")
    assert raw.headers["apim-request-id"]
    assert raw.headers["x-ratelimit-limit-requests"] == "300"


async def test_the_v1_path(v1: openai.AsyncOpenAI, url: str) -> None:
    heard = await v1.audio.transcriptions.create(model="gpt-4o-transcribe", file=WAV)
    assert heard.text == "echo of 2990 milliseconds"
    assert await v1.embeddings.create(model="text-embedding-3-small", input="a", extra_query={"api-version": "preview"})
    with pytest.raises(openai.BadRequestError):
        await v1.audio.transcriptions.create(model="dictation", file=WAV)
    with pytest.raises(openai.BadRequestError):
        await v1.embeddings.create(model="text-embedding-3-small", input="a", extra_query={"api-version": VERSION})
    with pytest.raises(openai.NotFoundError) as refused:
        await v1.embeddings.create(model="absent", input="a")
    assert refused.value.code == "DeploymentNotFound"
    assert "dictation" in {model.id async for model in v1.models.list()}
    assert (await meter(url))["requests"] == 2


async def test_errors_of_azures_own(sdk: openai.AsyncAzureOpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        await sdk.embeddings.create(model="absent", input="a")
    assert refused.value.code == "DeploymentNotFound"
    with pytest.raises(openai.BadRequestError) as wrong_kind:
        await sdk.embeddings.create(model="dictation", input="a")
    assert wrong_kind.value.code == "OperationNotSupported"
    with pytest.raises(openai.BadRequestError) as of_the_model:
        await sdk.embeddings.create(model="text-embedding-3-small", input="")
    assert of_the_model.value.param == "input"
    body = {"input": "a"}
    path = f"{url}/openai/deployments/text-embedding-3-small/embeddings"
    cases = [
        (path, {"api-key": KEY}, 404, {"code": "404", "message": "Resource not found"}),
        (f"{path}?api-version=2020-01-01", {"api-key": KEY}, 404, {"code": "404", "message": "Resource not found"}),
        (f"{url}/openai/deployments/a?api-version={VERSION}", {"api-key": KEY}, 404, None),
        (f"{path}?api-version={VERSION}", {"api-key": KEY + "x"}, 401, None),
        (f"{path}?api-version={VERSION}", {}, 401, None),
        (f"{path}?api-version={VERSION}", {"authorization": "Basic abc"}, 401, None),
    ]
    async with aiohttp.ClientSession() as session:
        for address, headers, status, error in cases:
            async with session.post(address, json=body, headers=headers) as answer:
                assert answer.status == status
                found = (await answer.json())["error"]
                assert set(found) == {"code", "message"}
                assert KEY not in found["message"]
                assert error in (None, found)
        for headers in ({"api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
            async with session.post(f"{path}?api-version={VERSION}", json=body, headers=headers) as answer:
                assert answer.status == 200
    assert (await meter(url))["requests"] == 2


async def test_the_limit(sdk: openai.AsyncAzureOpenAI, url: str) -> None:
    await faults(url, rate_limit_rpm=1)
    await sdk.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(openai.RateLimitError) as refused:
        await sdk.embeddings.create(model="text-embedding-3-small", input="a")
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert int(refused.value.response.headers["retry-after-ms"]) <= 60_000
    assert (await meter(url))["requests"] == 1


async def test_a_deployment_of_an_unknown_model_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--deployment a=b"):
        async with emulator(tmp_path, "azure-openai", deployments={"a": "b"}):
            pass
    assert EmulatorSettings(data=tmp_path, key_file=tmp_path).vendor == "openai"
