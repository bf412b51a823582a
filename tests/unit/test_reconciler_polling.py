"""Ready waits for every gateway: one that is away, one that is behind, one that goes back or talks nonsense."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from insource.kube import resources
from insource.reconciler.gateways import Gateways
from insource.reconciler.polling import GatewayPoller
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

NAME = "voice/dictation"


class Gateway:
    """An agent's `/applied`."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.body: bytes | None = None
        self.status = 200
        self.asked = 0
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/applied", self._applied)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _applied(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.body is not None or self.status != 200:
            return web.Response(status=self.status, body=self.body or b"")
        deployments = {name: {"version": version, "generation": 1} for name, version in self.versions.items()}
        return web.json_response({"pod": "g", "epoch": "1", "deployments": deployments})


class Names:
    """A headless Service's addresses, as DNS tells them."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.port = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        assert (host, port) == ("agents.test", self.port)
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


class Town:
    """A cluster whose gateways are asked over HTTP, and an operator that works until something is so."""

    def __init__(self, world: World, session: ClientSession, gateways: Gateways | None = None) -> None:
        self.world = world
        found = gateways or Gateways(world.gateways, None, world.env.clock)
        self.poller = GatewayPoller(session, world.operator.controller, world.env, found)

    def condition(self, type_: str) -> dict[str, Any]:
        deployment = self.world.objects(resources.MODEL_DEPLOYMENTS)[0]
        conditions = (deployment.get("status") or {}).get("conditions", ())
        return next((item for item in conditions if item["type"] == type_), {"status": "-", "message": ""})

    @property
    def ready(self) -> bool:
        return bool(self.condition("Ready")["status"] == "True")

    @property
    def version(self) -> int:
        return int(self.world.objects(resources.MODEL_DEPLOYMENTS)[0]["status"]["traffic"]["version"])

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():
                self.world.run_workloads()
                for resource in self.world.operator.informers:
                    await self.world.operator.deliver(resource, False)
                self.world.operator.hear()
                while await self.world.operator.work():
                    pass
                await asyncio.sleep(0.005)

    async def rounds(self, gateway: Gateway, count: int = 3) -> None:
        """Work on until a gateway has been asked so many times more."""
        wanted = gateway.asked + count
        await self.until(lambda: gateway.asked >= wanted)


@asynccontextmanager
async def town(*gateways: Gateway, named: Names | None = None) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        for gateway in gateways:
            await gateway.start()
            stack.push_async_callback(gateway.stop)
        session = await stack.enter_async_context(ClientSession())
        urls = tuple(gateway.url for gateway in gateways)
        found = None
        if named is None:
            world = World(0, gateways=urls)
        else:
            named.port = int(urls[0].rpartition(":")[2])
            world = World(0, gateways=("http://agents.test:9",))
            found = Gateways((), ("agents.test", named.port), world.env.clock, named.resolve)
            world.operator.controller.observations.note_gateways(found.awaited)
        made = Town(world, session, found)
        world.put(vendor())
        world.put(model_deployment("dictation"))
        await world.operator.start()
        running = asyncio.ensure_future(made.poller.run())
        try:
            yield made
            assert not running.done(), "the poller ended by itself"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_ready_waits_for_the_last_of_two_gateways() -> None:
    one, two = Gateway(), Gateway()
    async with town(one, two) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.rounds(two, 5)
        assert not made.ready
        assert "waiting for every gateway to apply traffic version 1" in made.condition("Ready")["message"]
        two.versions[NAME] = made.version
        await made.until(lambda: made.ready)


async def test_a_gateway_that_is_away_holds_ready_back_until_it_is_there_again() -> None:
    one, two = Gateway(), Gateway()
    async with town(one, two) as made:
        port = int(two.url.rpartition(":")[2])
        await two.stop()
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.rounds(one, 5)
        assert not made.ready
        two.versions[NAME] = made.version
        await two.start(port)
        await made.until(lambda: made.ready)


async def test_one_that_has_an_older_version_than_the_one_wanted_does_not_count() -> None:
    one = Gateway()
    async with town(one) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.until(lambda: made.ready)
        before = made.version
        made.world.put(model_deployment("dictation", slots=5))
        await made.until(lambda: made.version > before and made.condition("Ready").get("reason") == "ApplyingTraffic")
        await made.rounds(one, 5)
        assert not made.ready, "it still says the version before"
        one.versions[NAME] = made.version
        await made.until(lambda: made.ready)


async def test_a_gateway_that_starts_anew_and_knows_nothing_takes_no_confirmation_back() -> None:
    one = Gateway()
    async with town(one) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.until(lambda: made.ready)
        one.versions.clear()
        made.world.put(model_deployment("other"))
        await made.until(lambda: made.world.applied().get("voice/other", 0) >= 1)
        await made.rounds(one, 3)
        assert made.ready, "it applies before it serves; what was confirmed stays so"
        one.versions[NAME] = 0
        await made.rounds(one, 3)
        assert made.ready


async def test_nonsense_and_refusals_are_no_confirmation_and_end_nothing() -> None:
    one = Gateway()
    async with town(one) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        for body in (b"<html>", b"[]", b'{"deployments": 7}', b'{"deployments": {"voice/dictation": {}}}', b"\xff"):
            one.body = body
            await made.rounds(one, 2)
            assert not made.ready
        one.body, one.status = None, 503
        await made.rounds(one, 2)
        assert not made.ready
        one.status, one.versions[NAME] = 200, made.version
        await made.until(lambda: made.ready)


async def test_nobody_is_asked_while_nothing_is_unconfirmed() -> None:
    one = Gateway()
    async with town(one) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.until(lambda: made.ready)
        await made.until(lambda: not made.world.operator.controller.queue.in_flight)
        before, rounds = one.asked, itertools.count()

        def a_minute_later() -> bool:
            made.world.clock.time += 3
            return next(rounds) >= 20

        await made.until(a_minute_later)
        assert one.asked <= before + 1


async def test_without_any_gateway_behind_the_service_nothing_is_ready() -> None:
    one, names = Gateway(), Names()
    async with town(one, named=names) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        rounds = itertools.count()
        await made.until(lambda: next(rounds) >= 20)
        assert not made.ready
        names.addresses = ["127.0.0.1"]
        one.versions[NAME] = made.version
        await made.until(lambda: made.ready)


async def test_every_address_of_the_service_is_waited_for_until_it_leaves() -> None:
    one, names = Gateway(), Names("127.0.0.1", "127.0.0.77")
    async with town(one, named=names) as made:
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.rounds(one, 5)
        assert not made.ready, "nobody answers at the second address"
        names.addresses = ["127.0.0.1"]
        await made.until(lambda: made.ready)


async def test_who_was_there_stays_when_the_name_is_not_answered() -> None:
    one, names = Gateway(), Names("127.0.0.1")
    async with town(one, named=names) as made:
        await made.until(lambda: one.asked > 0)
        names.addresses = []
        await made.until(lambda: made.condition("Ready").get("reason") == "ApplyingTraffic")
        one.versions[NAME] = made.version
        await made.until(lambda: made.ready)
