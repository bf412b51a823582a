"""The body of one held request: in memory while it is small, beyond that in an unnamed file. Gone when closed."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

MEMORY_BYTES = 64 << 10
"""Of one body. As many as may be under way at once must fit into the agent's memory beside all else."""
CHUNK_BYTES = 256 << 10


class SpoolFull(Exception):  # noqa: N818 it is a state, not a fault
    """All held bodies together are larger than allowed."""


class SpoolBudget:
    """Bytes that all held bodies together may take."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.used = 0

    def take(self, count: int) -> None:
        """Raises SpoolFull."""
        if self.used + count > self._limit:
            raise SpoolFull
        self.used += count

    def give(self, count: int) -> None:
        self.used -= count


class Spool:
    """A body that can be read any number of times."""

    def __init__(self, folder: Path, budget: SpoolBudget) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self._budget = budget
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises SpoolFull."""
        self._budget.take(len(chunk))
        self.size += len(chunk)
        self._file.write(chunk)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The whole body from its start."""
        offset = 0
        while offset < self.size:
            self._file.seek(offset)
            chunk = self._file.read(CHUNK_BYTES)
            offset += len(chunk)
            yield chunk

    def close(self) -> None:
        """Forget the body."""
        self._budget.give(self.size)
        self.size = 0
        self._file.close()
