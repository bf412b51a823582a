"""A watch that hears nothing makes the operator not ready, then not alive; kopf's watches as much as our own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from bench.load.api import admitting_operator
from bench.reconcile_cluster import BenchCluster, serve

from insource.env import system_env
from insource.kube.client import connect
from insource.kube.resources import Resource
from insource.reconciler.app import BY_KOPF, Operator
from insource.reconciler.caches import Caches
from insource.reconciler.handlers import watch_own_kinds
from insource.reconciler.health import Health, HealthLimits, Progress, WatchState
from insource.reconciler.metrics import Metrics, application
from insource.reconciler.settings import OperatorSettings
from tests.sim.store_client import Faults, StoreClient
from tests.sim.virtual import VirtualClock
from tests.sim.world import World

KINDS = tuple(Caches().by_resource())
LIMITS = HealthLimits()


def operator() -> tuple[Operator, VirtualClock, World]:
    """An operator over a small cluster whose clock we turn by hand. It is never run: the test does its watching."""
    world = World(0)
    settings = OperatorSettings(
        kubeconfig=None, gateway_master_file=None, gateway_urls=(), ledger_url="", image="i", identity="one"
    )
    client: Any = StoreClient(world.store, Faults(world.rng))
    return Operator(settings, client, world.env), world.clock, world


async def all_heard(made: Operator, *, but: Resource | None = None) -> None:
    for kind, informers in made._informers.items():
        if kind is but:
            continue
        for informer in informers:
            await informer.relist()
        made.progress.heard(kind.plural)


def test_prices_are_among_the_kinds_that_are_watched() -> None:
    assert "pricebooks" in {kind.plural for kind in KINDS}
    assert {kind.plural for kind in BY_KOPF} <= {kind.plural for kind in KINDS}


@pytest.mark.parametrize("stuck", KINDS, ids=[kind.plural for kind in KINDS])
async def test_one_stuck_watch_is_named_first_by_readyz_then_by_healthz(stuck: Resource) -> None:
    made, clock, _ = operator()
    assert made.health.unready().startswith("not yet listed: ")
    await all_heard(made)
    assert made.health.unready() == ""
    clock.time += LIMITS.ready_s + 1
    await all_heard(made, but=stuck)
    assert made.health.unready() == f"no news for {LIMITS.ready_s:.0f} s of: {stuck.plural}"
    assert made.health.unhealthy() == ""
    clock.time += LIMITS.alive_s - LIMITS.ready_s
    await all_heard(made, but=stuck)
    assert made.health.unhealthy() == f"no news for {LIMITS.alive_s:.0f} s of: {stuck.plural}"
    await all_heard(made)
    assert (made.health.unhealthy(), made.health.unready()) == ("", "")


@pytest.mark.parametrize("kind", BY_KOPF, ids=[kind.plural for kind in BY_KOPF])
async def test_our_own_relist_says_nothing_about_kopfs_watch(kind: Resource) -> None:
    made, clock, _ = operator()
    await all_heard(made)
    clock.time += LIMITS.alive_s + 1
    for informers in made._informers.values():
        for informer in informers:
            await informer.relist()
    assert kind.plural in made.health.unhealthy()


def test_a_leader_without_its_catalogue_is_not_ready_and_a_standby_is() -> None:
    leads, missing = [True], ['PriceBook "default"']
    watch = WatchState(synced=lambda: True, silent_s=lambda: 0.0)
    health = Health({"pods": watch}, leads=lambda: leads[0], unsettled=lambda: missing[0])
    assert health.unready() == 'the built-in catalogue is not yet applied: PriceBook "default"'
    assert health.unhealthy() == ""
    leads[0] = False
    assert health.unready() == ""
    leads[0], missing[0] = True, ""
    assert health.unready() == ""


async def test_the_probes_answer_503_with_what_is_wrong() -> None:
    silent = [0.0]
    watch = WatchState(synced=lambda: True, silent_s=lambda: silent[0])
    health = Health({"vendors": watch}, leads=lambda: False, unsettled=lambda: "")
    metrics = Metrics(ready=lambda: 0, in_flight=lambda: 0, leads=lambda: 0, caches={"vendors": [1, 2]})
    app = application(metrics, healthy=health.unhealthy, ready=health.unready)
    async with listening(app) as url, ClientSession() as session:

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(url + path) as answer:
                return answer.status, await answer.text()

        assert (await ask("/healthz"), await ask("/readyz")) == ((200, "ok"), (200, "ok"))
        assert 'insource_operator_objects{kind="vendors"} 2.0' in (await ask("/metrics"))[1]
        silent[0] = LIMITS.ready_s + 1
        assert await ask("/healthz") == (200, "ok")
        assert await ask("/readyz") == (503, "no news for 150 s of: vendors")
        silent[0] = LIMITS.alive_s + 1
        assert await ask("/healthz") == (503, "no news for 300 s of: vendors")


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Frozen(BenchCluster):
    """An API server that at a word takes requests and answers none."""

    def __init__(self) -> None:
        super().__init__(system_env(), admitting_operator)
        self.frozen = False
        self.swallowed: Counter[str] = Counter()

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.frozen:
            self.swallowed[request.path.rpartition("/")[2]] += 1
            await asyncio.Event().wait()
        return await handler(request)


async def test_kopfs_watches_are_heard_while_the_api_answers_and_fall_silent_when_it_hangs(tmp_path: Path) -> None:
    cluster, env = Frozen(), system_env()
    heard: Counter[str] = Counter()
    progress = Progress(tuple(kind.plural for kind in BY_KOPF), env.clock.monotonic)

    def hear(plural: str) -> None:
        heard[plural] += 1
        progress.heard(plural)

    by_kopf = {kind: cache for kind, cache in Caches().by_resource().items() if kind in BY_KOPF}
    async with serve(cluster, tmp_path) as (kubeconfig, _), await connect(str(kubeconfig), env) as client:
        running = asyncio.ensure_future(watch_own_kinds(client, by_kopf, heard=hear, watch_s=1))
        try:
            await until(lambda: all(heard[kind.plural] >= 4 for kind in BY_KOPF) or running.done())
            cluster.frozen = True
            await until(lambda: all(cluster.swallowed[kind.plural] for kind in BY_KOPF) or running.done())
            then, silent = heard.copy(), {kind.plural: progress.silent_s(kind.plural) for kind in BY_KOPF}
            await until(lambda: all(progress.silent_s(plural) > age + 1.5 for plural, age in silent.items()))
            assert heard == then
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
