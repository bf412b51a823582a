"""What the gateway needs to know of the world to configure Envoy: frozen, free of Kubernetes and of Envoy.

`render` turns these into Envoy's resources; `inventory` builds them from Kubernetes objects; `snapshot` keeps
them on disk, so that a gateway starts without the API server.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from insource.domain.served_names import Claim
from insource.wire.vocabulary import BackendKind, Role

NAME = "name"
"""How the hops of requests begin that the agent sends in again by the name of their model."""
HOLD = "hold"
"""The role of the agent's own activator. Not an adapter's role: nothing is consumed there."""


@dataclass(frozen=True, order=True)
class DeploymentKey:
    """Which ModelDeployment: the first two segments of its URL."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @staticmethod
    def parse(text: str) -> DeploymentKey:
        """The reverse of `str(key)`."""
        namespace, _, name = text.partition("/")
        return DeploymentKey(namespace, name)


@dataclass(frozen=True)
class Pool:
    """The ready addresses of one (backend, revision) for one role, and its share of its priority."""

    backend: str
    revision: str
    kind: BackendKind
    vendor: str
    role: Role
    weight: int
    """Share of the priority that it is in; only the proportion counts. Pools with 0 are left out."""
    addresses: tuple[tuple[str, int], ...] = ()
    """(host, port), sorted."""


@dataclass(frozen=True)
class DeploymentView:
    """One ModelDeployment as the gateway routes it."""

    key: DeploymentKey
    version: int
    """`status.traffic.version`."""
    generation: int
    serve: tuple[Pool, ...] = ()
    """Priority 0: the split."""
    rescue: tuple[Pool, ...] = ()
    """Priority 1: the stable revision again, by its second port."""
    spill: tuple[Pool, ...] = ()
    """Priority 2: the vendor. Already empty where `when: ColdStart` does not apply."""
    clients: tuple[str, ...] = ()
    """Names of the clients that may call it, sorted. Empty admits nobody."""
    request_timeout_s: int = 600
    max_body_bytes: int = 32 << 20
    served_names: tuple[str, ...] = ()
    """What clients may send as `model` on plain `/v1`, beside its full name."""
    created: str = ""
    """`metadata.creationTimestamp`."""

    @property
    def claim(self) -> Claim:
        """As one that may answer to a name; whom it admits is in `clients`."""
        return Claim(self.key.namespace, self.key.name, self.created)

    @property
    def backends_ready(self) -> int:
        """How many of the priorities serve, rescue and spill have an address: the rungs of the ladder before hold."""
        return sum(
            any(pool.addresses and pool.weight for pool in pools) for pools in (self.serve, self.rescue, self.spill)
        )


@dataclass(frozen=True)
class ClientKey:
    """One accepted API key. Never printed: `key` is left out of the repr."""

    client: str
    key: str = field(repr=False)
    namespaces: tuple[str, ...] = ()
    """The client's own: there its names are looked up first."""


@dataclass(frozen=True)
class GatewayView:
    """Everything that one gateway serves."""

    deployments: tuple[DeploymentView, ...] = ()
    keys: tuple[ClientKey, ...] = ()
