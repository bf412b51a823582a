"""The headless Service of a workload: its EndpointSlices are what the gateway routes to, a port for each role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insource.api.kinds import Resource
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest
from insource.wire.headers import ROLE_PORTS

_PORTS = [{"name": role, "port": port, "targetPort": port, "protocol": "TCP"} for role, port in ROLE_PORTS.items()]


def build_service(
    owner: Resource[Any], *, name: str, labels: Mapping[str, str], selector: Mapping[str, str]
) -> Manifest:
    """One Service, named like the workload whose pods it selects."""
    return manifest(
        "v1",
        "Service",
        name=name,
        namespace=owner.namespace,
        labels=labels,
        owner=owner,
        body={"spec": {"clusterIP": "None", "selector": dict(selector), "ports": _PORTS}},
    )
