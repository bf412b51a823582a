"""The informer stays level: pages, events, 410, silent deletions, an API that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise
from typing import Any

import pytest

from insource.env import Env
from insource.kube.client import ApiError, ObjectList, WatchEvent
from insource.kube.informer import Informer, InformerOptions
from insource.kube.resources import PODS, Key
from tests.sim.virtual import virtual_env

Script = list[WatchEvent | ApiError]


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}}


class ScriptedApi:
    """Lists from `state`; each watch plays the next script, the last one then hangs as a real watch does."""

    def __init__(self, *scripts: Script) -> None:
        self.state: dict[str, int] = {}
        self.version = 1
        self.scripts = list(scripts)
        self.lists = 0
        self.list_error: ApiError | None = None
        self.watched_from: list[str] = []
        self.before_watch: Callable[[int], None] = lambda _: None

    async def list(
        self,
        resource: Any,
        namespace: str = "",
        *,
        labels: str = "",
        limit: int = 0,
        continue_token: str = "",
        **_: Any,
    ) -> ObjectList:
        if self.list_error is not None:
            error, self.list_error = self.list_error, None
            raise error
        self.lists += 1
        names = sorted(self.state)
        start = int(continue_token or 0)
        page = names[start : start + limit]
        rest = str(start + limit) if start + limit < len(names) else ""
        return ObjectList([pod(name, self.state[name]) for name in page], str(self.version), rest)

    async def watch(
        self, resource: Any, namespace: str = "", *, resource_version: str, labels: str = "", **_: Any
    ) -> AsyncGenerator[WatchEvent, None]:
        self.watched_from.append(resource_version)
        self.before_watch(len(self.watched_from))
        if not self.scripts:
            await asyncio.Event().wait()
        for step in self.scripts.pop(0):
            if isinstance(step, ApiError):
                raise step
            yield step


async def follow(
    api: ScriptedApi, until: Callable[[Informer[str]], bool], page: int = 500, env: Env | None = None
) -> Informer[str]:
    env = env or virtual_env(1)[0]
    informer: Informer[str] = Informer(
        api,  # type: ignore[arg-type]
        PODS,
        env,
        lambda obj: str(obj["metadata"]["resourceVersion"]),
        InformerOptions(page=page),
    )
    running = asyncio.ensure_future(informer.run())
    async with asyncio.timeout(60):
        while not until(informer):
            await asyncio.sleep(0)
            assert not running.done(), running.exception()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return informer


async def test_every_page_of_a_list_is_read_before_synced() -> None:
    api = ScriptedApi()
    api.state = {f"p{i}": 1 for i in range(7)}
    informer = await follow(api, lambda i: i.cache.synced.is_set(), page=3)
    assert len(informer.cache) == 7
    assert api.lists == 3


async def test_a_watch_goes_on_from_the_last_bookmark() -> None:
    api = ScriptedApi([WatchEvent("ADDED", pod("a", 5)), WatchEvent("BOOKMARK", pod("", 9))])
    informer = await follow(api, lambda _: len(api.watched_from) == 2)
    assert api.watched_from == ["1", "9"]
    assert api.lists == 1
    assert informer.cache.get(Key("n", "a")) == "5"


async def test_after_410_a_list_finds_what_was_deleted_unseen() -> None:
    api = ScriptedApi([ApiError(410, "Expired", "too old")])
    api.state = {"a": 1, "b": 1}

    def lose(number: int) -> None:
        if number == 1:
            api.state, api.version = {"b": 1}, 50

    api.before_watch = lose
    informer = await follow(api, lambda _: len(api.watched_from) == 2)
    assert api.watched_from == ["1", "50"]
    assert [key.name for key in informer.cache.keys()] == ["b"]  # noqa: SIM118


async def test_the_cache_serves_while_the_api_is_away_and_the_watch_resumes_without_a_list() -> None:
    api = ScriptedApi([ApiError(0, "Unreachable", "")], [ApiError(503, "ServiceUnavailable", "", 2.0)])
    api.state = {"a": 1}
    informer = await follow(api, lambda _: len(api.watched_from) == 3)
    assert informer.cache.get(Key("n", "a")) == "1"
    assert api.lists == 1


async def test_a_list_that_fails_is_tried_again() -> None:
    api = ScriptedApi()
    api.list_error = ApiError(500, "InternalError", "")
    informer = await follow(api, lambda i: i.cache.synced.is_set())
    assert informer.cache.synced.is_set()


async def test_deletions_reach_the_listeners() -> None:
    api = ScriptedApi([WatchEvent("DELETED", pod("a", 9))])
    api.state = {"a": 1}
    informer = await follow(api, lambda _: len(api.watched_from) == 2)
    assert len(informer.cache) == 0


@pytest.mark.parametrize("sign", ["an event", "a long silence"])
async def test_after_a_watch_that_went_well_the_pauses_begin_anew(sign: str) -> None:
    env, clock = virtual_env(1)
    away = ApiError(0, "Unreachable", "")
    told: Script = [WatchEvent("ADDED", pod("a", 5)), away] if sign == "an event" else [away]
    api = ScriptedApi(*([away] for _ in range(8)), told, [away])
    began: list[float] = []

    def note(number: int) -> None:
        began.append(clock.time)
        if number == 9 and sign == "a long silence":
            clock.time += 60.0

    api.before_watch = note
    await follow(api, lambda _: len(began) == 11, env=env)
    pauses = [after - before for before, after in pairwise(began)]
    assert pauses[7] > 7.0, "they grow while it is away"
    assert pauses[9] < 0.5, "and are short again"
