"""NetworkPolicies of a namespace: whom serving pods and vendor adapters may call, and that only gateways call them.

Nothing relies on them alone: not every cluster's network enforces them.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest, Settings
from insource.wire.headers import ADMIN_PORT, ROLE_PORTS

SERVING_POLICY = "insource-serving"
VENDOR_POLICY = "insource-vendor-adapters"
_DNS = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
_METADATA = (_LINK_LOCAL[:1], (*_LINK_LOCAL[1:], "fd00:ec2::254/128", "fd20:ce::254/128"))
"""Where clouds keep their machines' credentials, by version: AWS's and Google's IPv6 ones are not link-local."""
_INSIDE = tuple(
    ip_network(cidr)
    for cidr in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", *_LINK_LOCAL)
)


def build_network_policies(namespace: str, settings: Settings) -> tuple[Manifest, ...]:
    """Serving pods: DNS, the ledger, `delivery.cidrs`. Vendor adapters: all but clouds' credentials.

    Both are called by pods of the system's namespace, and for their metrics by anybody.
    """
    system: list[dict[str, Any]] = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.system_namespace}}}
    ]
    ledger: dict[str, Any] = {"to": system}
    roles = [{"protocol": "TCP", "port": port} for port in ROLE_PORTS.values()]
    # Metrics are read from everywhere, and what else is at that port has nothing to hide. A server's own port is for
    # nobody but the adapter beside it.
    ingress: list[dict[str, Any]] = [
        {"from": system, "ports": roles},
        {"ports": [{"protocol": "TCP", "port": ADMIN_PORT}]},
    ]
    sources = [_sources(cidr) for cidr in settings.delivery.cidrs]
    anywhere = [
        {"ipBlock": {"cidr": cidr, "except": list(but)}}
        for cidr, but in zip(("0.0.0.0/0", "::/0"), _METADATA, strict=True)
    ]
    serving: list[dict[str, Any]] = [_DNS, ledger, *([{"to": sources}] if sources else [])]
    return (
        _policy(namespace, SERVING_POLICY, meta.LABEL_BACKEND, ingress, serving),
        _policy(namespace, VENDOR_POLICY, meta.LABEL_VENDOR, ingress, [_DNS, ledger, {"to": anywhere}]),
    )


def _sources(cidr: str) -> dict[str, Any]:
    """A range as a peer. As for downloads, one that is wider than what is inside stands for its public addresses."""
    network = ip_network(cidr)
    inside = [str(each) for each in _INSIDE if network.is_global and _holds(network, each)]
    return {"ipBlock": {"cidr": cidr, "except": inside} if inside else {"cidr": cidr}}


def _holds(network: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]


def _policy(
    namespace: str, name: str, label: str, ingress: list[dict[str, Any]], egress: list[dict[str, Any]]
) -> Manifest:
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
        body={
            "spec": {
                "podSelector": selector,
                "policyTypes": ["Ingress", "Egress"],
                "ingress": ingress,
                "egress": egress,
            }
        },
    )
