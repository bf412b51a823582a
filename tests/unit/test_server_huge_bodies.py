"""300 MB straight to our model servers: JSON is refused before it is read, speech waits on disk; memory stays."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bench.upload_memory import resident_kib

from insource.adapter.warmup import tone_wav
from insource.env import system_env
from insource.servers.embedding import EmbeddingServer
from insource.servers.images import ImageServer
from insource.servers.serving import ModelServer
from insource.servers.settings import ServerSettings, StubSettings
from insource.servers.speech import SpeechServer
from insource.servers.stub import stub_server
from insource.servers.text import TextServer
from tests.model_servers import asked

HUGE_BYTES = 300 * 1000 * 1000
PIECE = bytes(256 << 10)
MOST_KIB = 32 << 10
"""By how much this process, which is server and client, may grow."""


class NoModel:
    """Must not be asked."""

    voices = ("joe",)

    def close(self) -> None:
        pass


def server_of(path: str) -> ModelServer[Any]:
    settings = ServerSettings(model_name="m")
    model: Any = NoModel()
    match path:
        case "/v1/audio/speech":
            return SpeechServer(settings, lambda: model)
        case "/v1/images/generations":
            return ImageServer(settings, lambda: model, system_env())
        case "/v1/embeddings":
            return EmbeddingServer(settings, lambda: model)
        case _:
            return TextServer(settings, lambda: model)


class Stream:
    """`head` and zeros, `HUGE_BYTES` together; counts what was taken of it."""

    def __init__(self, head: bytes, tail: bytes = b"") -> None:
        self.taken = 0
        self._head, self._tail = head, tail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        while self.taken < HUGE_BYTES:
            self.taken += len(PIECE)
            yield PIECE
        yield self._tail


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/speech", "/v1/images/generations", "/v1/embeddings", "/v1/completions", "/v1/chat/completions",
    ],
)  # fmt: skip
async def test_json_without_end_is_refused_early(path: str, told: bool) -> None:
    async with asked(server_of(path)) as client:
        before = resident_kib(os.getpid())
        body = Stream(b'{"model": "m", "input": "')
        headers = {"content-type": "application/json"}
        if told:
            headers["content-length"] = str(HUGE_BYTES)
        async with client.post(path, data=body, headers=headers) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["type"]) == (413, "invalid_request_error")
            assert error["message"].endswith(" bytes.")
        assert body.taken < 64 << 20
        assert resident_kib(os.getpid()) - before < 2 * MOST_KIB


async def test_speech_of_that_size_is_within_a_servers_limit_and_waits_on_disk() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + tone_wav()
    async with asked(stub_server(StubSettings(ServerSettings(model_name="m"), text="Hello."))) as client:
        before = resident_kib(os.getpid())
        headers = {"content-type": "multipart/form-data; boundary=b"}
        body = Stream(head, b"\r\n--b--\r\n")
        async with client.post("/v1/audio/transcriptions", data=body, headers=headers) as answer:
            assert (answer.status, (await answer.json())["text"]) == (200, "Hello.")
        assert body.taken >= HUGE_BYTES
        assert resident_kib(os.getpid()) - before < MOST_KIB
