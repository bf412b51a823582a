"""What a pod may ask of the embedded node. Anything else is named, and the pod is not started. Pure.

Accepted without effect, since programs here share one machine and one user: securityContext, resource limits,
imagePullPolicy, image pull secrets, priority, read-only mounts, container ports as isolation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = frozenset({"emptyDir", "secret", "configMap", "projected", "downwardAPI", "persistentVolumeClaim"})
PROJECTIONS = frozenset({"secret", "configMap", "downwardAPI", "serviceAccountToken"})
POD_FIELDS = (
    "readinessGates",
    "ephemeralContainers",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "resourceClaims",
    "shareProcessNamespace",
    "hostAliases",
)
CONTAINER_FIELDS = ("volumeDevices", "stdin", "tty", "restartPolicyRules")
HOOKS = frozenset({"exec", "httpGet", "sleep"})
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def unsupported(spec: Mapping[str, Any]) -> list[str]:
    """Paths in the pod's `spec` that this node cannot honour; empty if it can run the pod."""
    return [*(field for field in POD_FIELDS if spec.get(field)), *_volumes(spec), *_containers(spec)]


def _volumes(spec: Mapping[str, Any]) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if kinds - VOLUMES:
            yield f"volumes[{volume['name']}].{min(kinds - VOLUMES)}"
        for source in (volume.get("projected") or {}).get("sources") or ():
            for kind in set(source) - PROJECTIONS:
                yield f"volumes[{volume['name']}].projected.{kind}"


def _containers(spec: Mapping[str, Any]) -> Iterator[str]:
    for part in ("initContainers", "containers"):
        for container in spec.get(part) or ():
            where = f"{part}[{container['name']}]"
            yield from (f"{where}.{field}" for field in CONTAINER_FIELDS if container.get(field))
            if container.get("restartPolicy") not in (None, "Always" if part == "initContainers" else None):
                yield f"{where}.restartPolicy={container['restartPolicy']}"
            yield from (f"{where}.{probe}.grpc" for probe in PROBES if (container.get(probe) or {}).get("grpc"))
            lifecycle = container.get("lifecycle") or {}
            yield from (f"{where}.lifecycle.{field}" for field in set(lifecycle) - {"preStop"})
            if set(lifecycle.get("preStop") or {}) - HOOKS:
                yield f"{where}.lifecycle.preStop"
            if any(mount.get("subPathExpr") for mount in container.get("volumeMounts") or ()):
                yield f"{where}.volumeMounts.subPathExpr"
