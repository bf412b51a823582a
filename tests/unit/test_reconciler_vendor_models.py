"""What adapters tell of their vendor's models reaches the Vendor's status and the metric; a restart writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web
from prometheus_client import generate_latest

from insource.api import meta
from insource.kube import resources
from insource.kube.resources import Key
from insource.reconciler.metrics import Metrics
from insource.reconciler.observations import Observations
from insource.reconciler.polling import VendorPoller
from insource.wire.gateway import AdapterState, ListedModel, ModelsReport
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

VENDOR = Key("voice", "openai")
METRIC = "insource_vendor_model_shutdown_timestamp_seconds"


def listed(day: str, at: int = 1, **more: Any) -> ModelsReport:
    return ModelsReport(models=(ListedModel(id="whisper-1", shutdown_date=day),), listed_at=at, **more)


def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.objects(resources.VENDORS)[0]["status"]
    return found


def condition(world: World) -> dict[str, Any]:
    return next((item for item in status(world)["conditions"] if item["type"] == "ModelsOffered"), {})


def version(world: World) -> str:
    return str(world.objects(resources.VENDORS)[0]["metadata"]["resourceVersion"])


async def settled(models: ModelsReport | None) -> World:
    world = World(0)
    world.models = models
    world.put(vendor())
    world.put(model_deployment("dictation"))
    await world.operator.start()
    await world.settle()
    return world


def metric(world: World) -> list[str]:
    vendors = world.operator.controller.caches.vendors.values
    made = Metrics(ready=lambda: 0, in_flight=lambda: 0, leads=lambda: 0, caches={}, vendors=vendors)
    return [line for line in generate_latest(made.registry).decode().splitlines() if line.startswith(METRIC)]


async def test_the_status_has_the_day_and_a_restarted_operator_writes_nothing() -> None:
    world = await settled(listed("2027-02-26"))
    (model,) = status(world)["models"]
    assert model == {
        "id": "whisper-1", "inUse": True, "listed": True, "shutdownDate": "2027-02-26", "source": "Vendor"
    }  # fmt: skip
    before = version(world)
    for heard in (None, listed("2027-02-26", at=99)):  # nobody has been asked yet; then, the same, only later
        world.models = heard
        await world.restart()
        await world.settle()
        assert version(world) == before


async def test_the_day_is_a_metric_of_each_model_in_use() -> None:
    world = await settled(None)
    day = "1.8036e+09"
    assert metric(world) == [
        f'{METRIC}{{model="whisper-1",namespace="voice",source="Catalogue",vendor="openai"}} {day}'
    ]
    world = await settled(listed("2027-02-25").model_copy(update={"models": (
        ListedModel(id="tts-1", shutdown_date="2027-01-01"), ListedModel(id="whisper-1", shutdown_date="2027-02-25"),
    )}))  # fmt: skip
    assert metric(world) == [
        f'{METRIC}{{model="whisper-1",namespace="voice",source="Vendor",vendor="openai"}} 1.8035136e+09'
    ]


async def test_a_changed_catalogue_is_heard_of() -> None:
    world = await settled(None)
    assert status(world)["models"][0]["shutdownDate"] == "2027-02-26"
    own = {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "CatalogModel",
        "metadata": {"name": "own"},
        "spec": {
            "modality": "Transcription",
            "vendorEquivalents": [{"vendor": "openai", "model": "whisper-1", "shutdownOn": "2027-01-31"}],
        },
    }
    world.put(own)
    await world.settle()
    assert status(world)["models"][0]["shutdownDate"] == "2027-01-31"
    world.remove(resources.CATALOG_MODELS, "own")
    await world.settle()
    assert status(world)["models"][0]["shutdownDate"] == "2027-02-26"


def test_the_same_list_later_is_no_news() -> None:
    seen = Observations(())
    assert seen.models(VENDOR) is None
    assert seen.note_models(VENDOR, listed("2027-02-26"))
    assert not seen.note_models(VENDOR, listed("2027-02-26", at=600))
    assert seen.models(VENDOR) == listed("2027-02-26", at=600)
    assert seen.note_models(VENDOR, listed("2027-02-27", at=601))
    assert seen.note_models(VENDOR, listed("2027-02-27", at=601, problem="away"))
    seen.forget_vendor(VENDOR)
    assert seen.models(VENDOR) is None


class Adapter:
    """A vendor adapter's `/state`, on an address of loopback's own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.state: dict[str, Any] = {}
        self.asked = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self.state)


@asynccontextmanager
async def polled(world: World, *adapters: Adapter) -> AsyncIterator[None]:
    """A poller that asks these adapters, as pods of the Vendor."""
    port = 0
    runners = []
    for number, adapter in enumerate(adapters):
        app = web.Application()
        app.router.add_get("/state", adapter.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, adapter.address, port).start()
        port = runner.addresses[0][1]
        labels = {meta.LABEL_VENDOR: "openai", meta.LABEL_MANAGED_BY: meta.MANAGED_BY}
        metadata = {"name": f"openai-{number}", "namespace": "voice", "labels": labels}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [{"name": "a", "image": "i"}]},
        }
        world.store.create(("", "pods"), pod, "voice")
        status = {"phase": "Running", "podIP": adapter.address}
        world.store.patch(("", "pods"), "voice", metadata["name"], {"status": status}, "merge", subresource="status")
    async with ClientSession() as session:
        poller = VendorPoller(session, world.operator.controller, world.env, port=port)
        running = asyncio.ensure_future(poller.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for runner in runners:
                await runner.cleanup()


async def until(world: World, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            for resource in world.operator.informers:
                await world.operator.deliver(resource, False)
            while await world.operator.work():
                pass
            await asyncio.sleep(0.005)


async def test_of_several_adapters_the_latest_list_counts_and_older_ones_are_understood() -> None:
    world = await settled(None)
    first, second = Adapter("127.0.0.1"), Adapter("127.0.0.2")
    first.state = {"ready": True, "credentials_resolved": True}  # of a release that tells of no models
    second.state = AdapterState(ready=True, credentials_resolved=True, vendor_models=ModelsReport()).model_dump()
    async with polled(world, first, second):
        await until(world, lambda: second.asked > 1)
        assert status(world)["models"][0]["source"] == "Catalogue"
        second.state["vendor_models"] = listed("2026-10-31", at=5).model_dump()
        await until(world, lambda: condition(world).get("reason") == "ShuttingDown")
        assert status(world)["models"][0]["shutdownDate"] == "2026-10-31"
        first.state["vendor_models"] = listed("2031-01-01", at=6).model_dump()
        await until(world, lambda: status(world)["models"][0]["shutdownDate"] == "2031-01-01")
        before, asked = version(world), second.asked
        second.state["vendor_models"] = listed("2026-10-31", at=5, problem="away").model_dump()
        await until(world, lambda: second.asked > asked + 2)
        assert version(world) == before
        # Nonsense is no news, and takes nothing back.
        first.state = {"ready": True, "credentials_resolved": True, "vendor_models": {"models": 7}}
        second.state = {"ready": True, "credentials_resolved": True}
        asked = first.asked
        await until(world, lambda: first.asked > asked + 2)
        assert version(world) == before
