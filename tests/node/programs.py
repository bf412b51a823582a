"""The command line of each program. Pure, so that a program can be killed and started again just as it was."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cluster.binaries import NodeBinaries
from tests.node.packages import Tools
from tests.node.places import Places

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("containerd", "kubelet", "kube-proxy", "coredns", "volumes")

EACH = ("kubelet", "kube-proxy", "kube-router")
"""Of both nodes. The last is not started where the kernel lacks something of it: `policies.why_not`."""

Command = list[str | Path]


def commands(places: Places, binaries: NodeBinaries, etcd_prefix: str) -> dict[str, Command]:
    """By name, in the order of their start. `etcd_prefix`: should another one's etcd answer, nothing of it is seen."""
    run, pki = places.run, places.run / "pki"
    return {
        "etcd": _etcd(places, binaries),
        "kube-apiserver": _apiserver(places, binaries, etcd_prefix),
        "kube-controller-manager": [
            binaries.controller_manager, "--kubeconfig", run / "controllers.kubeconfig",
            "--service-account-private-key-file", pki / "service-account.key", "--root-ca-file", pki / "ca.pem",
            "--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0", "--profiling=false",
        ],
        "kube-scheduler": [
            binaries.scheduler, "--kubeconfig", run / "scheduler.kubeconfig", "--leader-elect=false",
            "--secure-port=0", "--profiling=false",
        ],
        **of_node(places, binaries),
        "coredns": [binaries.coredns, "-conf", run / "Corefile"],
        "volumes": [sys.executable, "-m", "tests.node.volumes"],
    }  # fmt: skip


def of_node(places: Places, binaries: NodeBinaries) -> dict[str, Command]:
    """What each node has, beside containerd."""
    run = places.run
    kubelet: Command = [
        binaries.kubelet, "--config", run / "kubelet.yaml", "--kubeconfig", run / "kubelet.kubeconfig",
        "--root-dir", places.state / "kubelet", "--cert-dir", run / "kubelet-pki",
        "--hostname-override", places.name, "--node-ip", places.address,
    ]  # fmt: skip
    proxy: Command = [binaries.proxy, "--config", run / "kube-proxy.yaml"]
    router: Command = [
        binaries.router, "--kubeconfig", run / "policies.kubeconfig", "--hostname-override", places.name,
        "--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
        "--service-cluster-ip-range", places.services, "--health-port", "0",
    ]  # fmt: skip
    found = {"kubelet": kubelet, "kube-proxy": proxy, "kube-router": router}
    return {name: _inside(places, command) for name, command in found.items()}


def _inside(places: Places, command: Command) -> Command:
    """The network namespace alone: `ip netns exec` would hide the control groups, too."""
    return ["nsenter", f"--net=/run/netns/{places.space}", *command] if places.space else command


def containerd(places: Places, tools: Tools) -> Command:
    return _inside(places, [tools.path("containerd"), "-c", places.run / "containerd.toml"])


def _etcd(places: Places, binaries: NodeBinaries) -> Command:
    client, peer = (f"http://127.0.0.1:{port}" for port in (places.etcd_port, places.etcd_peer_port))
    return [
        binaries.etcd, "--data-dir", places.state / "etcd", "--unsafe-no-fsync", "--log-level", "error",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    ]  # fmt: skip


def _apiserver(places: Places, binaries: NodeBinaries, etcd_prefix: str) -> Command:
    pki = places.run / "pki"
    return [
        binaries.apiserver, "--etcd-servers", f"http://127.0.0.1:{places.etcd_port}", "--etcd-prefix", etcd_prefix,
        "--bind-address", places.gateway, "--advertise-address", places.gateway,
        "--secure-port", str(places.api_port), "--cert-dir", pki,
        "--tls-cert-file", pki / "api.pem", "--tls-private-key-file", pki / "api.key",
        # Nobody resolves the node's name.
        "--kubelet-preferred-address-types", "InternalIP", "--kubelet-certificate-authority", pki / "ca.pem",
        "--kubelet-client-certificate", pki / "to-kubelet.pem", "--kubelet-client-key", pki / "to-kubelet.key",
        "--service-account-key-file", pki / "service-account.key",
        "--service-account-signing-key-file", pki / "service-account.key",
        "--service-account-issuer", "https://kubernetes.default.svc",
        "--service-cluster-ip-range", places.services, "--token-auth-file", pki / "tokens.csv",
        "--client-ca-file", pki / "ca.pem", "--authorization-mode", "Node,RBAC", "--allow-privileged=true",
        "--enable-admission-plugins", "NodeRestriction", "--shutdown-delay-duration", "0s", "--profiling=false",
    ]  # fmt: skip
