"""300 MB for one request, told or in chunks, to each kind of endpoint: refused early, held nowhere, not billed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from insource.adapter.warmup import tone_wav
from tests.gateway.adapter_harness import until
from tests.gateway.gateway_harness import ALICE
from tests.gateway.huge_uploads import HUGE_BYTES, KINDS, LIMIT_BYTES, Answer, World, world

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(240)]
BY_NAME = [name for name in KINDS if name.startswith("by name")]
SOON_BYTES = 24 << 20
"""What sockets hold when the answer comes, be the machine slow."""
MOST_KIB = {"adapter": 24 << 10, "Envoy": 64 << 10, "agent and client": 64 << 10}
"""By how much each may grow. Envoy keeps a body of unknown length up to the limit (32 MiB), to send it elsewhere."""


async def test_none_is_taken_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await _small(here)
        before = here.resident_kib()
        highest = dict(before)
        async with _neighbour(here) as served, _watched(here, highest):
            for name, kind in KINDS.items():
                for chunked in (False, True):
                    answer = await here.send(kind, chunked=chunked)
                    _is_refusal(answer)
                    # In chunks, Envoy may be ahead by its buffer of what the adapter has read, and that by its limit.
                    assert answer.sent_bytes < SOON_BYTES + (2 * LIMIT_BYTES if chunked else 0), (name, chunked)
        assert len(served) > 1
        grown = {name: highest[name] - before[name] for name in before}
        assert all(grown[name] < MOST_KIB[name] for name in grown), grown
        await _nothing_is_left(here, refused=3)  # the others came no further than Envoy or its agent


async def test_an_adapter_refuses_a_told_length_before_the_body(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for name, kind in KINDS.items():
            if name not in BY_NAME:
                answer = await here.send_to_adapter(kind, chunked=False)
                _is_refusal(answer)
                assert answer.headers["x-insource-outcome"] == "client"
                assert answer.sent_bytes < SOON_BYTES, name
        await _nothing_is_left(here, refused=3)


async def test_openais_sdk_reads_the_refusal(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        huge = tmp_path / "huge.wav"
        with huge.open("wb") as file:
            file.write(tone_wav())
            file.truncate(HUGE_BYTES)  # takes no room on the disk
        for base_url in (f"{here.gateway.url}/voice/dictation/v1", f"{here.gateway.url}/v1"):
            with openai.OpenAI(base_url=base_url, api_key=ALICE.key, max_retries=0) as client, huge.open("rb") as file:
                with pytest.raises(openai.APIStatusError, match="larger than") as refused:
                    await asyncio.to_thread(client.audio.transcriptions.create, model="dictation", file=file)
                assert (refused.value.status_code, refused.value.type) == (413, "invalid_request_error")
        await _nothing_is_left(here, refused=0)


def _is_refusal(answer: Answer) -> None:
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (answer.status, error["type"]) == (413, "invalid_request_error")
    assert error["code"] in ("content_too_large", "request_too_large")
    assert "larger than" in error["message"]


async def _small(here: World) -> None:
    """A request that anybody may send at any time."""
    url = f"{here.gateway.url}/voice/dictation/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=ALICE.key, max_retries=0) as client:
        said = await client.audio.transcriptions.create(model="m", file=("a.wav", io.BytesIO(tone_wav())))
        assert said.text


@asynccontextmanager
async def _neighbour(here: World) -> AsyncIterator[list[None]]:
    """Small requests, one after the other; none may fail."""
    served: list[None] = []

    async def ask() -> None:
        while True:
            served.append(await _small(here))

    async with _beside(asyncio.create_task(ask())):
        yield served


@asynccontextmanager
async def _watched(here: World, highest: dict[str, int]) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            for name, kib in here.resident_kib().items():
                highest[name] = max(highest[name], kib)
            await asyncio.sleep(0.01)

    async with _beside(asyncio.create_task(watch())):
        yield


@asynccontextmanager
async def _beside(task: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _nothing_is_left(here: World, refused: int) -> None:
    def ends() -> list[tuple[int, list[object]]]:
        found = here.ledger.ends().values()
        return [(end["status"], end["quantities"]) for end in found if end["outcome"] == "client"]

    await until(lambda: len(ends()) >= refused and len(here.ledger.starts()) == len(here.ledger.ends()))
    assert ends() == [(413, [])] * refused
    await until(lambda: here.spooled() == [])
    assert all(len(call["bytes"]) < 1 << 20 for call in here.server.calls), "what the vendor was sent is small"
