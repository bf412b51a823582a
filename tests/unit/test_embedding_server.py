"""The embedding server over a model that counts letters: parameters, shapes, limits, clients that leave."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy
import orjson
import pytest

from insource.servers.embedding import Embedded, EmbeddingServer, InputTooLongError
from insource.servers.minilm import batches, gelu
from insource.servers.settings import ServerSettings
from tests.model_servers import Client, asked

URL = "/v1/embeddings"


class Letters:
    """The vector of a text is its length and 0.5; `forever` goes on until it is left, `toolong` is refused."""

    dimensions = 2

    def __init__(self) -> None:
        self.running = self.left = 0
        self._never = threading.Event()

    def embed(self, texts: Sequence[str], left: Callable[[], bool]) -> Embedded | None:
        self.running += 1
        try:
            while "forever" in texts:
                if left():
                    self.left += 1
                    return None
                self._never.wait(0.005)
        finally:
            self.running -= 1
        if "toolong" in texts:
            raise InputTooLongError(texts.index("toolong"), 300, 256)
        if "broken" in texts:
            raise OSError("secret path")
        return Embedded(numpy.array([[len(text), 0.5] for text in texts], numpy.float32), sum(map(len, texts)))


@pytest.fixture
def model() -> Letters:
    return Letters()


@pytest.fixture
def server(model: Letters) -> EmbeddingServer:
    return EmbeddingServer(ServerSettings(model_name="m", slots=1), lambda: model)


@pytest.fixture
async def client(server: EmbeddingServer) -> AsyncIterator[Client]:
    async with asked(server) as client:
        yield client


async def ask(client: Client, **body: Any) -> tuple[int, Any]:
    async with client.post(URL, json={"model": "m", **body}) as answer:
        return answer.status, await answer.json()


async def test_has_openais_shape(client: Client) -> None:
    assert await ask(client, input=["abc", "de"]) == (
        200,
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [3.0, 0.5]},
                {"object": "embedding", "index": 1, "embedding": [2.0, 0.5]},
            ],
            "model": "m",
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        },
    )


async def test_base64_is_float32_in_little_endian_order(client: Client) -> None:
    status, body = await ask(client, input="abc", encoding_format="base64")
    assert status == 200
    assert numpy.frombuffer(base64.b64decode(body["data"][0]["embedding"]), "<f4").tolist() == [3.0, 0.5]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": {}}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a", "toolong"]}, "input"),
        ({"input": "a", "dimensions": 1}, "dimensions"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "dimensions": "2"}, "dimensions"),
        ({"input": "a", "dimensions": True}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "encoding_format": []}, "encoding_format"),
        ({"input": "a", "encoding_format": 0}, "encoding_format"),
        ({"input": "a", "user": 1}, "user"),
        ({"input": "a", "user": []}, "user"),
        ({"input": "a", "truncate": True}, "truncate"),
    ],
)
async def test_what_is_wrong_is_named(client: Client, body: dict[str, Any], param: str) -> None:
    status, answer = await ask(client, **body)
    assert (status, answer["error"]["param"]) == (400, param), answer


async def test_what_is_at_its_bound_is_taken(client: Client) -> None:
    for body in ({"input": ["a"] * 2048}, {"input": "a", "dimensions": 2}, {"input": "a\0b", "user": "me"}):
        status, answer = await ask(client, **body)
        assert status == 200
        texts = body["input"]
        assert len(answer["data"]) == (len(texts) if isinstance(texts, list) else 1)


async def test_too_long_an_input_tells_which_and_how_long(client: Client) -> None:
    _, answer = await ask(client, input=["a", "toolong"])
    assert answer["error"]["code"] == "context_length_exceeded"
    assert answer["error"]["message"] == "This model reads 256 tokens, and input[1] has 300; split it."


async def test_the_model_must_be_the_one_here(client: Client) -> None:
    assert (await ask(client, model="other", input="a"))[0] == 404
    assert (await ask(client, model=None, input="a"))[0] == 400
    assert (await ask(client, input="broken"))[1]["error"]["type"] == "server_error"
    for body in (b"", b"[]", b'{"model":"m","input":"\\udfff"}', b"[" * 50_000, orjson.dumps("a")):
        async with client.post(URL, data=body, headers={"content-type": "application/json"}) as answer:
            assert answer.status == 400


async def test_a_client_that_leaves_frees_the_slot(client: Client, server: EmbeddingServer, model: Letters) -> None:
    running = asyncio.ensure_future(client.post(URL, json={"model": "m", "input": "forever"}))
    await until(lambda: model.running == 1)
    queued = asyncio.ensure_future(client.post(URL, json={"model": "m", "input": "forever"}))
    await until(lambda: server.counts.report()["begun"] == 2)
    queued.cancel()
    running.cancel()
    await until(lambda: server.counts.report()["cancelled"] == 2)
    assert (await ask(client, input="abc"))[0] == 200
    assert model.left == 1


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_batches_have_all_texts_the_short_ones_first_and_within_the_limit() -> None:
    lengths = [5, 1, 9, 3, 30, 2]
    made = batches(lengths, 12)
    assert sorted(index for group in made for index in group) == list(range(6))
    assert [lengths[index] for group in made for index in group] == sorted(lengths)
    assert all(len(group) * max(lengths[i] for i in group) <= 12 for group in made if len(group) > 1)
    assert batches([], 12) == []


def test_gelu_is_the_exact_one() -> None:
    import math

    x = numpy.linspace(-9, 9, 20_001, dtype=numpy.float32)
    exact = numpy.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x.tolist()])
    assert float(numpy.abs(gelu(x) - exact).max()) < 1e-6
