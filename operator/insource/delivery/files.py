"""Files on the volume: the part that is being downloaded, its note, and how it becomes the file. No network here.

A file is there whole or not at all: bytes go to `<name>.part`, which takes the file's name only when it has been
checked and is on the disk. `<name>.part.note` says of what the part is one, so that it is never continued with another
file's bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from insource.delivery.problems import DeliveryError

PART = ".part"
RESERVED = (".lock",)
"""Names that no file of a model can have."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def alone(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Nobody else downloads into `folder` in the block: replicas may share a volume. `wait` is called between tries."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                wait()
            except OSError as error:
                raise DeliveryError(f"{folder}: its volume cannot lock files ({error.strerror})") from error
        yield


class Part:
    """`<name>.part` of one file: what has come of it so far. `size` bytes, whose digest so far is `sha256`."""

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self._path = target.with_name(target.name + PART)
        self._note = target.with_name(target.name + PART + ".note")
        self._source = hashlib.sha256(url.encode()).hexdigest()
        self.size = 0
        self.validator = ""
        self.sha256 = hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        self._take_up()

    def _take_up(self) -> None:
        """Go on with what an earlier run left, if it is of this very file."""
        try:
            note = json.loads(self._note.read_text())
            is_ours = note["source"] == self._source
            validator = str(note["validator"])
            if not is_ours:
                return
            with self._path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256")
                self.size = file.tell()
            self.validator = validator
        except (OSError, ValueError, KeyError, TypeError):
            self.size, self.validator, self.sha256 = 0, "", hashlib.sha256()

    def begin(self, start: int, validator: str) -> IO[bytes]:
        """The part, open for what comes from `start` on (0: anew; else where it ends)."""
        if start == 0:
            self.size, self.sha256 = 0, hashlib.sha256()
        self.validator = validator
        self._note.write_text(json.dumps({"source": self._source, "validator": validator}))
        return self._path.open("wb" if start == 0 else "ab", buffering=0)

    def add(self, file: IO[bytes], data: bytes) -> None:
        """Write bytes that have come."""
        view = memoryview(data)
        while view:
            written = file.write(view)
            self.sha256.update(view[:written])
            self.size += written
            view = view[written:]

    def finish(self) -> None:
        """The part becomes the file, on the disk for good."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        self._path.replace(self.target)
        self._note.unlink(missing_ok=True)
        folder = os.open(self.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Nothing of it stays."""
        for path in (self._path, self._note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self.size, self.validator, self.sha256 = 0, "", hashlib.sha256()


def digest_of(path: Path) -> str:
    """Hex SHA-256 of a file; empty if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return ""


def stored(path: Path, size: int | None) -> bool:
    """Whether a file is there, and as long as it has to be."""
    return path.is_file() and (size is None or path.stat().st_size == size)


def check_room(target: Path, missing: int) -> None:
    """Raises `DeliveryError` if the volume has not so many bytes left."""
    free = shutil.disk_usage(target.parent).free
    if missing > free:
        raise DeliveryError(no_room(target, missing))


def is_full(error: OSError) -> bool:
    """Whether an error says that the volume has no room left."""
    return error.errno in _FULL


def no_room(target: Path, missing: int | None) -> str:
    """What is said then."""
    free = shutil.disk_usage(target.parent).free
    needs = f"{sized(missing)} more are needed" if missing is not None else "its size is not known"
    return (
        f"{target.name}: no room on the volume of {target.parent}: {needs}, {sized(free)} are free; "
        "give the nodes (or the namespace's quota of ephemeral storage) more, or choose a smaller model"
    )


def sized(count: int) -> str:
    """Bytes for people."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
