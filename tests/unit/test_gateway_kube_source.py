"""The informers' way into the world: complete before it is told, then every change."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from insource.env import system_env
from insource.gateway.sources import KubeSource
from insource.gateway.view import DeploymentKey
from insource.kube.client import ObjectList, WatchEvent
from insource.kube.resources import ENDPOINT_SLICES, MODEL_DEPLOYMENTS, SECRETS, Resource
from tests.unit.test_gateway_inventory import IN_HOUSE, client, deployment, endpoints

KEY = DeploymentKey("voice", "dictation")


class FakeClient:
    """Lists and watches over simple lists; the rest of `Client` is not asked for."""

    def __init__(self) -> None:
        self.objects: dict[Resource, list[dict[str, Any]]] = {
            MODEL_DEPLOYMENTS: [deployment()],
            ENDPOINT_SLICES: [endpoints(IN_HOUSE, ("10.0.0.1", True))],
            SECRETS: [client("alice", "sk-1")],
        }
        for objects in self.objects.values():
            for each in objects:
                each["metadata"]["resourceVersion"] = "1"
        self.events: dict[Resource, asyncio.Queue[WatchEvent]] = {kind: asyncio.Queue() for kind in self.objects}
        self.lists: list[tuple[str, str, str]] = []

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        limit: int = 0,
        continue_token: str = "",
        **_: Any,
    ) -> ObjectList:
        self.lists.append((resource.plural, namespace, labels))
        return ObjectList(self.objects[resource], "1")

    async def watch(self, resource: Resource, namespace: str = "", **_: Any) -> AsyncGenerator[WatchEvent, None]:
        while True:
            yield await self.events[resource].get()


async def test_the_world_is_told_once_it_is_complete_and_then_follows() -> None:
    api = FakeClient()
    source = KubeSource(api, system_env(), "insource-system")  # type: ignore[arg-type]
    told = asyncio.Event()

    def changed() -> None:
        assert source.synced()
        told.set()

    running = asyncio.create_task(source.run(changed))
    async with asyncio.timeout(60):
        await told.wait()
        found = source.world.view(KEY)
        assert found is not None
        assert found.serve[0].addresses == (("10.0.0.1", 8101),)
        assert found.clients == ("alice",)
        assert [each.client for each in source.world.client_keys()[0]] == ["alice"]
        assert ("secrets", "insource-system", "insource.dev/client") in api.lists
        told.clear()
        gone = deployment()
        gone["metadata"]["resourceVersion"] = "2"
        await api.events[MODEL_DEPLOYMENTS].put(WatchEvent("DELETED", gone))
        await told.wait()
        assert source.world.view(KEY) is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
