"""What is known of the cluster, indexed so that one change re-renders only the deployments it touches. No I/O."""

from __future__ import annotations

from collections import defaultdict

from insource.gateway.objects import ClientSecret, PoolKey, Routing, Slice
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView, Pool
from insource.wire.vocabulary import BackendKind, Role

ObjectName = tuple[str, str]
"""(namespace, name)."""


class Inventory:
    """Routings, slices and clients. Every change adds to `dirty` the deployments whose view may be another now."""

    def __init__(self) -> None:
        self.dirty: set[DeploymentKey] = set()
        self.keys_dirty = False
        self._routings: dict[DeploymentKey, Routing] = {}
        self._slices: dict[ObjectName, Slice] = {}
        self._pools: dict[PoolKey, set[ObjectName]] = defaultdict(set)
        self._users: dict[tuple[str, str], set[DeploymentKey]] = defaultdict(set)
        """(namespace, vendor) -> deployments that use it."""
        self._clients: dict[ObjectName, ClientSecret] = {}

    def deployments(self) -> set[DeploymentKey]:
        """Every deployment that has a routing."""
        return set(self._routings)

    def set_routing(self, key: DeploymentKey, routing: Routing | None) -> None:
        """A ModelDeployment as it is now; None if it is gone or not routed yet."""
        old = self._routings.pop(key, None)
        for _, vendor in old.vendors if old else ():
            self._users[key.namespace, vendor].discard(key)
        if routing is not None:
            self._routings[key] = routing
            for _, vendor in routing.vendors:
                self._users[key.namespace, vendor].add(key)
        self.dirty.add(key)

    def set_slice(self, name: ObjectName, endpoints: Slice | None) -> None:
        """An EndpointSlice as it is now; None if it is gone."""
        old = self._slices.pop(name, None)
        if old is not None:
            self._pools[old.pool].discard(name)
            self._touch(old.pool)
        if endpoints is not None:
            self._slices[name] = endpoints
            self._pools[endpoints.pool].add(name)
            self._touch(endpoints.pool)

    def set_client(self, name: ObjectName, client: ClientSecret | None) -> None:
        """A client's Secret as it is now; None if it is gone."""
        old = self._clients.pop(name, None)
        if client is not None:
            self._clients[name] = client
        self.keys_dirty = True
        touched = [each for each in (old, client) if each]
        self.dirty.update(
            key for key, routing in self._routings.items() if any(routing.admits(each) for each in touched)
        )

    def view(self, key: DeploymentKey) -> DeploymentView | None:
        """The deployment as it should be routed now, or None."""
        routing = self._routings.get(key)
        if routing is None:
            return None
        serve = tuple(
            self._pool(routing, each.backend, each.revision, Role.SERVE, each.weight) for each in routing.weights
        )
        cold = not any(pool.addresses and pool.weight for pool in serve)
        rescue = (self._pool(routing, *routing.rescue, Role.RESCUE, 1),) if routing.rescue else ()
        spills = routing.spill and (cold or not routing.spill_only_cold)
        spill = (self._pool(routing, routing.spill, "", Role.SPILL, 1),) if spills else ()
        return DeploymentView(
            key=key,
            version=routing.version,
            generation=routing.generation,
            serve=serve,
            rescue=rescue,
            spill=spill,
            clients=self._clients_of(routing),
            request_timeout_s=routing.request_timeout_s,
            max_body_bytes=routing.max_body_bytes,
            served_names=routing.served_names,
            created=routing.created,
        )

    def client_keys(self) -> tuple[tuple[ClientKey, ...], tuple[str, ...]]:
        """Accepted keys, and the names of the Secrets left out because their key is another client's too.

        A key that two clients claim names neither: all but the first Secret by name are left out.
        """
        owners: dict[str, str] = {}
        namespaces: defaultdict[str, set[str]] = defaultdict(set)
        duplicates = []
        for (_, name), secret in sorted(self._clients.items()):
            if owners.setdefault(secret.key, secret.client) != secret.client:
                duplicates.append(name)
            namespaces[secret.client].update(secret.namespaces)
        keys = (ClientKey(client, key, tuple(sorted(namespaces[client]))) for key, client in owners.items())
        return tuple(keys), tuple(duplicates)

    def _clients_of(self, routing: Routing) -> tuple[str, ...]:
        return tuple(sorted({each.client for each in self._clients.values() if routing.admits(each)}))

    def _touch(self, pool: PoolKey) -> None:
        if pool.vendor:
            self.dirty.update(self._users[pool.namespace, pool.vendor])
        else:
            self.dirty.add(DeploymentKey(pool.namespace, pool.deployment))

    def _pool(self, routing: Routing, backend: str, revision: str, role: Role, weight: int) -> Pool:
        vendor = routing.vendor_of(backend)
        namespace = routing.key.namespace
        owner = PoolKey(namespace, vendor=vendor) if vendor else PoolKey(namespace, routing.key.name, backend, revision)
        addresses = {
            (host, port)
            for name in self._pools.get(owner, ())
            for role_name, port in self._slices[name].ports
            if role_name == role
            for host in self._slices[name].hosts
        }
        kind = BackendKind.VENDOR if vendor else BackendKind.IN_HOUSE
        return Pool(backend, revision, kind, vendor, role, weight, tuple(sorted(addresses)))
