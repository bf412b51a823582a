"""Sightings on their way to the ledger: lines in segment files, written by one side and shipped by the other.

What the log's reader has written counts only up to the mark that it commits with its own position: after kill -9 it
cuts off the rest and writes it again. So no sighting is lost, and none is made twice. Knows no line's meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SEGMENT_BYTES = 8 << 20
_SUFFIX = ".jsonl"


@dataclass(frozen=True, order=True)
class Mark:
    """A place in the outbox."""

    segment: int
    offset: int


class Outbox:
    """One folder, one process."""

    def __init__(self, folder: Path, committed: Mark | None, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open it as it was at `committed`; None: nothing in it counts."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = sorted(int(each.stem) for each in folder.glob(f"*{_SUFFIX}") if each.stem.isdigit())
        if committed is None or committed.segment not in found:
            committed = Mark(max(found, default=0) + 1, 0)
            kept = []
        else:
            # Segments are made one after the other, so those before the last one are whole.
            kept = [number for number in found if number <= committed.segment]
        for number in set(found).difference(kept):
            self._path(number).unlink()
        self._segments = kept or [committed.segment]
        self._file = self._open(committed.segment)
        self._file.truncate(committed.offset)
        self.end = committed
        """After the last line that was written."""

    def append(self, lines: list[bytes]) -> None:
        """Write lines, each without its end."""
        if not lines:
            return
        if self.end.offset >= self._segment_bytes:
            self._file.close()
            self.end = Mark(self.end.segment + 1, 0)
            self._segments.append(self.end.segment)
            self._file = self._open(self.end.segment)
        piece = b"\n".join(lines) + b"\n"
        if self._file.write(piece) != len(piece):
            self._file.truncate(self.end.offset)
            raise OSError(f"no room for sightings in {self._folder}")
        self.end = Mark(self.end.segment, self.end.offset + len(piece))

    def read(self, after: Mark | None, until: Mark, most: int) -> tuple[list[bytes], Mark]:
        """Up to `most` lines between two marks, and the mark after them; none if there are none."""
        for number in self._segments:
            if number > until.segment:
                break
            start = after.offset if after is not None and after.segment == number else 0
            if after is not None and number < after.segment:
                continue
            end = until.offset if number == until.segment else self._path(number).stat().st_size
            if start < end:
                lines, used = self._lines(number, start, end, most)
                return lines, Mark(number, start + used)
        return [], after or Mark(self._segments[0], 0)

    def drop_before(self, mark: Mark) -> None:
        """Delete the segments that were shipped whole."""
        while self._segments[0] < mark.segment and len(self._segments) > 1:
            self.drop_oldest()

    def drop_oldest(self) -> int:
        """Delete the oldest segment, unless it is the only one; the bytes that it had."""
        if len(self._segments) == 1:
            return 0
        path = self._path(self._segments.pop(0))
        size = path.stat().st_size
        path.unlink()
        return size

    def size_bytes(self) -> int:
        """On disk."""
        return sum(self._path(number).stat().st_size for number in self._segments)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _lines(self, number: int, start: int, end: int, most: int) -> tuple[list[bytes], int]:
        lines: list[bytes] = []
        used = 0
        with self._path(number).open("rb") as file:
            file.seek(start)
            for line in file:
                if len(lines) == most or used + len(line) > end - start:
                    break
                lines.append(line[:-1])
                used += len(line)
        return lines, used

    def _open(self, number: int) -> BinaryIO:
        return self._path(number).open("ab", buffering=0)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}{_SUFFIX}"
