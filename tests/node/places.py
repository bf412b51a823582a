"""Names, addresses and folders of a node.

A network namespace has room for one: the names of kube-proxy's tables are fixed. The first has the machine's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

REGISTRY = "registry.test"
"""Nobody answers there (RFC 2606): an image is in containerd, or the pod says that it cannot be pulled."""
PAUSE = f"{REGISTRY}/pause:1"


class NodeError(Exception):
    """The node cannot be had; the text says why and what to do."""


@dataclass(frozen=True)
class Places:
    """Where everything of the node is. `state` survives a `down`: it keeps images; `run` does not."""

    run: Path = Path("/run/insource-node")
    state: Path = Path("/var/lib/insource-node")
    name: str = "insource-node"
    bridge: str = "insource0"
    gateway: str = "10.245.0.1"
    """Of this node's pods."""
    pods: str = "10.245.0.0/24"
    address: str = "10.245.0.1"
    """The node's own."""
    space: str = ""
    """The network namespace that its programs run in; '': the machine's."""
    api_address: str = "10.245.0.1"
    cluster: str = "10.245.0.0/16"
    """All nodes and their pods."""
    services: str = "10.97.0.0/16"
    api_service: str = "10.97.0.1"
    dns_service: str = "10.97.0.10"
    cgroup: str = "insource-node"
    api_port: int = 6443
    kubelet_port: int = 30250
    kubelet_health_port: int = 30248
    proxy_health_port: int = 30256
    proxy_metrics_port: int = 30249
    dns_ready_port: int = 38181
    etcd_port: int = 32379
    etcd_peer_port: int = 32380

    @property
    def url(self) -> str:
        return f"https://{self.api_address}:{self.api_port}"

    @property
    def second(self) -> Places:
        """Another node of the same cluster, on the same machine."""
        return replace(
            self,
            run=self.run / "second",
            state=self.state / "second",
            name=f"{self.name}-2",
            gateway="10.245.1.1",
            pods="10.245.1.0/24",
            address="10.245.254.2",
            space=f"{self.name}-2",
            cgroup=f"{self.cgroup}-2",
        )

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        return self.state / "containerd"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "admin.kubeconfig"

    @property
    def record(self) -> Path:
        """What `up` has begun, so that `down` finds it, whoever was killed in between."""
        return self.state / "state.json"

    def listeners(self) -> dict[str, tuple[str, int]]:
        """What must be free before `up`: a program that joins a stranger's port says nothing of it."""
        local = "127.0.0.1"
        return {
            "etcd": (local, self.etcd_port),
            "etcd's peers": (local, self.etcd_peer_port),
            "kube-apiserver": ("", self.api_port),
            "kubelet": ("", self.kubelet_port),
            "kubelet's health": (local, self.kubelet_health_port),
            "kube-proxy's health": (local, self.proxy_health_port),
            "kube-proxy's metrics": (local, self.proxy_metrics_port),
            "CoreDNS's readiness": (local, self.dns_ready_port),
        }


def cache_folder() -> Path:
    """Downloads and builds that any checkout may use again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "insource" / "node"
