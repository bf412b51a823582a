"""What a container's program is started with: variables, volumes, words, folder; and programs run inside a container.

Keeps no state of its own; what goes wrong is told and raised, what follows from it the pod's runner decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from insource.env import Env
from insource.local import processes
from insource.local.images import ImageTable, UnknownImageError
from insource.local.object_events import EventRecorder
from insource.local.objects import Object
from insource.local.pod_environment import ReferenceMissingError, environment, expand, rewrite_paths
from insource.local.pod_lifecycle import BackOff
from insource.local.probes import Verdict
from insource.local.volumes import PodVolumes, TokenIssuer, mounts

CONFIG_RETRY_S = 1.0
"""A pod that waits for a Secret or ConfigMap is woken when one changes; this is for what nobody announces."""
NEVER_RETRY_S = 1e9
HOOK_OUTPUT_BYTES = 4096
LONGEST_MESSAGE = 4096
"""Bytes of a termination message that are told, as with the kubelet."""


@dataclass(frozen=True)
class Surroundings:
    """What the node gives each of its pods."""

    env: Env
    pods_folder: Path
    claims_folder: Path
    images: ImageTable
    host_ip: str
    session: aiohttp.ClientSession
    events: EventRecorder
    lookup: Callable[[str, str, str], Mapping[str, Any] | None]
    """(kind, namespace, name) -> Secret, ConfigMap or PersistentVolumeClaim, or None."""
    issue: TokenIssuer
    write_status: Callable[[Object, Object], None]
    """(pod, status); does nothing if the pod is gone."""
    remove: Callable[[Object], None]
    """The pod has ended and may leave the API."""
    back_off: BackOff = field(default_factory=BackOff)


@dataclass(frozen=True)
class Launch:
    """What a container's program is started with."""

    argv: list[str]
    variables: dict[str, str]
    folder: Path
    paths: Mapping[str, str]
    """Mount path -> what stands for it."""


def message_path(spec: Mapping[str, Any]) -> str:
    """Where a container's program may leave its last words."""
    return str(spec.get("terminationMessagePath") or "/dev/termination-log")


def forget_words(folder: Path, name: str) -> None:
    """Each run of a program begins with no last words. Raises OSError."""
    message = folder / "messages" / name
    message.parent.mkdir(parents=True, exist_ok=True)
    message.write_bytes(b"")


def last_words(folder: Path, name: str) -> str:
    """What a container's program left there; empty: nothing."""
    try:
        return (folder / "messages" / name).read_bytes()[:LONGEST_MESSAGE].decode("utf-8", "replace")
    except OSError:
        return ""


class NotStartableError(Exception):
    """A container cannot be started now."""

    def __init__(self, reason: str, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_s = retry_s


class Launcher:
    """Prepares the programs of one pod's containers. `tell`: (pod, reason, message) of a Warning event."""

    def __init__(
        self,
        folder: Path,
        address: str,
        specs: Mapping[str, Mapping[str, Any]],
        volumes: PodVolumes,
        surroundings: Surroundings,
        tell: Callable[[Object, str, str], None],
    ) -> None:
        self._folder = folder
        self._address = address
        self._specs = specs
        self._volumes = volumes
        self._around = surroundings
        self._tell = tell

    def placed(self, pod: Object) -> Object:
        """The pod with the addresses that its fields may refer to."""
        return {**pod, "status": {"podIP": self._address, "hostIP": self._around.host_ip}}

    def lookup(self, pod: Object) -> Callable[[str, str], Mapping[str, Any] | None]:
        """(kind, name) -> what the pod's namespace holds."""
        return lambda kind, name: self._around.lookup(kind, pod["metadata"]["namespace"], name)

    def refresh(self, pod: Object) -> bool:
        """Brings the volumes of running containers up to date; returns whether all of them are. Raises OSError."""
        pod = self.placed(pod)
        try:
            self._volumes.bring_up_to_date(pod, self.lookup(pod))
        except ReferenceMissingError:
            return False  # what a running container was given and is gone now stays as it was, as with the kubelet
        return True

    def prepare(self, pod: Object, name: str) -> Launch:
        """What the container's program is started with. Raises `NotStartableError`, having told of it."""
        try:
            return self._prepared(pod, name)
        except OSError as error:
            message = f"{error.filename or self._folder}: {error.strerror or error}"
            self._tell(pod, "Failed", f"Error: {message}")
            raise NotStartableError("CreateContainerError", message, CONFIG_RETRY_S) from error

    def _prepared(self, pod: Object, name: str) -> Launch:
        spec = self._specs[name]
        pod = self.placed(pod)
        lookup = self.lookup(pod)
        try:
            folders = self._volumes.bring_up_to_date(pod, lookup)
        except ReferenceMissingError as error:
            self._tell(pod, "FailedMount", f"MountVolume.SetUp failed: {error}")
            raise NotStartableError("ContainerCreating", str(error), CONFIG_RETRY_S) from error
        try:
            variables = environment(pod, spec, lookup)
        except ReferenceMissingError as error:
            self._tell(pod, "Failed", f"Error: {error}")
            raise NotStartableError("CreateContainerConfigError", str(error), CONFIG_RETRY_S) from error
        paths = {**mounts(spec, folders), message_path(spec): str(self._folder / "messages" / name)}
        command = [rewrite_paths(expand(word, variables), paths) for word in spec.get("command") or ()]
        arguments = [rewrite_paths(expand(word, variables), paths) for word in spec.get("args") or ()]
        try:
            argv = self._around.images.argv(spec["image"], command, arguments)
        except UnknownImageError as error:
            self._tell(pod, "Failed", f'Failed to pull image "{spec["image"]}": {error}')
            raise NotStartableError("ErrImagePull", str(error), NEVER_RETRY_S) from error
        work = self._folder / "work" / name
        if directory := spec.get("workingDir"):
            rewritten = rewrite_paths(directory, paths)
            work = Path(rewritten) if rewritten != directory or Path(directory).is_dir() else work
        work.mkdir(parents=True, exist_ok=True)
        return Launch(
            # Note: only the container's own words were rewritten. The interpreter is this machine's, and may itself
            # lie below a path that a volume is mounted at, such as /tmp.
            argv=argv,
            variables={
                "HOSTNAME": pod["metadata"]["name"],
                "PYTHONUNBUFFERED": "1",
                **{key: rewrite_paths(value, paths) for key, value in variables.items()},
                processes.MARK: pod["metadata"]["uid"],
            },
            folder=work,
            paths=paths,
        )

    async def run_inside(self, pod: Object, name: str, command: Sequence[str], timeout_s: float) -> Verdict:
        """Run a program as if in the container: its variables, its paths."""
        try:
            launch = self.prepare(pod, name)
        except NotStartableError as error:
            return Verdict(ok=False, message=str(error))
        output = _Kept()
        words = [rewrite_paths(word, launch.paths) for word in command]
        try:
            program = await processes.start(words, environment=launch.variables, folder=launch.folder, output=output)
        except OSError as error:
            return Verdict(ok=False, message=f"{command[0]}: {error.strerror or error}")
        try:
            async with asyncio.timeout(timeout_s):
                ended = await program.wait()
        except TimeoutError:
            return Verdict(ok=False, message=f"command {command!r} timed out after {timeout_s:g} s")
        finally:
            program.kill()
            await program.wait()
        return Verdict(ok=ended.code == 0, message=output.text())


class _Kept:
    """The first few kilobytes of a short program's output."""

    def __init__(self) -> None:
        self._data = b""

    def write(self, data: bytes) -> None:
        self._data = (self._data + data)[:HOOK_OUTPUT_BYTES]

    def close(self) -> None:
        """Nothing to close."""

    def text(self) -> str:
        return self._data.decode("utf-8", "replace").strip()
