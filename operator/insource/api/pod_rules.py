"""What `inHouse.pod` may not say, though its schema lets it: our own names and paths, and references to nothing.

Told as `InvalidSpec` with the field's path. Most of it is CEL in the schema, too, where a person meets it first; this
holds on every server, and for paths, which CEL cannot normalise.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from insource.api import meta
from insource.api.pod import RESERVED_ENV, RESERVED_VOLUMES, PodSettings, ServerSettings, Volume

_OWN_PREFIX = f"{meta.GROUP}/"
_OWN_VOLUMES = "insource-"
_OWN_ENV = "INSOURCE_"
_OWN_PATHS = (
    *("/tmp", "/proc", "/sys", "/var/run/secrets", "/run/secrets"),
    *("/var/cache/insource", "/var/run/insource", "/run/insource", "/var/lib/insource"),
)


def broken_pod_rule(pod: PodSettings, path: str) -> str:
    """The first rule that is broken, as `path.field: what is wrong`; empty if none is."""
    return (
        _own_keys(pod.labels, f"{path}.labels")
        or _own_keys(pod.annotations, f"{path}.annotations")
        or _volumes(pod.volumes, f"{path}.volumes")
        or (_server(pod.server, pod.volumes, f"{path}.server") if pod.server is not None else "")
    )


def _own_keys(keys: Iterable[str], path: str) -> str:
    for key in keys:
        if key.startswith(_OWN_PREFIX) or key == meta.LABEL_MANAGED_BY:
            return f'{path}: "{key}" is ours: take another name'
    return ""


def _volumes(volumes: tuple[Volume, ...], path: str) -> str:
    seen = set()
    for index, volume in enumerate(volumes):
        if volume.name in RESERVED_VOLUMES or volume.name.startswith(_OWN_VOLUMES):
            return f'{path}[{index}].name: "{volume.name}" is ours: take another name'
        if volume.name in seen:
            return f'{path}: two volumes have the name "{volume.name}": give each its own'
        seen.add(volume.name)
        sources = (volume.config_map, volume.secret, volume.persistent_volume_claim, volume.empty_dir)
        if sum(source is not None for source in sources) != 1:
            return f"{path}[{index}]: set exactly one of configMap, secret, persistentVolumeClaim, emptyDir"
    return ""


def _server(server: ServerSettings, volumes: tuple[Volume, ...], path: str) -> str:
    return _env(server, path) or _mounts(server, {volume.name for volume in volumes}, path)


def _env(server: ServerSettings, path: str) -> str:
    seen = set()
    for index, item in enumerate(server.env):
        where = f"{path}.env[{index}]"
        if item.name in RESERVED_ENV or item.name.startswith(_OWN_ENV):
            return f'{where}.name: "{item.name}" is told to the server by us: take another name'
        if item.name in seen:
            return f'{path}.env: "{item.name}" is there twice: leave one'
        seen.add(item.name)
        source = item.value_from
        if source is not None and item.value:
            return f"{where}: set either value or valueFrom"
        if source is not None and (source.config_map_key_ref is None) == (source.secret_key_ref is None):
            return f"{where}.valueFrom: set exactly one of configMapKeyRef, secretKeyRef"
    for index, many in enumerate(server.env_from):
        if (many.config_map_ref is None) == (many.secret_ref is None):
            return f"{path}.envFrom[{index}]: set exactly one of configMapRef, secretRef"
    return ""


def _mounts(server: ServerSettings, volumes: set[str], path: str) -> str:
    seen = set()
    for index, mount in enumerate(server.volume_mounts):
        where = f"{path}.volumeMounts[{index}]"
        if mount.name not in volumes:
            return f'{where}.name: there is no volume "{mount.name}" in pod.volumes: add it, or name another'
        # Two slashes at the beginning would stay, and mean the same to a container runtime as one.
        folder = posixpath.normpath(f"/{mount.mount_path.lstrip('/')}")
        if not _is_free(folder) or ".." in mount.sub_path.split("/"):
            return f'{where}: "{mount.mount_path}" cannot be mounted over: take another path, and no ".."'
        if folder in seen:
            return f'{path}.volumeMounts: two are at "{folder}": give each its own path'
        seen.add(folder)
    return ""


def _is_free(folder: str) -> bool:
    if folder in ("/", "/dev") or (folder.startswith("/dev/") and folder != "/dev/shm"):
        return False
    return not any(folder == own or folder.startswith(f"{own}/") or own.startswith(f"{folder}/") for own in _OWN_PATHS)
