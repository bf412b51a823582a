"""An address that keeps failing is out for a while, so that one dead replica of two costs no client anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from insource.gateway.activator import HoldLimits
from insource.gateway.view import Pool
from insource.wire.vocabulary import Role
from tests.gateway.gateway_harness import KEY, Adapter, Gateway, gateway, ok, status, until

pytestmark = pytest.mark.gateway

REQUESTS = 60


@asynccontextmanager
async def two_replicas(root: Path, *, spill: bool) -> AsyncIterator[tuple[Gateway, Adapter, Adapter]]:
    """A gateway before two replicas of one revision, and a vendor to spill to or none."""
    async with gateway(root) as gw:
        other = await Adapter("inhouse").start()
        try:
            await put(gw, other, 2, spill=spill)
            yield gw, gw.adapter, other
        finally:
            await other.stop()


async def put(gw: Gateway, other: Adapter, version: int, *, spill: bool) -> None:
    vendor = (gw.vendor.pool(Role.SPILL, vendor="openai"),) if spill else ()
    serve, rescue = (both(gw.adapter, other, role) for role in (Role.SERVE, Role.RESCUE))
    await gw.put(gw.view(version, serve=(serve,), rescue=(rescue,), spill=vendor))


def both(one: Adapter, other: Adapter, role: Role) -> Pool:
    pool = one.pool(role)
    return replace(pool, addresses=tuple(sorted((*pool.addresses, *other.pool(role).addresses))))


def fail(adapter: Adapter, code: int = 503, outcome: str = "server") -> None:
    for role in Role:
        adapter.behaviour[role.value] = status(code, outcome)


async def codes(gw: Gateway, count: int) -> set[int]:
    return {(await gw.post())[0] for _ in range(count)}


def first_attempts(*groups: list[Any]) -> list[Any]:
    return [seen for group in groups for seen in group if seen.headers["x-envoy-attempt-count"] == "1"]


@pytest.mark.parametrize("outcome", ["server", "timeout"])
async def test_one_of_two_fails_and_no_client_notices(tmp_path: Path, outcome: str) -> None:
    async with two_replicas(tmp_path, spill=False) as (gw, dead, alive):
        fail(dead, outcome=outcome)
        assert await codes(gw, REQUESTS) == {200}
        # It is out most of the time: each request would come here with a probability of a half otherwise.
        assert len(dead.seen["serve"]) < REQUESTS / 3
        assert not first_attempts(dead.seen["rescue"], alive.seen["rescue"])


async def test_one_of_two_takes_no_connection_and_no_client_notices(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, spill=False) as (gw, _, other):
        await other.stop()
        assert await codes(gw, REQUESTS) == {200}


async def test_the_vendor_gets_nothing_that_a_replica_can_take(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, spill=True) as (gw, dead, alive):
        fail(dead)
        assert await codes(gw, REQUESTS) == {200}
        assert not first_attempts(dead.seen["rescue"], alive.seen["rescue"], gw.vendor.seen["spill"])


async def test_both_fail_and_the_vendor_serves(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, spill=True) as (gw, one, other):
        fail(one)
        fail(other)
        assert await codes(gw, REQUESTS) == {200}
        assert len(gw.vendor.seen["spill"]) == REQUESTS


async def test_both_fail_without_a_vendor_and_come_back(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, spill=False) as (gw, one, other):
        fail(one)
        fail(other)
        code, _, body = await gw.post()
        assert code == 503
        assert b'"server"' in body
        # Healed, and still out for a while: a request is held and finds them when they are back.
        one.clear()
        other.clear()
        assert (await gw.post())[0] == 200

        async def used() -> bool:
            return (await gw.post())[0] == 200 and bool(one.seen["serve"] and other.seen["serve"])

        await until(used, 30)


async def test_the_activator_is_never_out(tmp_path: Path) -> None:
    """Neither for refusing, nor for passing on what failed."""
    async with gateway(tmp_path, hold=HoldLimits(requests=1)) as gw:
        await gw.put(gw.view(2, rescue=(), spill=()))
        gw.adapter.behaviour["serve"] = status(429, "shed")

        def held(count: int) -> Callable[[], Awaitable[bool]]:
            async def check() -> bool:
                return bool((await gw.admin("/signals"))["deployments"].get(str(KEY), {}).get("held", 0) == count)

            return check

        first = asyncio.create_task(gw.post())
        await until(lambda: gw.agent and gw.agent._activator.held.total() == 1)
        assert await codes(gw, 10) == {503}
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await until(held(0))
        second = asyncio.create_task(gw.post())
        await until(held(1))
        gw.adapter.clear()
        assert (await second)[0] == 200
        fail(gw.adapter)
        assert (await gw.post())[0] == 503
        await until(lambda: [r for r in requests_at(gw, "hold") if r[9] == 503])
        assert {r[11] for r in requests_at(gw, "hold")} == {None}


def requests_at(gw: Gateway, role: str) -> list[list[Any]]:
    """The log's request lines whose last attempt was in this role."""
    return [line["r"] for line in gw.lines() if "r" in line and line["r"][6] == role]


async def test_a_deployment_that_fails_for_long_is_not_waited_for(tmp_path: Path) -> None:
    limits = HoldLimits(backoff_s=0.01, backoff_limit_s=0.05, failure_pause_s=0.01, failing_limit_s=1)
    async with gateway(tmp_path, hold=limits) as gw:
        await gw.put(gw.view(2, rescue=(), spill=()))
        fail(gw.adapter)
        answers = await asyncio.gather(*(gw.post() for _ in range(20)))
        assert {code for code, _, _ in answers} == {503}
        assert any(b"replicas of this deployment fail" in body for _, _, body in answers)
        gw.adapter.clear()
        code = 503
        while code == 503:
            code, _, body = await gw.post()
            assert code == 200 or b"replicas of this deployment fail" in body
        assert code == 200


@pytest.mark.parametrize(
    ("code", "outcome"), [(429, "shed"), (429, "refused_policy"), (400, "client"), (500, "client")]
)
async def test_what_is_not_the_address_own_fault_does_not_count(tmp_path: Path, code: int, outcome: str) -> None:
    async with two_replicas(tmp_path, spill=False) as (gw, one, other):
        fail(one, code, outcome)
        answers = await codes(gw, REQUESTS)
        assert answers == ({200} if code == 429 else {200, code})
        # Each request came here with a probability of a half.
        assert len(one.seen["serve"]) > REQUESTS / 6
        assert other.seen["serve"]


async def test_refused_credentials_do_not_count(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold=HoldLimits(backoff_s=0.01, failure_pause_s=0.01)) as gw:
        vendor = gw.vendor.pool(Role.SERVE, vendor="openai")
        await gw.put(gw.view(2, serve=(vendor,), rescue=(), spill=()))
        fail(gw.vendor, outcome="refused_credentials")
        assert await codes(gw, 6) == {503}
        tried = len(gw.vendor.seen["serve"])
        assert tried == 6 * 4, "each once, and three times by the activator"
        gw.vendor.behaviour["serve"] = ok
        assert (await gw.post())[0] == 200
        assert len(gw.vendor.seen["serve"]) == tried + 1
