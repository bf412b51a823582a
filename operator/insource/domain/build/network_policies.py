"""NetworkPolicies of a namespace: whom serving pods and vendor adapters may call. Nobody's calls to them are limited.

Nothing relies on them alone: not every cluster's network enforces them.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest, Settings

SERVING_POLICY = "insource-serving"
VENDOR_POLICY = "insource-vendor-adapters"
_DNS = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
"""Where clouds keep their machines' credentials."""
_INSIDE = tuple(
    ip_network(cidr)
    for cidr in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", *_LINK_LOCAL)
)


def build_network_policies(namespace: str, settings: Settings) -> tuple[Manifest, ...]:
    """Serving pods: DNS, the ledger, `delivery.cidrs`. Vendor adapters: DNS, the ledger, everything but link-local."""
    ledger = {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.system_namespace}}}]
    }
    sources = [_sources(cidr) for cidr in settings.delivery.cidrs]
    anywhere = [
        {"ipBlock": {"cidr": cidr, "except": [but]}}
        for cidr, but in zip(("0.0.0.0/0", "::/0"), _LINK_LOCAL, strict=True)
    ]
    return (
        _policy(namespace, SERVING_POLICY, meta.LABEL_BACKEND, [_DNS, ledger, *([{"to": sources}] if sources else [])]),
        _policy(namespace, VENDOR_POLICY, meta.LABEL_VENDOR, [_DNS, ledger, {"to": anywhere}]),
    )


def _sources(cidr: str) -> dict[str, Any]:
    """A range as a peer. As for downloads, one that is wider than what is inside stands for its public addresses."""
    network = ip_network(cidr)
    inside = [str(each) for each in _INSIDE if network.is_global and _holds(network, each)]
    return {"ipBlock": {"cidr": cidr, "except": inside} if inside else {"cidr": cidr}}


def _holds(network: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]


def _policy(namespace: str, name: str, label: str, egress: list[dict[str, Any]]) -> Manifest:
    """For pods of ours with that label, whatever its value."""
    selector = {
        "matchLabels": {meta.LABEL_MANAGED_BY: meta.MANAGED_BY},
        "matchExpressions": [{"key": label, "operator": "Exists"}],
    }
    return manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name=name,
        namespace=namespace,
        labels={},
        owner=None,
        body={"spec": {"podSelector": selector, "policyTypes": ["Egress"], "egress": egress}},
    )
