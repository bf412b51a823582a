"""A file of JSON lines that only grows: a line is whole, or it was never written. Knows nothing of what the lines say.

Lines are given to the kernel before `append` returns, and are not fsynced: a killed process loses none of them, a
machine that loses power may lose what the page cache still held.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

Line = dict[str, Any]
WriteTo = Callable[[int, "bytes | memoryview"], int]
"""(file descriptor, data) -> how many bytes were written, as `os.write`."""


class DamagedDataError(Exception):
    """A file is not what this program wrote; the text names file and line, and says what to do."""


class Journal:
    """One file, open for appending. `write` is `os.write`, or what a test puts in its place."""

    def __init__(self, path: Path, write: WriteTo = os.write) -> None:
        self.path = path
        self._write = write
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._good_bytes = os.fstat(self._handle).st_size
        self._torn = False

    def append(self, line: bytes) -> None:
        """Adds `line`, which ends with a line feed. Raises OSError; the file is then as it was before."""
        self._mend()
        try:
            rest = memoryview(line)
            while rest:
                # Note: a write that fills the disk is short first, and fails only when tried again.
                rest = rest[self._write(self._handle, rest) :]
        except OSError:
            self._torn = True
            self._mend()
            raise
        self._good_bytes += len(line)

    def cut(self, length: int) -> None:
        """Forgets everything after the first `length` bytes. Raises OSError."""
        os.ftruncate(self._handle, length)
        self._good_bytes = length
        self._torn = False

    def close(self) -> None:
        os.close(self._handle)

    def _mend(self) -> None:
        """A line that was begun goes; where that fails, nothing may be written after it."""
        if self._torn:
            self.cut(self._good_bytes)


def whole_lines(path: Path, *, torn_end: str) -> Iterator[tuple[Line, int]]:
    """Each line with the bytes up to its end; nothing for a file that does not exist.

    A last line without its line feed was never acknowledged: `torn_end` is "dropped" where a kill may leave one, and
    "damage" where none can be. Raises DamagedDataError.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    end = 0
    with file:
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n") and torn_end == "dropped":
                return
            try:
                line = orjson.loads(text)
                if not text.endswith(b"\n") or not isinstance(line, dict):
                    raise ValueError("it is not a whole JSON object")
            except ValueError as error:
                raise damaged(path, number, str(error)) from error
            end += len(text)
            yield line, end


def damaged(path: Path, number: int, why: str) -> DamagedDataError:
    """The error for line `number` (from 1) of `path`."""
    return DamagedDataError(
        f"{path}, line {number} is damaged: {why}. Nothing was changed. Bring the file back from a copy; or keep what "
        f"comes before that line: `head -n {number - 1} {path} > {path}.cut && mv {path}.cut {path}`; or remove "
        f"{path.parent} to start with an empty cluster"
    )
