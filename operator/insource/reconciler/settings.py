"""What the operator is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from insource.api.meta import SYSTEM_NAMESPACE
from insource.domain.snapshot import DeliverySettings


@dataclass(frozen=True)
class OperatorSettings:
    """Everything `run_operator` needs. Durations in seconds."""

    kubeconfig: str | None
    """None: the pod's own cluster, else the user's default file."""
    gateway_master_file: Path | None
    """The gateway's master; two lines (new, old) while it rotates. None: no token is accepted anywhere."""
    gateway_urls: tuple[str, ...]
    """Admin URL of each gateway's agent, where they are known from the start."""
    ledger_url: str
    image: str
    """Our own image: what adapters run."""
    identity: str
    """Unique among replicas: the Lease's holder."""
    servers_image: str = ""
    """Image of the built-in catalogue's CPU model servers; empty: `image`."""
    gateway_service: tuple[str, int] | None = None
    """Name and admin port of a headless Service: every address of it is a gateway's agent."""
    watch_namespaces: tuple[str, ...] = ()
    """The only namespaces whose ModelDeployments and Vendors are looked after; empty: all."""
    lease_namespace: str = SYSTEM_NAMESPACE
    listen: str = "127.0.0.1:0"
    """`HOST:PORT` of /healthz, /readyz and /metrics."""
    public_url: str = ""
    """Base URL that clients of the gateway use; empty: unknown, so no endpoint is shown in a status."""
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    workers: int = 8
    """ModelDeployments that are worked on at once."""
    relist_s: float = 600.0
    image_registry: str = ""
    """Prefix that takes the place of the registry's host in the runtimes' images."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets, in each namespace with our pods, by which images are pulled."""
    catalogue: bool = True
    """Apply the built-in catalogue at the start."""
