"""Counts the pictures in a JSON answer while it streams through: in bounded memory, without parsing the pictures.

Pure. It follows the JSON's structure, so that a key within a text is none; what it must keep is the beginning of each
picture (its file's header says its size) and the small `usage` object. It judges no numbers and no literals.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import orjson

_STRUCTURE = re.compile(rb'["{}\[\],:]')
_STRING_END = re.compile(rb'["\\]')
HEAD_BYTES = 96 * 1024
"""In which pictures say their size: JPEG behind what a camera notes, a preview among it."""
_HEAD_CHARS = 44
"""Base64 characters that hold the 30 bytes in which PNG and WebP do."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset(range(0xD0, 0xDA)) | {0x01}
_USAGE_MAX_BYTES = 16 * 1024
_DEPTH_MAX = 32
PIXELS_PER_IMAGE_TOKEN = 1024
"""1,024 image tokens for 1024x1024 pixels: MAI-Image (https://fal.ai/models/microsoft/mai-image-2.7)."""


class PictureScanner:
    """Feed it an answer of OpenAI's images API, piece by piece."""

    def __init__(self) -> None:
        self.pictures = 0
        """Begun so far: values of `b64_json` or `url` in `data`."""
        self.urls = 0
        """Of these, links."""
        self.failed = False
        """It is no JSON object."""
        self.complete = False
        """The object has ended, and nothing but white space came after it."""
        self._stack: list[bytes] = []
        self._keys: list[bytes] = []
        self._in_string = False
        self._escaped = False
        self._is_key = False
        self._keep = 0
        self._string = bytearray()
        self._heads: list[bytes] = []
        self._usage: bytearray | None = None
        self._usage_over = False

    def feed(self, chunk: bytes) -> None:
        """Take the next piece."""
        at, end = 0, len(chunk)
        usage_from = 0
        while at < end and not self.failed:
            if self._in_string:
                at = self._string_goes_on(chunk, at)
                continue
            found = _STRUCTURE.search(chunk, at)
            between = chunk[at : found.start() if found else end]
            if not self._stack and between.strip():
                self.failed = True
                return
            if found is None:
                break
            at = found.end()
            mark = chunk[found.start() : at]
            if self._usage is not None and not self._usage_over and len(self._stack) == 1 and mark in (b",", b"}"):
                self._note_usage(chunk[usage_from : found.start()])
                self._usage_over = True
            was = self._usage
            self._structure(mark)
            if was is None and self._usage is not None:
                usage_from = at
        if self._usage is not None and not self._usage_over:
            self._note_usage(chunk[usage_from:])

    @property
    def usage(self) -> Mapping[str, Any]:
        """The answer's `usage`; empty if there is none."""
        if self._usage is None or len(self._usage) > _USAGE_MAX_BYTES:
            return {}
        try:
            value = orjson.loads(bytes(self._usage))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def pixels(self, otherwise: tuple[int, int]) -> int:
        """Of all pictures together, by their own headers; one without a header that we know counts as `otherwise`."""
        known = [size_of(head) or otherwise for head in self._heads]
        known += [otherwise] * (self.pictures - len(known))
        return sum(width * height for width, height in known)

    def _note_usage(self, piece: bytes) -> None:
        assert self._usage is not None
        if len(self._usage) <= _USAGE_MAX_BYTES:
            self._usage += piece[: _USAGE_MAX_BYTES + 1]

    def _string_goes_on(self, chunk: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._keep_piece(chunk[at : at + 1])
            return at + 1
        found = _STRING_END.search(chunk, at)
        stop = found.start() if found else len(chunk)
        self._keep_piece(chunk[at : min(stop, at + self._keep)])
        if found is None:
            return stop
        if chunk[stop] == 0x5C:
            self._escaped = True
        else:
            self._end_string()
        return stop + 1

    def _keep_piece(self, piece: bytes) -> None:
        if self._keep:
            self._string += piece[: self._keep]
            self._keep -= min(len(piece), self._keep)

    def _end_string(self) -> None:
        self._in_string = False
        if self._is_key and self._keys:
            self._keys[-1] = bytes(self._string)
        elif self._is_picture:
            self._heads.append(bytes(self._string))

    @property
    def _is_picture(self) -> bool:
        return self._stack == [b"{", b"[", b"{"] and self._keys[0] == b"data" and self._keys[2] in (b"b64_json", b"url")

    def _structure(self, mark: bytes) -> None:
        if mark == b'"':
            self._begin_string()
        elif mark in (b"{", b"["):
            if self.complete or (not self._stack and mark == b"[") or len(self._stack) == _DEPTH_MAX:
                self.failed = True
                return
            self._stack.append(mark)
            self._keys.append(b"")
            self._is_key = mark == b"{"
        elif mark in (b"}", b"]"):
            if not self._stack or self._stack[-1] != (b"{" if mark == b"}" else b"["):
                self.failed = True
                return
            self._stack.pop()
            self._keys.pop()
            self._is_key = False
            self.complete = not self._stack
        elif not self._stack:
            self.failed = True
        elif mark == b",":
            self._is_key = self._stack[-1] == b"{"
        else:
            self._is_key = False
            if len(self._stack) == 1 and self._keys[0] == b"usage" and self._usage is None:
                self._usage = bytearray()

    def _begin_string(self) -> None:
        if not self._stack:
            self.failed = True
            return
        self._in_string = True
        self._string.clear()
        self._keep = _HEAD_CHARS
        if not self._is_key:
            if self._is_picture:
                self.pictures += 1
                self.urls += self._keys[2] == b"url"
            else:
                self._keep = 0


def size_of(head: bytes) -> tuple[int, int] | None:
    """As `size_told`, of the first characters of a picture in base64."""
    usable = head[: len(head) // 4 * 4]
    try:
        return size_told(base64.b64decode(usable, validate=True))
    except binascii.Error:
        return None


def size_told(start: bytes) -> tuple[int, int] | None:
    """Width and height that the first `HEAD_BYTES` of a picture tell (PNG, WebP, JPEG); None if they do not."""
    if start.startswith(b"\xff\xd8"):
        return _size_of_jpeg(start)
    if start.startswith(b"\x89PNG\r\n\x1a\n") and start[12:16] == b"IHDR" and len(start) >= 24:
        return _sides(int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big"))
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return None
    kind = start[12:16]
    if kind == b"VP8X":
        return _sides(1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little"))
    if kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return _sides(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        return _sides(int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF)
    return None


def _size_of_jpeg(start: bytes) -> tuple[int, int] | None:
    # Segments of a marker, a length and that much, until the one that begins a frame (ITU-T T.81, annex B).
    at = 2
    while at + 9 <= len(start) and start[at] == 0xFF:
        marker = start[at + 1]
        if marker in _JPEG_FRAMES:
            return _sides(int.from_bytes(start[at + 7 : at + 9], "big"), int.from_bytes(start[at + 5 : at + 7], "big"))
        if marker == 0xFF:  # may fill
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(start[at + 2 : at + 4], "big")
    return None


def _sides(width: int, height: int) -> tuple[int, int] | None:
    # Note: a header may lie; nobody draws such a picture.
    return (width, height) if 0 < width <= 65_536 and 0 < height <= 65_536 else None
