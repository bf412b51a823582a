"""Reading Envoy's access log across rotations, from a position that survives kill -9. Knows no line's meaning.

Files: `access.log` (Envoy writes it) and `access.log.<number>` (renamed ones, oldest first). A position names a file by
its inode, so it holds through the rename.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Position:
    """Everything before it has been taken in."""

    inode: int
    offset: int


def log_files(path: Path) -> list[Path]:
    """The log's files that exist, oldest first."""
    rotated = [each for each in path.parent.glob(path.name + ".*") if each.suffix[1:].isdigit()]
    files = sorted(rotated, key=lambda each: int(each.suffix[1:]))
    return [*files, path] if path.exists() else files


def rotate(path: Path) -> Path:
    """Rename the log; Envoy must be told to reopen it afterwards."""
    numbers = [int(each.suffix[1:]) for each in log_files(path) if each != path]
    target = path.with_name(f"{path.name}.{max(numbers, default=0) + 1:06d}")
    path.rename(target)
    return target


def drop_read(path: Path, position: Position | None) -> list[Path]:
    """Delete the rotated files before the one of this position."""
    files = log_files(path)
    inodes = [each.stat().st_ino for each in files]
    if position is None or position.inode not in inodes:
        return []
    keep_from = inodes.index(position.inode)
    for each in files[:keep_from]:
        each.unlink()
    return files[:keep_from]


class LogReader:
    """Whole lines, in order, each once as long as the position is kept."""

    def __init__(self, path: Path, position: Position | None) -> None:
        self._path = path
        self._position = position
        self._file: BinaryIO | None = None

    @property
    def position(self) -> Position | None:
        """After the last line that was returned; None before the first reading."""
        return self._position

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, limit: int = READ_BYTES) -> bytes:
        """The next lines, about `limit` bytes; empty at the end."""
        while True:
            if self._file is None and not self._open():
                return b""
            # Note: asked before reading on. Envoy writes to the new file only after its last write to the old one.
            following = self._following()
            lines = self._lines(limit)
            if lines or following is None:
                return lines
            self.close()
            self._position = Position(following.stat().st_ino, 0)

    def _open(self) -> bool:
        files = log_files(self._path)
        if not files:
            return False
        by_inode = {each.stat().st_ino: each for each in files}
        if self._position is None or self._position.inode not in by_inode:
            self._position = Position(files[0].stat().st_ino, 0)
        self._file = by_inode[self._position.inode].open("rb")
        if self._position.offset > os.fstat(self._file.fileno()).st_size:
            # The file that was meant is gone, and its inode was given to a later one.
            self._position = Position(self._position.inode, 0)
        return True

    def _lines(self, limit: int) -> bytes:
        assert self._file is not None
        assert self._position is not None
        self._file.seek(self._position.offset)
        data = self._file.read(limit)
        whole = data[: data.rfind(b"\n") + 1]
        self._position = Position(self._position.inode, self._position.offset + len(whole))
        return whole

    def _following(self) -> Path | None:
        """The next file, once something is in it."""
        assert self._position is not None
        files = log_files(self._path)
        inodes = [each.stat().st_ino for each in files]
        # Note: a file that is not there any more was dropped for want of room, as the oldest: all others are later.
        later = files[inodes.index(self._position.inode) + 1 :] if self._position.inode in inodes else files
        return later[0] if later and later[0].stat().st_size else None
