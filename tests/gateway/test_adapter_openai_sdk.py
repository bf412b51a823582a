"""OpenAI's own SDK, unchanged, against an adapter: every endpoint, whole and streamed, in-house and at a vendor."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from insource.wire.vocabulary import Modality
from tests.gateway.adapter_answers import SOUND, png
from tests.gateway.adapter_harness import World, world

pytestmark = pytest.mark.gateway


@asynccontextmanager
async def client(here: World) -> AsyncIterator[openai.AsyncOpenAI]:
    """Through the gateway the identity headers are Envoy's."""
    headers = {name: value for name, value in here.identity().items() if name != "x-request-id"}
    url = here.url("/v1")
    sdk = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, default_headers=headers)
    async with sdk:
        yield sdk


def request_id(number: int) -> dict[str, str]:
    return {"x-request-id": f"sdk-{number}"}


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
async def test_speech(tmp_path: Path, side: str) -> None:
    async with world(tmp_path, side=side, modality=Modality.SPEECH) as here, client(here) as sdk:
        spoken = await sdk.audio.speech.create(
            model="m", input="Hello", voice="alloy", response_format="wav", extra_headers=request_id(1)
        )
        assert spoken.content == SOUND["wav"]
        async with sdk.audio.speech.with_streaming_response.create(
            model="m", input="Hello", voice="alloy", speed=2.0, extra_headers=request_id(2)
        ) as streamed:
            assert b"".join([piece async for piece in streamed.iter_bytes()]) == SOUND["mp3"]
        with pytest.raises(openai.BadRequestError, match="speed") as refused:
            await sdk.audio.speech.create(model="m", input="Hello", voice="alloy", speed=9, extra_headers=request_id(3))
        assert (refused.value.param, refused.value.code) == ("speed", "invalid_value")


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
async def test_images(tmp_path: Path, side: str) -> None:
    async with world(tmp_path, side=side, modality=Modality.IMAGE) as here, client(here) as sdk:
        answer = await sdk.images.generate(
            model="m", prompt="a red circle", n=2, extra_headers=request_id(1), response_format="b64_json"
        )
        assert [each.b64_json for each in answer.data or []] == [png().decode()] * 2
        assert answer.usage is not None


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
async def test_text(tmp_path: Path, side: str) -> None:
    async with world(tmp_path, side=side, modality=Modality.TEXT) as here, client(here) as sdk:
        whole = await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], extra_headers=request_id(1)
        )
        assert (whole.choices[0].message.content, whole.model) == ("Hello you.", "m")
        chunks = await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True, max_completion_tokens=8,
            extra_headers=request_id(2),
        )  # fmt: skip
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks]) == "Hello you."
        completed = await sdk.completions.create(model="m", prompt="Hi", extra_headers=request_id(3))
        assert completed.choices[0].text == "Hello you."
        pieces = await sdk.completions.create(
            model="m", prompt="Hi", stream=True, stream_options={"include_usage": True}, extra_headers=request_id(4)
        )
        *texts, last = [piece async for piece in pieces]
        assert "".join(piece.choices[0].text for piece in texts) == "Hello you."
        assert last.usage is not None
        assert last.usage.completion_tokens == 3


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
async def test_embeddings(tmp_path: Path, side: str) -> None:
    async with world(tmp_path, side=side, modality=Modality.EMBEDDING) as here, client(here) as sdk:
        # The SDK asks for base64 by itself, and this backend answers with numbers whatever it is asked.
        answer = await sdk.embeddings.create(model="m", input=["one", "two"], extra_headers=request_id(1))
        assert [each.embedding for each in answer.data] == [[0.5, -0.25]] * 2
        assert here.server.calls[0]["body"]["encoding_format"] == "base64"
        raw = await sdk.embeddings.create(model="m", input="one", encoding_format="base64", extra_headers=request_id(2))
        assert isinstance(raw.data[0].embedding, str)
        assert len(base64.b64decode(raw.data[0].embedding)) == 8


async def test_models(tmp_path: Path) -> None:
    async with world(tmp_path, modality=Modality.TEXT) as here, client(here) as sdk:
        listed = await sdk.models.list(extra_headers=request_id(1))
        assert [each.id for each in listed.data] == ["dictation"]
