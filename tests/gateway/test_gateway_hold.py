"""The activator under concurrency: its limits, its order, and what happens when a held client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from insource.gateway.activator import HoldLimits
from tests.gateway.gateway_harness import AUTH, KEY, PATH, Gateway, gateway, ok, status, until

pytestmark = pytest.mark.gateway

Answer = tuple[int, dict[str, str], bytes]
MIB = 1 << 20


def held(gw: Gateway, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        deployments = (await gw.admin("/signals"))["deployments"]
        return bool(deployments.get(str(KEY), {}).get("held", 0) == count)

    return check


def waiting(gw: Gateway) -> list[int]:
    """The places of those who wait, in order; a place is given when the whole body is here."""
    assert gw.agent
    return [turn.number for turn in gw.agent._activator._queues.get(KEY, ())]


def spooled(gw: Gateway) -> int:
    assert gw.agent
    return gw.agent._activator._budget.used


def number_of(headers: dict[str, str]) -> int:
    return int(headers["x-number"])


async def cold(gw: Gateway) -> None:
    await gw.put(gw.view(2, serve=(), rescue=(), spill=()))


def start(gw: Gateway, count: int, body: bytes = b"{}") -> list[asyncio.Task[Answer]]:
    return [asyncio.create_task(gw.post(body=body, headers={**AUTH, "x-number": str(n)})) for n in range(count)]


async def test_no_more_than_the_limit_are_held_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold=HoldLimits(requests=5)) as gw:
        await cold(gw)
        tasks = start(gw, 20, bytes(2 * MIB))
        await until(lambda: sum(each.done() for each in tasks) == 15, what="15 refused")
        for code, headers, body in (each.result() for each in tasks if each.done()):
            assert (code, headers["retry-after"]) == (503, "5")
            assert b'"no_capacity"' in body
            assert "x-envoy-ratelimited" not in headers
        await until(held(gw, 5))
        await gw.put(gw.view(3))
        assert sorted(code for code, _, _ in await asyncio.gather(*tasks)) == [200] * 5 + [503] * 15
        # And there is room again.
        await cold_again(gw, 4)
        again = start(gw, 5)
        await until(held(gw, 5))
        await gw.put(gw.view(5))
        assert [(await each)[0] for each in again] == [200] * 5


async def cold_again(gw: Gateway, version: int) -> None:
    await gw.put(gw.view(version, serve=(), rescue=(), spill=()))


async def test_no_more_than_so_many_bytes_are_held_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold=HoldLimits(bytes=5 * MIB)) as gw:
        await cold(gw)
        tasks = start(gw, 8, bytes(2 * MIB))
        # At 5 MiB whoever brings the next byte is refused and gives back what it had: two whole bodies fit.
        await until(lambda: sum(each.done() for each in tasks) >= 6, what="6 refused")
        await until(lambda: spooled(gw) % (2 * MIB) == 0)
        staying = [each for each in tasks if not each.done()]
        assert spooled(gw) == 2 * MIB * len(staying) <= 5 * MIB
        for each in tasks:
            if each.done():
                code, headers, body = each.result()
                assert (code, headers["retry-after"]) == (503, "5")
                assert b"storage" in body
        await gw.put(gw.view(3))
        assert [(await each)[0] for each in staying] == [200] * len(staying)
        assert [seen.size for seen in gw.adapter.seen["serve"]] == [2 * MIB] * len(staying)
        assert spooled(gw) == 0
        # One that alone is too large, and one after it that is not.
        await cold_again(gw, 4)
        assert (await gw.post(body=bytes(6 * MIB)))[0] == 503
        last = asyncio.create_task(gw.post(body=bytes(4 * MIB)))
        await until(lambda: spooled(gw) == 4 * MIB)
        await gw.put(gw.view(5))
        assert (await last)[0] == 200


async def test_the_first_to_come_is_the_first_to_be_served(tmp_path: Path) -> None:
    # One slot, which says at once that it is taken: everybody waits for it in the order in which they came.
    async with gateway(tmp_path, hold=HoldLimits(taken_after_s=10)) as gw:
        await cold(gw)
        served: list[int] = []
        busy = asyncio.Lock()

        async def one_slot(request: web.Request, size: int) -> web.StreamResponse:
            if busy.locked():
                return await status(429, "shed")(request, size)
            async with busy:
                served.append(number_of({k.lower(): v for k, v in request.headers.items()}))
                await asyncio.sleep(0.005)
                return await ok(request, size)

        gw.adapter.behaviour["serve"] = gw.adapter.behaviour["rescue"] = one_slot
        tasks: list[asyncio.Task[Answer]] = []
        for number in range(30):
            tasks.append(asyncio.create_task(gw.post(headers={**AUTH, "x-number": str(number)})))
            await until(lambda count=number + 1: len(waiting(gw)) == count)  # type: ignore[misc]
        await gw.put(gw.view(3, spill=()))
        assert [(await each)[0] for each in tasks] == [200] * 30
        assert served == list(range(30))


async def test_one_that_is_turned_away_late_keeps_its_place(tmp_path: Path) -> None:
    """The first two seem taken and then are shed, the second one first: neither goes behind those who came later."""
    async with gateway(tmp_path, hold=HoldLimits(taken_after_s=0.05, backoff_s=120, backoff_limit_s=120)) as gw:
        await cold(gw)
        order: list[int] = []
        gates = [asyncio.Event() for _ in range(4)]

        async def late(request: web.Request, size: int) -> web.StreamResponse:
            number = number_of({k.lower(): v for k, v in request.headers.items()})
            order.append(number)
            if order.count(number) == 1:
                await gates[number].wait()
                return await status(429, "shed")(request, size)
            return await ok(request, size)

        gw.adapter.behaviour["serve"] = late
        tasks: list[asyncio.Task[Answer]] = []
        for number in range(4):
            tasks.append(asyncio.create_task(gw.post(headers={**AUTH, "x-number": str(number)})))
            await until(lambda count=number + 1: len(waiting(gw)) == count)  # type: ignore[misc]
        await gw.put(gw.view(3, rescue=(), spill=()))
        # Which of the four reaches the adapter first is the kernel's matter: they set off 50 ms apart.
        await until(lambda: sorted(order) == [0, 1, 2, 3], what="all four tried")
        # And the last one must seem taken before another comes back: by that it lets the next one try at once.
        await until(lambda: waiting(gw) == [], what="all four seem taken")
        for number in (1, 3, 0, 2):
            gates[number].set()
            await until(lambda number=number: number in waiting(gw))  # type: ignore[misc]
        assert waiting(gw) == [0, 1, 2, 3]
        activator = gw.agent._activator  # type: ignore[union-attr]
        activator._limits = replace(activator._limits, taken_after_s=30)  # from here on nobody seems to be taken
        activator.backends_changed(KEY)
        assert [(await each)[0] for each in tasks] == [200] * 4
        assert order[4:] == [0, 1, 2, 3]


async def test_a_client_that_sends_slowly_keeps_nobody_back(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await cold(gw)
        more = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield bytes(1000)
            await more.wait()
            yield bytes(1000)

        async def upload() -> int:
            async with gw.session.post(gw.url + PATH, data=slowly(), headers=AUTH) as answer:
                return answer.status

        slow = asyncio.create_task(upload())
        await until(lambda: spooled(gw) == 1000)
        quick = asyncio.create_task(gw.post())
        await until(held(gw, 2))
        await gw.put(gw.view(3))
        assert (await asyncio.wait_for(quick, 60))[0] == 200
        assert not slow.done()
        more.set()
        assert await slow == 200
        assert [seen.size for seen in gw.adapter.seen["serve"]] == [2, 2000]


async def test_a_client_that_leaves_while_it_waits_is_never_forwarded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await cold(gw)
        first = start(gw, 1, bytes(2 * MIB))[0]
        await until(lambda: spooled(gw) == 2 * MIB)
        second = asyncio.create_task(gw.post(headers={**AUTH, "x-number": "1"}))
        await until(held(gw, 2))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await until(held(gw, 1))
        assert spooled(gw) == 2
        await gw.put(gw.view(3))
        assert (await second)[0] == 200
        assert [number_of(seen.headers) for seen in gw.adapter.seen["serve"]] == [1]
        assert spooled(gw) == 0
        assert not gw.agent._activator._queues  # type: ignore[union-attr]


async def test_a_client_that_leaves_while_it_is_served_ends_the_work(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await cold(gw)
        began, ended = asyncio.Event(), asyncio.Event()

        async def long(request: web.Request, size: int) -> web.StreamResponse:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

        gw.adapter.behaviour["serve"] = long
        task = start(gw, 1)[0]
        await until(held(gw, 1))
        await gw.put(gw.view(3))
        await asyncio.wait_for(began.wait(), 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(ended.wait(), 60)
        await until(held(gw, 0))
        assert spooled(gw) == 0
        (one,) = [s for s in await gw.seen_by_ledger(1) if s["role"] == "serve"]
        assert (one["outcome"], one["hop"]) == ("gone", "hold-1-1")
        # Nothing of it is left: the next one is served.
        gw.adapter.clear()
        assert (await gw.post())[0] == 200


async def test_a_broken_upload_is_not_forwarded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await cold(gw)

        async def broken() -> AsyncIterator[bytes]:
            yield bytes(1000)
            await until(lambda: spooled(gw) == 1000)
            raise ConnectionError("the client's network is gone")

        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            async with gw.session.post(gw.url + PATH, data=broken(), headers=AUTH):
                pass
        await until(held(gw, 0))
        assert spooled(gw) == 0
        await gw.put(gw.view(3))
        assert (await gw.post())[0] == 200
        assert len(gw.adapter.seen["serve"]) == 1


async def test_one_that_fails_keeps_nobody_back(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold=HoldLimits(failure_pause_s=120)) as gw:
        await cold(gw)
        failed: list[int] = []

        async def fails_once(request: web.Request, size: int) -> web.StreamResponse:
            number = number_of({k.lower(): v for k, v in request.headers.items()})
            if number == 0 and not failed:
                failed.append(number)
                return await status(503, "server")(request, size)
            return await ok(request, size)

        gw.adapter.behaviour["serve"] = fails_once
        tasks: list[asyncio.Task[Answer]] = []
        for number in range(3):
            tasks.append(asyncio.create_task(gw.post(headers={**AUTH, "x-number": str(number)})))
            await until(lambda count=number + 1: len(waiting(gw)) == count)  # type: ignore[misc]
        await gw.put(gw.view(3, rescue=(), spill=()))
        assert [(await each)[0] for each in tasks[1:]] == [200, 200]
        assert failed == [0]
        assert not tasks[0].done()
        # It tries again when its pause is over, or when there are other backends.
        await gw.put(gw.view(4, spill=()))
        assert (await tasks[0])[0] == 200
