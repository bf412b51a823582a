"""Parts that every pod of ours has: restricted security, the adapter container, its volumes and environment."""

from __future__ import annotations

from typing import Any

from insource.api import meta
from insource.domain.snapshot import Settings
from insource.wire.headers import ADMIN_PORT, ROLE_PORTS

TOKENS_DIR = "/var/run/insource/gateway-tokens"
LEDGER_DIR = "/var/run/insource/ledger"
WAL_DIR = "/var/lib/insource/wal"
LEDGER_TOKEN_SECONDS = 3600
GRACE_BEYOND_REQUEST_S = 30
"""A pod may go on this long after its longest request: to write and ship the last records."""

CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
POD_SECURITY = {"runAsNonRoot": True, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def variable(name: str, value: str) -> dict[str, Any]:
    """A plain environment variable."""
    return {"name": name, "value": value}


def downward(name: str, path: str) -> dict[str, Any]:
    """An environment variable from the pod's own fields."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def adapter_environment(settings: Settings, *, namespace: str, kind: str, drain_grace_s: int) -> list[dict[str, Any]]:
    """What every adapter is told. POD_IP comes first: later variables refer to it."""
    return [
        downward("POD_IP", "status.podIP"),
        downward("POD_NAME", "metadata.name"),
        downward("POD_UID", "metadata.uid"),
        variable("INSOURCE_NAMESPACE", namespace),
        variable("INSOURCE_KIND", kind),
        variable("INSOURCE_TOKENS_DIR", TOKENS_DIR),
        variable("INSOURCE_LEDGER_URL", settings.ledger_url),
        variable("INSOURCE_LEDGER_TOKEN_FILE", f"{LEDGER_DIR}/token"),
        variable("INSOURCE_WAL_DIR", WAL_DIR),
        variable("INSOURCE_DRAIN_GRACE_S", str(drain_grace_s)),
        variable("INSOURCE_MAX_BODY_BYTES", str(settings.max_body_bytes)),
    ]


def adapter_container(
    settings: Settings, environment: list[dict[str, Any]], mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    """The main container: it starts after the server and stops before it."""
    ports = [{"name": role, "containerPort": port} for role, port in ROLE_PORTS.items()]
    return {
        "name": "adapter",
        "image": settings.image,
        "command": ["insource", "adapter"],
        "env": environment,
        "ports": [*ports, {"name": "admin", "containerPort": ADMIN_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": ADMIN_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": ADMIN_PORT},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
            # A process that hangs cannot drain: its requests wait for its end, so that they can be sent elsewhere.
            "terminationGracePeriodSeconds": 5,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {**CONTAINER_SECURITY, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "gateway-tokens", "mountPath": TOKENS_DIR, "readOnly": True},
            {"name": "ledger-token", "mountPath": LEDGER_DIR, "readOnly": True},
            {"name": "wal", "mountPath": WAL_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
            *mounts,
        ],
    }


def adapter_volumes() -> list[dict[str, Any]]:
    """Accepted tokens, the adapter's own token for the ledger, its write-ahead log, scratch."""
    token = {"audience": meta.LEDGER_AUDIENCE, "expirationSeconds": LEDGER_TOKEN_SECONDS, "path": "token"}
    return [
        # Optional: the adapter re-reads it and answers 401 until it is there, which beats a pod that cannot start.
        {"name": "gateway-tokens", "configMap": {"name": meta.GATEWAY_TOKENS_CONFIG_MAP, "optional": True}},
        {"name": "ledger-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "wal", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]


def pull_secrets(settings: Settings) -> dict[str, Any]:
    """The installation's imagePullSecrets, if it has any."""
    names = settings.image_pull_secrets
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def pod_base(grace_s: int) -> dict[str, Any]:
    """A pod spec's fields that are the same everywhere."""
    return {
        "serviceAccountName": meta.ADAPTER_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": grace_s,
    }
