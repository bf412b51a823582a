"""A pod's volumes as folders: what files they hold (pure) and how they get there (atomically).

It asks for Secrets and ConfigMaps through a `Lookup` and for tokens through a `TokenIssuer`; it knows no store.
Folders with files of others are replaced as the kubelet does it: `..data` is a link that is swapped, so that a reader
sees all of the old or all of the new.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insource.env import Env
from insource.local.pod_environment import Lookup, ReferenceMissingError, contents, field_value, resource_value

ROTATE_AT = 0.8
"""Part of a token's life after which it is replaced."""
DEFAULT_MODE = 0o644


@dataclass(frozen=True)
class TokenRequest:
    """What a projected token is asked for."""

    namespace: str
    service_account: str
    audience: str
    lifetime_s: int
    pod: str
    pod_uid: str


TokenIssuer = Callable[[TokenRequest], str]


@dataclass(frozen=True)
class FileContent:
    """One file of a volume."""

    data: bytes
    mode: int = DEFAULT_MODE


class PodVolumes:
    """The volumes of one pod, below one folder."""

    def __init__(self, folder: Path, claims: Path, issue: TokenIssuer, env: Env) -> None:
        """`claims` is where PersistentVolumeClaims live, `<namespace>/<name>` each."""
        self._folder = folder
        self._claims = claims
        self._issue = issue
        self._env = env
        self._tokens: dict[tuple[TokenRequest, str], tuple[str, float]] = {}
        self._written: dict[str, dict[str, FileContent]] = {}

    def bring_up_to_date(self, pod: Mapping[str, Any], lookup: Lookup) -> dict[str, Path]:
        """Write what is new or changed; returns volume name -> its folder. Safe to call at any time.

        Raises `ReferenceMissingError` for a Secret, ConfigMap, key or claim that is not there and not optional.
        """
        folders: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            folder = self._folder / name
            folders[name] = folder
            if claim := volume.get("persistentVolumeClaim"):
                folders[name] = self._claim(pod, claim["claimName"], lookup)
            elif "emptyDir" in volume:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                files = self._files(pod, volume, lookup)
                if self._written.get(name) != files:
                    replace_files(folder, files, self._env.ids.suffix(10))
                    self._written[name] = files
        return folders

    def next_rotation_s(self) -> float | None:
        """When (monotonic) the next token is to be replaced by `bring_up_to_date`."""
        return min((at for _, at in self._tokens.values()), default=None)

    def _claim(self, pod: Mapping[str, Any], name: str, lookup: Lookup) -> Path:
        if lookup("PersistentVolumeClaim", name) is None:
            raise ReferenceMissingError(f'persistentvolumeclaim "{name}" not found')
        folder: Path = self._claims / pod["metadata"]["namespace"] / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _files(self, pod: Mapping[str, Any], volume: Mapping[str, Any], lookup: Lookup) -> dict[str, FileContent]:
        for kind in ("secret", "configMap", "downwardAPI"):
            if kind in volume:
                mode = volume[kind].get("defaultMode", DEFAULT_MODE)
                return dict(_source_files(pod, kind, volume[kind], mode, lookup))
        projected = volume["projected"]
        mode = projected.get("defaultMode", DEFAULT_MODE)
        files: dict[str, FileContent] = {}
        for source in projected.get("sources") or ():
            if "serviceAccountToken" in source:
                token = source["serviceAccountToken"]
                files[token["path"]] = FileContent(self._token(pod, token).encode(), mode)
            for kind in ("secret", "configMap", "downwardAPI"):
                if kind in source:
                    files.update(_source_files(pod, kind, source[kind], mode, lookup))
        return files

    def _token(self, pod: Mapping[str, Any], source: Mapping[str, Any]) -> str:
        metadata, spec = pod["metadata"], pod["spec"]
        request = TokenRequest(
            namespace=metadata["namespace"],
            service_account=spec.get("serviceAccountName") or "default",
            audience=source.get("audience") or "",
            lifetime_s=int(source.get("expirationSeconds") or 3600),
            pod=metadata["name"],
            pod_uid=metadata["uid"],
        )
        held = self._tokens.get((request, source["path"]))
        now_s = self._env.clock.monotonic()
        if held is None or now_s >= held[1]:
            held = (self._issue(request), now_s + request.lifetime_s * ROTATE_AT)
            self._tokens[request, source["path"]] = held
        return held[0]


def _source_files(
    pod: Mapping[str, Any], kind: str, source: Mapping[str, Any], mode: int, lookup: Lookup
) -> Iterator[tuple[str, FileContent]]:
    """(path, content) of one Secret, ConfigMap or downward-API source."""
    if kind == "downwardAPI":
        for item in source.get("items") or ():
            yield item["path"], FileContent(_downward(pod, item).encode(), item.get("mode", mode))
        return
    object_kind = "Secret" if kind == "secret" else "ConfigMap"
    name = source.get("secretName") or source["name"]
    held = lookup(object_kind, name)
    if held is None:
        if source.get("optional"):
            return
        raise ReferenceMissingError(f'{object_kind.lower()} "{name}" not found')
    data = contents(held)
    if not source.get("items"):
        for key, value in data.items():
            yield key, FileContent(value, mode)
        return
    for item in source["items"]:
        if item["key"] in data:
            yield item["path"], FileContent(data[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise ReferenceMissingError(f"{object_kind.lower()} {name!r} references non-existent key: {item['key']}")


def _downward(pod: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    if "fieldRef" in item:
        return field_value(pod, item["fieldRef"]["fieldPath"])
    reference = item["resourceFieldRef"]
    every = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    container = next((c for c in every if c["name"] == reference.get("containerName")), every[0])
    return resource_value(container, reference)


def replace_files(folder: Path, files: Mapping[str, FileContent], suffix: str) -> None:
    """Make `folder` hold exactly `files` (relative paths), all at once. `suffix` names the new generation's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "..data"
    old = link.readlink() if link.is_symlink() else None
    generation = folder / f"..{suffix}"
    for path, content in files.items():
        target = generation / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise ReferenceMissingError(f'volume path "{path}" leaves its volume')
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.data)
        target.chmod(content.mode)
    generation.mkdir(parents=True, exist_ok=True)
    fresh = folder / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(generation.name)
    fresh.replace(link)
    tops = {Path(path).parts[0] for path in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(Path("..data") / top)
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None and str(old) != generation.name:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder / old)


def mounts(container: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[str, str]:
    """Mount path -> the folder (or file, with `subPath`) that stands for it."""
    found: dict[str, str] = {}
    for mount in container.get("volumeMounts") or ():
        folder = folders[mount["name"]]
        if sub := mount.get("subPath"):
            folder = folder / sub
        found[mount["mountPath"]] = str(folder)
    return found
