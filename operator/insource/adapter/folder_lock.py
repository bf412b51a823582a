"""One process per folder: two that write one log would cut each other's lines and delete each other's uploads.

The lock is the kernel's (`flock`): it goes with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

_NAME = "lock"


class FolderInUse(Exception):  # noqa: N818
    """Another process holds the folder; the text says which folder, who, and what to do."""


class FolderLock:
    """Held from its making until `release`, or the end of this process."""

    def __init__(self, folder: Path, holder: str) -> None:
        """Take the lock of `folder`, made if absent. Raises FolderInUse, naming the one who called itself `holder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(self._fd, 300, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(self._fd)
            raise FolderInUse(
                f"the folder {folder} is in use by {other}; two adapters must not share one log: end the other, or set "
                "INSOURCE_WAL_DIR to another folder"
            ) from None
        with contextlib.suppress(OSError):  # on a full disk nobody learns the name, and that is all
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{holder}, process {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._fd)
