"""Kubernetes objects as the gateway reads them: pure projections of dicts, tolerant of what is missing."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from insource.api.meta import (
    ANNOTATION_NAMESPACES,
    LABEL_BACKEND,
    LABEL_CLIENT,
    LABEL_DEPLOYMENT,
    LABEL_REVISION,
    LABEL_VENDOR,
)
from insource.domain.served_names import ANY, Admission, admissions_of
from insource.gateway.view import DeploymentKey
from insource.wire.paths import is_plain

Object = dict[str, Any]


@dataclass(frozen=True)
class PoolKey:
    """Whose endpoints: an in-house (deployment, backend, revision), or a vendor's adapter (then only `vendor`)."""

    namespace: str
    deployment: str = ""
    backend: str = ""
    revision: str = ""
    vendor: str = ""


@dataclass(frozen=True)
class WeightedBackend:
    """One side of the split."""

    backend: str
    revision: str
    weight: int


@dataclass(frozen=True)
class Routing:
    """`ModelDeployment.status.traffic`, read."""

    key: DeploymentKey
    generation: int
    version: int
    weights: tuple[WeightedBackend, ...]
    rescue: tuple[str, str] | None
    """(backend, revision)."""
    spill: str
    """Backend, "" for none."""
    spill_only_cold: bool
    vendors: tuple[tuple[str, str], ...]
    """(backend, Vendor)."""
    request_timeout_s: int
    max_body_bytes: int
    access: tuple[Admission, ...]
    served_names: tuple[str, ...] = ()
    created: str = ""

    def admits(self, client: ClientSecret) -> bool:
        """Whether this client may call."""
        return any(
            name in (ANY, client.client) and (namespace == ANY or namespace in client.namespaces)
            for namespace, name in self.access
        )

    def vendor_of(self, backend: str) -> str:
        """The Vendor of a vendor backend, "" for an in-house one."""
        return dict(self.vendors).get(backend, "")


@dataclass(frozen=True)
class Slice:
    """The ready endpoints of one EndpointSlice."""

    pool: PoolKey
    hosts: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    """(role, port)."""


@dataclass(frozen=True)
class ClientSecret:
    """One client's key."""

    client: str
    namespaces: tuple[str, ...]
    key: str = field(repr=False)


def read_routing(obj: Object) -> Routing | None:
    """None while the operator has not yet decided where traffic goes, or if plain `/v1` takes its path."""
    traffic = (obj.get("status") or {}).get("traffic")
    metadata = obj["metadata"]
    if not traffic or is_plain(metadata["namespace"], metadata["name"]):
        return None
    spec = obj.get("spec") or {}
    rescue = traffic.get("rescue")
    spill = traffic.get("spill") or {}
    return Routing(
        key=DeploymentKey(metadata["namespace"], metadata["name"]),
        generation=int(metadata.get("generation", 0)),
        version=int(traffic.get("version", 0)),
        weights=tuple(
            WeightedBackend(each["backend"], each.get("revision", ""), int(each["weight"]))
            for each in traffic.get("weights") or ()
        ),
        rescue=(rescue["backend"], rescue.get("revision", "")) if rescue else None,
        spill=spill.get("backend", ""),
        spill_only_cold=spill.get("when") == "ColdStart",
        vendors=tuple(sorted((backend, v["name"]) for backend, v in (traffic.get("vendors") or {}).items())),
        request_timeout_s=int(traffic.get("requestTimeoutSeconds", 600)),
        max_body_bytes=int(traffic.get("maxBodyBytes", 32 << 20)),
        access=admissions_of(metadata["namespace"], (spec.get("access") or {}).get("clients") or ()),
        served_names=tuple(spec.get("servedNames") or ()),
        created=str(metadata.get("creationTimestamp") or ""),
    )


def read_slice(obj: Object) -> Slice | None:
    """None for a slice that is not ours."""
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    namespace = metadata["namespace"]
    if LABEL_VENDOR in labels:
        pool = PoolKey(namespace, vendor=labels[LABEL_VENDOR])
    elif LABEL_DEPLOYMENT in labels:
        pool = PoolKey(
            namespace, labels[LABEL_DEPLOYMENT], labels.get(LABEL_BACKEND, ""), labels.get(LABEL_REVISION, "")
        )
    else:
        return None
    hosts = [
        address
        for endpoint in obj.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
    ]
    ports = [(port.get("name") or "", int(port["port"])) for port in obj.get("ports") or () if port.get("port")]
    return Slice(pool, tuple(sorted(set(hosts))), tuple(sorted(ports)))


def read_client(obj: Object) -> ClientSecret | None:
    """None for a Secret without the label, or without a usable key."""
    metadata = obj["metadata"]
    client = (metadata.get("labels") or {}).get(LABEL_CLIENT, "")
    try:
        key = base64.b64decode((obj.get("data") or {}).get("key", ""), validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not client or not key:
        return None
    listed = (metadata.get("annotations") or {}).get(ANNOTATION_NAMESPACES, "")
    namespaces = sorted({name.strip() for name in listed.split(",") if name.strip()})
    return ClientSecret(client, tuple(namespaces), key)
