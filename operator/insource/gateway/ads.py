"""The ADS server: Envoy's one stream over a unix socket, and the store of what it should have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3 import ads_pb2_grpc

from insource.env import Env
from insource.gateway.application import Applications, Identity
from insource.gateway.delta import ORDER, DeltaStream, Resources
from insource.gateway.render import names
from insource.gateway.render.names import EXTENSION
from insource.gateway.render.resources import Resource, render_readiness

_log = structlog.get_logger(__name__)
MAX_MESSAGE = 256 << 20


class _Connection:
    """One open stream."""

    def __init__(self, stream: DeltaStream) -> None:
        self.stream = stream
        self.wake = asyncio.Event()
        self.ended = False


class Configuration:
    """What Envoy should hold; a change is sent to every open stream, and only the change."""

    def __init__(self, applications: Applications) -> None:
        self.applications = applications
        self.changed = asyncio.Condition()
        """Notified whenever Envoy acknowledged, refused, connected or left."""
        self._resources: Resources = {type_url: {} for type_url in ORDER}
        self._connections: list[_Connection] = []
        self._notices: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """True while Envoy is on the line."""
        return bool(self._connections)

    def get(self, identity: Identity) -> Resource | None:
        """What Envoy should hold under this name."""
        return self._resources[identity[0]].get(identity[1])

    def put(self, resources: Iterable[Resource]) -> None:
        """These are as they should be now."""
        for resource in resources:
            present = self._resources[resource.type_url]
            old = present.get(resource.name)
            if old is None or old.version != resource.version:
                present[resource.name] = resource
                self._mark(resource.identity)

    def remove(self, identities: Iterable[Identity]) -> None:
        """These should not be any more."""
        for identity in identities:
            if self._resources[identity[0]].pop(identity[1], None) is not None:
                self._mark(identity)

    def _mark(self, identity: Identity) -> None:
        for connection in self._connections:
            connection.stream.mark(*identity)
            connection.wake.set()

    def open(self) -> _Connection:
        """A new stream. Envoy has one; a second one means that the first is dead."""
        self.applications.restart({})
        self._resources[names.CLUSTER].pop(names.READINESS, None)
        connection = _Connection(DeltaStream(self._resources, self))
        self._connections.append(connection)
        return connection

    def hang_up(self) -> None:
        """End every open stream: stopping the gRPC server does not."""
        for connection in self._connections:
            connection.ended = True
            connection.wake.set()

    def close(self, connection: _Connection) -> None:
        """The stream has ended."""
        self._connections.remove(connection)
        self._tell()

    @property
    def announced(self) -> bool:
        """True if the present Envoy is told that it has everything."""
        return names.READINESS in self._resources[names.CLUSTER]

    def holds(self, held: dict[Identity, str]) -> None:
        if (names.CLUSTER, names.READINESS) in held:
            # It was complete under an earlier agent. What it has missed since does not make it unfit to serve.
            self.put([render_readiness()])
        self.applications.holds(held)
        self._tell()

    def acknowledge(self, identities: dict[Identity, str], removed: Iterable[Identity]) -> None:
        self.applications.acknowledge(identities, removed)
        self._tell()

    def refuse(self, identity: Identity, text: str) -> None:
        self.applications.refuse(identity, text)
        # Note: Envoy's words about the key list contain the key.
        _log.error("refused", resource=identity[1], reason="" if identity[0] == EXTENSION else text)
        self._tell()

    def _tell(self) -> None:
        async def notify() -> None:
            async with self.changed:
                self.changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)


class AdsService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """The gRPC skin around `DeltaStream`."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802, ARG002
        """Read requests and write what is due, until either side ends."""
        connection = self._configuration.open()
        _log.info("envoy_connected")

        async def read() -> None:
            try:
                async for request in requests:
                    connection.stream.receive(request)
                    connection.wake.set()
            finally:
                connection.ended = True
                connection.wake.set()

        reader = asyncio.create_task(read())
        try:
            while not connection.ended:
                await connection.wake.wait()
                connection.wake.clear()
                for response in connection.stream.responses():
                    yield response
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            self._configuration.close(connection)
            _log.info("envoy_disconnected")


async def serve_ads(configuration: Configuration, socket: Path, env: Env) -> grpc.aio.Server:
    """Listen on `socket`, in a private folder. The caller stops the server."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE)])
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(AdsService(configuration), server)
    # Note: gRPC deletes the path that it was given when it ends, also if a successor listens there by then.
    own = socket.with_name(f"ads-{env.ids.suffix()}.sock")
    server.add_insecure_port(f"unix:{own}")
    await server.start()
    _rename(own, socket)
    return server


def _rename(own: Path, socket: Path) -> None:
    own.rename(socket)
