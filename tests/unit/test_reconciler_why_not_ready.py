"""A pod runs and is not ready: its adapter knows why, and the ModelDeployment's status says it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web

from insource.adapter.refusals import server_failure
from insource.adapter.server_watch import ServerWatch
from insource.adapter.settings import Patience
from insource.env import system_env
from insource.kube import resources
from insource.reconciler.replicas import ReplicaPoller
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

WHY = "the model server fails its warm-up request: backend_404: The backend failed."


class Adapter:
    """What an in-house adapter answers on its admin port."""

    def __init__(self) -> None:
        self.message = WHY
        self.asked = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_get("/state", self._state)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _state(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"ready": not self.message, "message": self.message})


def pod(world: World, *, ready: bool) -> None:
    """The pod of the one in-house ReplicaSet: it runs, and is ready or not."""
    template = next(
        obj["spec"]["template"]
        for obj in world.objects(resources.REPLICA_SETS)
        if "dictation" in obj["metadata"]["name"]
    )
    kind, name = ("", "pods"), "dictation-1"
    if world.store.find(kind, "voice", name) is None:
        metadata = {"name": name, "namespace": "voice", "labels": template["metadata"]["labels"]}
        world.store.create(
            kind,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                "spec": {"containers": [{"name": "adapter", "image": "i"}]},
            },
            "voice",
        )
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions}
    world.store.patch(kind, "voice", name, {"status": status}, "merge", subresource="status")


def told(world: World) -> dict[str, Any]:
    return {item["type"]: item for item in world.objects(resources.MODEL_DEPLOYMENTS)[0]["status"]["conditions"]}


async def starting() -> World:
    world = World(0)
    world.run_workloads = lambda: None  # type: ignore[method-assign]
    world.put(vendor())
    world.put(model_deployment("dictation"))
    await world.operator.start()
    await world.settle()
    pod(world, ready=False)
    await world.settle()
    return world


async def test_what_the_adapter_says_twice_is_the_reason_for_not_ready_until_the_pod_is() -> None:
    world, adapter = await starting(), Adapter()
    async with adapter.listening() as port, ClientSession() as session:
        poller = ReplicaPoller(session, world.operator.controller, world.env, port=port)
        await poller.ask()
        await world.settle()
        assert told(world)["ModelLoaded"]["status"] == "Unknown", "once is part of a normal start"
        await poller.ask()
        await world.settle()
        assert told(world)["ModelLoaded"]["message"] == f"not ready: {WHY}"
        assert (told(world)["Ready"]["reason"], told(world)["Ready"]["message"]) == (
            "ReplicaFailing",
            f"not ready: {WHY}",
        )
        version = world.store.resource_version
        await poller.ask()
        await world.settle()
        assert world.store.resource_version == version, "the same words again cost no write"
        pod(world, ready=True)
        await world.settle()
        assert told(world)["ModelLoaded"]["status"] == "Unknown"
        asked = adapter.asked
        await poller.ask()
        assert adapter.asked == asked, "nobody asks a pod that is ready"


async def test_an_adapter_with_nothing_to_say_or_out_of_reach_changes_nothing() -> None:
    world, adapter = await starting(), Adapter()
    adapter.message = ""
    async with adapter.listening() as port, ClientSession() as session:
        poller = ReplicaPoller(session, world.operator.controller, world.env, port=port)
        for _ in range(3):
            await poller.ask()
    assert adapter.asked == 3
    async with ClientSession() as session:
        poller = ReplicaPoller(session, world.operator.controller, world.env, port=port)
        await poller.ask()
    await world.settle()
    assert told(world)["ModelLoaded"]["status"] == "Unknown"


async def test_a_pod_that_is_gone_takes_its_words_with_it() -> None:
    world, adapter = await starting(), Adapter()
    async with adapter.listening() as port, ClientSession() as session:
        poller = ReplicaPoller(session, world.operator.controller, world.env, port=port)
        await poller.ask()
        await poller.ask()
        world.remove(resources.PODS, "dictation-1", "voice")
        await world.settle()
        assert told(world)["ModelLoaded"]["status"] == "Unknown"


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (200, "the model server fails its warm-up request: backend_404: The backend failed."),
        (503, "the model server's health check answers 503"),
        (None, "the model server takes no connection for its health check"),
    ],
)
async def test_the_adapter_says_why_its_server_is_not_warm(health: int | None, words: str) -> None:
    answers = {"status": 404}

    async def warm_up() -> None:
        if answers["status"] != 200:
            raise server_failure("The backend failed.", reason=f"backend_{answers['status']}")

    async def check(_: web.Request) -> web.Response:
        return web.Response(status=health or 200)

    app = web.Application()
    app.router.add_get("/health", check)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/health"
        if health is None:
            await runner.cleanup()
        async with ClientSession() as session:
            watch = ServerWatch(url, warm_up, session, system_env(), Patience())
            assert watch.problem == ""
            await watch.probe()
            assert (watch.ready, watch.problem) == (False, words)
            if health == 200:
                answers["status"] = 200
                await watch.probe()
                assert (watch.ready, watch.problem) == (True, "")
    finally:
        await runner.cleanup()
