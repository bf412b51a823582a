"""NetworkPolicies of a namespace: whom serving pods and vendor adapters may call. Nobody's calls to them are limited.

Nothing relies on them alone: not every cluster's network enforces them.
"""

from __future__ import annotations

from typing import Any

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest, Settings

SERVING_POLICY = "insource-serving"
VENDOR_POLICY = "insource-vendor-adapters"
_DNS = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
_NO_INTERNET = ("169.254.0.0/16", "fe80::/10")
"""Link-local: where clouds keep their machines' credentials."""


def build_network_policies(namespace: str, settings: Settings) -> tuple[Manifest, ...]:
    """Serving pods: DNS, the ledger, `delivery.cidrs`. Vendor adapters: DNS, the ledger, everything but link-local."""
    ledger = {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.system_namespace}}}]
    }
    sources = [{"ipBlock": {"cidr": cidr}} for cidr in settings.delivery.cidrs]
    anywhere = [
        {"ipBlock": {"cidr": cidr, "except": [but]}}
        for cidr, but in zip(("0.0.0.0/0", "::/0"), _NO_INTERNET, strict=True)
    ]
    return (
        _policy(namespace, SERVING_POLICY, meta.LABEL_BACKEND, [_DNS, ledger, *([{"to": sources}] if sources else [])]),
        _policy(namespace, VENDOR_POLICY, meta.LABEL_VENDOR, [_DNS, ledger, {"to": anywhere}]),
    )


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
