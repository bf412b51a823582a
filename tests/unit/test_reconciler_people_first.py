"""A person's edit is worked on at once, also while every worker is busy with what nobody waits for."""

from __future__ import annotations

import asyncio
from typing import Any

from insource.kube.resources import Object, Resource
from insource.kube.workqueue import Priority
from insource.reconciler.reconcile import Work
from tests.sim.edits import model_deployment, put, vendor
from tests.sim.store_client import StoreClient
from tests.sim.world import World

WORKERS = 2


class _Held:
    """Holds every write but those about one deployment."""

    def __init__(self, client: StoreClient, but_for: str) -> None:
        self._apply = client.apply
        self._but_for = but_for
        self.held = 0
        self.all_busy = asyncio.Event()
        self.came_through = asyncio.Event()
        client.apply = self.apply  # type: ignore[method-assign]

    async def apply(self, resource: Resource, obj: Object, **options: Any) -> Object:
        if not obj["metadata"]["name"].startswith(self._but_for):
            self.held += 1
            if self.held == WORKERS:
                self.all_busy.set()
            await asyncio.Event().wait()
        self.came_through.set()
        return await self._apply(resource, obj, **options)


async def test_an_edit_does_not_wait_for_busy_workers() -> None:
    world = World(1)
    operator = world.operator
    await operator.start()
    while await operator.work():  # what the catalogue and the namespaces want
        pass
    held = _Held(operator.client, "edited")
    put(vendor())(world)
    for number in range(6):
        put(model_deployment(f"other-{number}"))(world)
    put(model_deployment("edited"))(world)
    for resource in operator.informers:
        await operator.relist(resource)
    while operator.controller.queue.pop() is not None:  # the changes: in the order that this test wants
        pass
    operator.controller.queue._in_flight.clear()
    for number in range(6):
        operator.controller.queue.add(Work("deployment", "voice", f"other-{number}"), Priority.CHANGE)
    running = asyncio.ensure_future(operator.controller.run(WORKERS))
    try:
        async with asyncio.timeout(60):
            await held.all_busy.wait()
            operator.controller.queue.add(Work("deployment", "voice", "edited"), Priority.EDIT)
            await held.came_through.wait()
        assert held.held == WORKERS, "nobody else may take the places that are kept for edits"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
