"""Where the world comes from: Kubernetes by informers, or a fixed description (bench, tests)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from insource.api.meta import LABEL_CLIENT, LABEL_MANAGED_BY, MANAGED_BY
from insource.env import Env
from insource.gateway.inventory import Inventory
from insource.gateway.objects import ClientSecret, Object, Routing, Slice, read_client, read_routing, read_slice
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView
from insource.kube.client import Client
from insource.kube.informer import Informer, InformerOptions
from insource.kube.resources import ENDPOINT_SLICES, MODEL_DEPLOYMENTS, SECRETS, Key, Resource

T = TypeVar("T")


class World(Protocol):
    """What the gateway reads. `dirty` and `keys_dirty` say what to look at again; the reader clears them."""

    dirty: set[DeploymentKey]
    keys_dirty: bool

    def deployments(self) -> set[DeploymentKey]: ...
    def view(self, key: DeploymentKey) -> DeploymentView | None: ...
    def client_keys(self) -> tuple[tuple[ClientKey, ...], tuple[str, ...]]: ...


class Source(Protocol):
    """A world that changes."""

    world: World

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep `world` up to date until cancelled, calling `changed` after each change once it is complete."""
        ...

    def synced(self) -> bool:
        """True once the world is complete: what is not in it may be removed."""
        ...


class _FixedWorld:
    def __init__(self, views: Iterable[DeploymentView], keys: Iterable[ClientKey]) -> None:
        self._views = {view.key: view for view in views}
        self._keys = tuple(keys)
        self.dirty = set(self._views)
        self.keys_dirty = True

    def deployments(self) -> set[DeploymentKey]:
        return set(self._views)

    def view(self, key: DeploymentKey) -> DeploymentView | None:
        return self._views.get(key)

    def client_keys(self) -> tuple[tuple[ClientKey, ...], tuple[str, ...]]:
        return self._keys, ()

    def set(self, view: DeploymentView | None, key: DeploymentKey) -> None:
        if view is None:
            self._views.pop(key, None)
        else:
            self._views[key] = view
        self.dirty.add(key)


class StaticSource:
    """A description in memory, changed by `put`, `remove` and `set_keys`: no Kubernetes."""

    def __init__(self, views: Iterable[DeploymentView] = (), keys: Iterable[ClientKey] = ()) -> None:
        self._world = _FixedWorld(views, keys)
        self.world: World = self._world
        self._changed: Callable[[], None] = lambda: None

    def synced(self) -> bool:
        return True

    async def run(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        changed()
        await asyncio.Event().wait()

    def put(self, *views: DeploymentView) -> None:
        """These are as they should be routed now."""
        for view in views:
            self._world.set(view, view.key)
        self._changed()

    def remove(self, key: DeploymentKey) -> None:
        """This one is gone."""
        self._world.set(None, key)
        self._changed()

    def set_keys(self, keys: Iterable[ClientKey]) -> None:
        """The clients' keys, all of them."""
        self._world._keys = tuple(keys)
        self._world.keys_dirty = True
        self._changed()


class KubeSource:
    """ModelDeployments, EndpointSlices and the client Secrets of one namespace."""

    def __init__(self, client: Client, env: Env, system_namespace: str) -> None:
        self._inventory = Inventory()
        self.world: World = self._inventory
        managed = InformerOptions(labels=f"{LABEL_MANAGED_BY}={MANAGED_BY}")
        clients = InformerOptions(namespace=system_namespace, labels=LABEL_CLIENT)
        self._deployments = _informer(client, env, MODEL_DEPLOYMENTS, read_routing, InformerOptions())
        self._slices = _informer(client, env, ENDPOINT_SLICES, read_slice, managed)
        self._secrets = _informer(client, env, SECRETS, read_client, clients)

    def synced(self) -> bool:
        return all(each.cache.synced.is_set() for each in (self._deployments, self._slices, self._secrets))

    async def run(self, changed: Callable[[], None]) -> None:
        def tell() -> None:
            # Note: half a world would take endpoints away from a gateway that serves.
            if self.synced():
                changed()

        def routing(_change: object, key: Key, _old: Routing | None, new: Routing | None) -> None:
            self._inventory.set_routing(DeploymentKey(*key), new)
            tell()

        def endpoints(_change: object, key: Key, _old: Slice | None, new: Slice | None) -> None:
            self._inventory.set_slice((key.namespace, key.name), new)
            tell()

        def secret(_change: object, key: Key, _old: ClientSecret | None, new: ClientSecret | None) -> None:
            self._inventory.set_client((key.namespace, key.name), new)
            tell()

        self._deployments.cache.subscribe(routing)
        self._slices.cache.subscribe(endpoints)
        self._secrets.cache.subscribe(secret)

        async def announce() -> None:
            for each in (self._deployments, self._slices, self._secrets):
                await each.cache.synced.wait()
            self._inventory.keys_dirty = True
            changed()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(announce())
            tasks.create_task(self._deployments.run())
            tasks.create_task(self._slices.run())
            tasks.create_task(self._secrets.run())


def _informer(
    client: Client, env: Env, resource: Resource, read: Callable[[Object], T | None], options: InformerOptions
) -> Informer[Any]:
    return Informer(client, resource, env, read, options)
