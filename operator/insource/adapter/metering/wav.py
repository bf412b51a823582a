"""WAV sizes: a RIFF header may claim any length, whether by a streaming writer or a lie.

Most decoders stop where the header says. So a spooled copy is put right before anybody reads it: then what is metered
is also what is transcribed.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

_MAX_CHUNKS = 1000


def correct_sizes(path: Path) -> None:
    """Write true sizes into the WAV file at `path`; leave anything else, and honest files, as they are."""
    with path.open("r+b") as file:
        correct(file, os.fstat(file.fileno()).st_size)


def correct(file: BinaryIO, length: int) -> bool:
    """The same for an open file of `length` bytes, positioned at its start; whether it was changed."""
    if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
        return False
    data_at = _find_data(file, length)
    if data_at is None:
        return False
    declared = _size_at(file, data_at)
    present = length - data_at - 8
    if declared <= present and _walks_to_end(file, data_at + 8 + declared + declared % 2, length):
        return False
    _write_size(file, data_at + 4, present)
    _write_size(file, 4, length - 8)
    return True


def _find_data(file: BinaryIO, length: int) -> int | None:
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > length:
            return None
        file.seek(at)
        if file.read(4) == b"data":
            return at
        size = _size_at(file, at)
        at += 8 + size + size % 2
    return None


def _walks_to_end(file: BinaryIO, at: int, length: int) -> bool:
    """Whether only well-formed chunks lie between `at` and the end: then the declared size was true."""
    for _ in range(_MAX_CHUNKS):
        if length - 1 <= at <= length + 1:
            return True
        if at + 8 > length:
            return False
        file.seek(at)
        if not all(32 <= byte < 127 for byte in file.read(4)):
            return False
        size = _size_at(file, at)
        at += 8 + size + size % 2
    return False


def _size_at(file: BinaryIO, chunk: int) -> int:
    file.seek(chunk + 4)
    (size,) = struct.unpack("<I", file.read(4))
    return int(size)


def _write_size(file: BinaryIO, at: int, size: int) -> None:
    file.seek(at)
    file.write(struct.pack("<I", min(size, 0xFFFFFFFF)))
