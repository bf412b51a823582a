"""The image server's HTTP face over a painter that draws nothing: slots, leaving, errors, and what an answer has."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from insource.env import Env, SystemClock, SystemIds
from insource.servers.image_request import ImageRequest
from insource.servers.images import ImageServer, LeftError, Painted
from insource.servers.requests import RefusedRequestError
from insource.servers.settings import ServerSettings
from tests.model_servers import Client, asked

URL = "/v1/images/generations"
ASKED = {"model": "flow-32", "prompt": "a red circle"}
DEADLINE_S = 20


class Noon(SystemClock):
    def now(self) -> datetime:
        return datetime(2026, 11, 29, 12, tzinfo=UTC)


class Steps:
    """A painter whose steps a test lets go on, one permit each."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.seeds: list[int] = []
        self.begun = 0
        self.done = 0
        self.ended: list[str] = []

    def check(self, asked: ImageRequest) -> None:
        if "cat" in asked.prompt:
            raise RefusedRequestError("no cats", param="prompt")

    def paint(self, asked: ImageRequest, seed: int, left: Callable[[], bool]) -> Painted:
        self.begun += 1
        self.seeds.append(seed)
        if "break" in asked.prompt:
            raise RuntimeError("broken weights")
        for _ in range(asked.steps):
            assert self.permits.acquire(timeout=DEADLINE_S)
            self.done += 1
            if left():
                self.ended.append("left")
                raise LeftError
        self.ended.append("drawn")
        return Painted([b"file"] * asked.n, steps=asked.steps, text_tokens=2, image_tokens=256 * asked.n)


@asynccontextmanager
async def serving(painter: Steps, slots: int = 1) -> AsyncIterator[Client]:
    env = Env(Noon(), SystemIds(), random.Random(7))
    server = ImageServer(ServerSettings(model_name="flow-32", slots=slots), lambda: painter, env)
    async with asked(server) as client:
        yield client
        painter.permits.release(10_000)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)


async def test_the_answer_is_openais_and_tells_its_steps() -> None:
    painter = Steps()
    painter.permits.release(1000)
    async with serving(painter) as client:
        answer = await client.post(URL, json={**ASKED, "n": 3, "quality": "low", "size": "64x32"})
        assert answer.status == 200
        assert answer.headers["x-insource-steps"] == "8"
        assert await answer.json() == {
            "created": 1795953600,
            "background": "opaque",
            "output_format": "png",
            "quality": "low",
            "size": "64x32",
            "usage": {
                "input_tokens": 2,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": 2},
                "output_tokens": 768,
                "output_tokens_details": {"image_tokens": 768, "text_tokens": 0},
                "total_tokens": 770,
                "steps": 8,
            },
            "data": [{"b64_json": base64.b64encode(b"file").decode()}] * 3,
        }
        await client.post(URL, json=ASKED)
        assert len(set(painter.seeds)) == 2, "every request has a seed of its own"


async def test_errors_have_openais_shape_and_take_no_slot() -> None:
    painter = Steps()
    async with serving(painter) as client:
        for kind, sent, status, param in (
            ("json", {**ASKED, "prompt": "a cat"}, 400, "prompt"),
            ("json", {**ASKED, "n": 0}, 400, "n"),
            ("json", {**ASKED, "model": "x"}, 404, "model"),
            ("data", {"prompt": "a red circle"}, 415, None),
        ):
            body: dict[str, Any] = {kind: sent}
            answer = await client.post(URL, **body)
            assert (answer.status, (await answer.json())["error"]["param"]) == (status, param)
        large = await client.post(URL, data=io.BytesIO(b" " * 2_000_000), headers={"content-type": "application/json"})
        assert large.status == 413
        assert (await client.get(URL)).status == 405
        assert painter.begun == 0
        counts = await (await client.get("/count")).json()
        assert (counts["begun"], counts["completed"], counts["failed"]) == (5, 0, 5)


async def test_a_painter_that_fails_is_500_and_the_slot_is_free_again() -> None:
    painter = Steps()
    painter.permits.release(1000)
    async with serving(painter) as client:
        answer = await client.post(URL, json={**ASKED, "prompt": "break"})
        assert answer.status == 500
        assert "weights" not in await answer.text()
        assert (await client.post(URL, json=ASKED)).status == 200


async def test_a_client_that_leaves_ends_the_work_at_the_next_step() -> None:
    painter = Steps()
    async with serving(painter) as client:
        leaving = asyncio.create_task(client.post(URL, json={**ASKED, "quality": "high"}))
        painter.permits.release(2)
        await until(lambda: painter.done == 2)
        leaving.cancel()
        await until_cancelled(client)
        painter.permits.release(1)
        await until(lambda: painter.ended == ["left"])
        assert painter.done == 3, "of 40 steps"
        painter.permits.release(20)
        assert (await client.post(URL, json=ASKED)).status == 200


async def test_a_client_that_leaves_while_it_waits_for_a_slot_costs_nothing() -> None:
    painter = Steps()
    async with serving(painter) as client:
        first = asyncio.create_task(client.post(URL, json=ASKED))
        await until(lambda: painter.begun == 1)
        second = asyncio.create_task(client.post(URL, json=ASKED))
        await until_begun(client, 2)
        second.cancel()
        await until_cancelled(client)
        painter.permits.release(20)
        assert (await first).status == 200
        painter.permits.release(20)
        assert (await client.post(URL, json=ASKED)).status == 200
        assert painter.begun == 2


@pytest.mark.parametrize("slots", [1, 3])
async def test_as_many_run_at_once_as_there_are_slots(slots: int) -> None:
    painter = Steps()
    async with serving(painter, slots) as client:
        asked = [asyncio.create_task(client.post(URL, json=ASKED)) for _ in range(5)]
        await until_begun(client, 5)
        await until(lambda: painter.begun == slots)
        assert painter.ended == []
        painter.permits.release(100)
        assert [(await answer).status for answer in asked] == [200] * 5
        assert painter.begun == 5


async def until_begun(client: Client, count: int) -> None:
    await until_counted(client, "begun", count)


async def until_cancelled(client: Client) -> None:
    await until_counted(client, "cancelled", 1)


async def until_counted(client: Client, event: str, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while (await (await client.get("/count")).json())[event] != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
