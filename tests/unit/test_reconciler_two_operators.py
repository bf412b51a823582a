"""Two operators and one Lease: only the leader writes, the other takes over, and a deposed one writes nothing more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from bench.load.api import TOKEN
from bench.reconcile_cluster import BenchCluster, serve

from insource import __version__
from insource.api.catalogue import OWN_IMAGE
from insource.env import system_env
from insource.kube.aiohttp_client import AiohttpClient
from insource.kube.client import connect
from insource.reconciler.app import Operator
from insource.reconciler.settings import OperatorSettings

LEASE = ("coordination.k8s.io", "leases")
TOKENS = {"one": "token-one", "two": "token-two"}


class Watched(BenchCluster):
    """Knows who writes what, and can be deaf to one of the operators."""

    def __init__(self) -> None:
        super().__init__(system_env(), TOKENS.values())
        self.by: dict[str, Counter[str]] = {name: Counter() for name in TOKENS}
        self.paths: dict[str, list[str]] = {name: [] for name in TOKENS}
        self.cut_off = ""
        self.takes_s = 0.0
        """How long a write of the Lease takes. As on a real server, nothing is written for a client that has left."""

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        name = next((name for name, its in TOKENS.items() if its == token), "")
        if name and name == self.cut_off:
            while name == self.cut_off:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            raise web.HTTPServiceUnavailable
        if request.method != "GET" and name:
            kinds = (kind for kind in ("leases", "events") if f"/{kind}" in request.path)
            self.by[name][next(kinds, "other")] += 1
            self.paths[name].append(request.path)
            if self.takes_s and "/leases" in request.path:
                await asyncio.sleep(self.takes_s)
                if request.transport is None or request.transport.is_closing():
                    raise web.HTTPGatewayTimeout
        return await super().count(request, handler)

    @property
    def holder(self) -> str:
        lease = self.store.find(LEASE, "insource-system", "insource-operator")
        return "" if lease is None else lease["spec"]["holderIdentity"]


class Process:
    """One operator in this process, as one of its own."""

    def __init__(self, name: str, client: AiohttpClient, gateway: str) -> None:
        settings = OperatorSettings(
            kubeconfig=None,
            gateway_master_file=None,
            gateway_urls=(gateway,),
            ledger_url="http://127.0.0.1:9",
            image=f"{OWN_IMAGE}:{__version__}",
            identity=name,
        )
        self.operator = Operator(settings, client, system_env())
        self.stop = asyncio.Event()
        self.task = asyncio.ensure_future(self.operator.run(self.stop))

    async def kill(self) -> None:
        """As SIGKILL: nothing is given up."""
        self.operator._elector.release = _nothing  # type: ignore[method-assign]
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def _nothing() -> None:
    pass


@asynccontextmanager
async def two(folder: Path) -> Any:
    cluster = Watched()
    made: dict[str, Process] = {}
    async with serve(cluster, folder) as (kubeconfig, gateway):
        text = kubeconfig.read_text()
        clients = []
        for name, token in TOKENS.items():
            path = folder / f"kubeconfig-{name}"
            path.write_text(text.replace(TOKEN, token))
            clients.append(await connect(str(path), system_env()))
        try:
            for name, client in zip(TOKENS, clients, strict=True):
                made[name] = Process(name, client, gateway)
                await until(lambda: cluster.holder == "one" or bool(cluster.by["one"]))
            await until(lambda: all(process.operator.health.unready() == "" for process in made.values()))
            yield cluster, made["one"], made["two"]
        finally:
            cluster.cut_off = ""
            for process in made.values():
                process.task.cancel()
            await asyncio.gather(*(process.task for process in made.values()), return_exceptions=True)
            for client in clients:
                await client.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def served(cluster: BenchCluster, number: int) -> None:
    cluster.all_done.clear()
    cluster.create(number)
    async with asyncio.timeout(60):
        await cluster.all_done.wait()


async def test_only_the_leader_writes_and_a_standby_is_ready_to(tmp_path: Path) -> None:
    async with two(tmp_path) as (cluster, one, second):
        assert cluster.holder == "one"
        for number in range(3):
            await served(cluster, number)
        assert cluster.by["one"]["other"] > 0
        assert cluster.by["two"]["other"] == 0, "the standby wrote"
        assert (one.operator._elector.leads(), second.operator._elector.leads()) == (True, False)
        assert len(second.operator.controller.caches.deployments) == 3, "the standby is warm"


async def test_a_killed_leader_is_followed_by_the_other_and_nothing_is_written_twice(tmp_path: Path) -> None:
    async with two(tmp_path) as (cluster, one, second):
        await served(cluster, 0)
        await one.kill()
        before = cluster.by["one"].copy()
        await served(cluster, 10)  # of the same namespace
        assert cluster.holder == "two"
        assert second.operator._elector.leads()
        assert cluster.by["one"] == before, "the dead wrote"
        lease = cluster.store.find(LEASE, "insource-system", "insource-operator")
        assert lease is not None
        assert lease["spec"]["leaseTransitions"] == 1
        assert any("m00010" in path for path in cluster.paths["two"])
        assert [path for path in cluster.paths["two"] if "m00000" in path] == [], "that was served already"


async def test_a_leader_that_stops_well_hands_over_at_once(tmp_path: Path) -> None:
    async with two(tmp_path) as (cluster, one, _):
        await served(cluster, 0)
        one.stop.set()
        await one.task
        await served(cluster, 1)
        assert cluster.holder == "two"


async def test_a_leader_that_stops_waits_until_the_lease_is_given_up(tmp_path: Path) -> None:
    async with two(tmp_path) as (cluster, one, second):
        await served(cluster, 0)
        second.task.cancel()
        cluster.takes_s = 0.2
        one.stop.set()
        await one.task
        assert cluster.holder == ""


async def test_a_leader_that_is_cut_off_stops_writing_before_the_other_begins(tmp_path: Path) -> None:
    async with two(tmp_path) as (cluster, one, second):
        await served(cluster, 0)
        cluster.cut_off = "one"
        both = []

        def two_leads() -> bool:
            both.append(one.operator._elector.leads() and second.operator._elector.leads())
            return bool(second.operator._elector.leads())

        await until(two_leads)
        assert not any(both)
        await served(cluster, 1)
        before = cluster.by["one"]["other"]
        cluster.cut_off = ""
        # It hears of everything again, and of a deployment that it could work on: and leaves it alone.
        await served(cluster, 2)
        known = one.operator.controller.caches.deployments
        await until(lambda: len(known) == 3 and not one.operator.controller.queue.in_flight)
        assert not one.operator._elector.leads()
        assert cluster.by["one"]["other"] == before, "the deposed leader wrote"
        assert cluster.holder == "two"
