"""One life of the operator in the simulation: it is fed events, does its work call by call, and dies at any of them."""

from __future__ import annotations

import copy
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from insource.domain.identity import gateway_token, token_digest
from insource.domain.snapshot import Settings
from insource.kube import resources
from insource.kube.client import ApiError
from insource.kube.informer import Informer, InformerOptions
from insource.kube.resources import Resource, key_of
from insource.reconciler.controller import Controller
from insource.reconciler.reconcile import Work
from tests.sim.store_client import StoreClient

if TYPE_CHECKING:
    from tests.sim.world import World

GATEWAY = "http://gateway"
WORKERS = 3
_SETTINGS = Settings(image="insource/insource:test", ledger_url="http://ledger", gateway_url="http://front")


class OperatorProcess:
    """One life of the operator: its caches and queue are lost when it dies."""

    def __init__(self, world: World, *, nodes: bool = True) -> None:
        self.world = world
        self.client = StoreClient(world.store, world.faults, world.check)
        self.controller = Controller(
            self.client,
            world.env,
            _SETTINGS,
            identity="sim",
            gateway_urls=world.gateways,
            token_digests=lambda namespace: (token_digest(gateway_token(b"master", namespace)),),
            may_write=lambda: True,
            builtins=world.builtins,
            nodes=nodes,
        )
        labels = "app.kubernetes.io/managed-by=insource"
        ours = (*self.controller.caches.children, resources.PODS)
        self.informers = {
            resource: Informer(
                self.client,
                resource,
                world.env,
                lambda obj: obj,
                InformerOptions(labels=labels if resource in ours else "", page=3),
                known,
            )
            for resource, known in self.controller.caches.by_resource().items()
        }
        self.seen: dict[Resource, str] = {}
        self._passes: list[Coroutine[Any, Any, None]] = []
        self._last: Coroutine[Any, Any, None] | None = None

    async def start(self) -> None:
        """List everything, as at a start, and look at everything, as when leadership begins."""
        for resource in self.informers:
            await self.relist(resource)
        self.controller.resync()

    async def relist(self, resource: Resource) -> None:
        """A whole list: closes every gap."""
        await self.informers[resource].relist()
        self.seen[resource] = str(self.world.store.resource_version)

    async def deliver(self, resource: Resource, lossy: bool) -> None:
        """Some of the events that have happened since; perhaps one is lost, or comes twice. 410 means a list."""
        rng, informer = self.world.rng, self.informers[resource]
        try:
            events = [
                event
                async for event in self.client.watch(
                    resource,
                    resource_version=self.seen[resource],
                    labels=informer._options.labels,
                    shape=informer.cache.shape,
                )
            ]
        except ApiError as error:
            if error.status != 410:
                raise
            await self.relist(resource)
            return
        for event in events[: rng.randint(0, len(events)) if lossy else None]:
            self.seen[resource] = event.object["metadata"]["resourceVersion"]
            for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 2)) if lossy else 1):
                if event.type == "DELETED":
                    informer.cache.observe_deleted(copy.deepcopy(event.object))
                else:
                    informer.cache.observe(copy.deepcopy(event.object))

    def turn(self) -> None:
        """One worker goes on to its next call of the API, or the end of its pass; or a free one begins a pass."""
        rng = self.world.rng
        if len(self._passes) < WORKERS and (not self._passes or rng.random() < 0.7):
            work = self.controller.queue.pop()
            if work is not None:
                self._passes.append(self.controller.work_on(work))
        if self._passes:
            self._go_on(rng.choice(self._passes))

    def finish(self) -> None:
        """Every worker comes to the end of its pass."""
        while self._passes:
            self._go_on(self._passes[0])

    def kill(self) -> None:
        """No pass goes on any more: what it had not yet written is never written."""
        passes, self._passes = self._passes, []
        for one in passes:
            one.close()

    def _go_on(self, one: Coroutine[Any, Any, None]) -> None:
        if self._last in self._passes and self._last is not one:
            self.world.switches += 1
        self._last = one
        try:
            one.send(None)
        except StopIteration:
            self._passes.remove(one)
        except BaseException:
            self._passes.remove(one)
            raise

    async def work(self) -> bool:
        """One pass over one object; False if nothing is ready."""
        work = self.controller.queue.pop()
        if work is None:
            return False
        await self.controller.work_on(work)
        return True

    def hear(self) -> None:
        """What the pollers would have heard from gateways and adapters."""
        level = GATEWAY in self.world.gateways
        for name in self.controller.observations.note_applied(GATEWAY, self.world.applied()) if level else ():
            namespace, _, deployment = name.partition("/")
            self.controller.queue.add(Work("deployment", namespace, deployment))
        for vendor in self.world.objects(resources.VENDORS):
            key = key_of(vendor)
            if self.controller.observations.note_credentials(
                key, self.world.has_key, "" if self.world.has_key else "no Secret"
            ):
                self.controller.queue.add(Work("vendor", *key))
                self.controller.vendor_users(key)
            if self.world.models is not None and self.controller.observations.note_models(key, self.world.models):
                self.controller.queue.add(Work("vendor", *key))
