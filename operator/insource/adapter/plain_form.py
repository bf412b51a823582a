"""A whole multipart form in memory, split at once: the plain shape that HTTP libraries and SDKs send.

Pure. Whatever is unusual in any way gives None and is left to aiohttp's reader, so that both always say the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=?-]{1,70}")
_DISPOSITION = re.compile(
    rb'(?i:content-disposition): form-data; name="([A-Za-z0-9_\[\]-]{1,100})"'
    rb'(?:; filename="((?:[A-Za-z0-9_.()+-][A-Za-z0-9 _.()+-]{0,200})?)")?'
)
_TYPE = re.compile(
    rb"(?i:content-type): ?(?!multipart)[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,60}(?:;[ -~]*)?"
)
_HEAD_MAX_BYTES = 1024
_MAX_PARTS = 128


@dataclass(frozen=True)
class Part:
    """One field of the form; `filename` is None where none was sent."""

    name: str
    filename: str | None
    content: bytes


def split(body: bytes, boundary: str) -> list[Part] | None:
    """The parts of `body`; None if it is malformed or anything but plain."""
    if not _PLAIN_BOUNDARY.fullmatch(boundary):
        return None
    mark = b"\r\n--" + boundary.encode()
    if not body.startswith(mark[2:] + b"\r\n"):
        return None
    at = len(mark)
    parts: list[Part] = []
    while len(parts) < _MAX_PARTS:
        content_at = body.find(b"\r\n\r\n", at, at + _HEAD_MAX_BYTES)
        if content_at < 0:
            return None
        end = body.find(mark, content_at + 2)
        if end < content_at + 4:
            return None
        part = _part(body[at:content_at], body[content_at + 4 : end])
        if part is None:
            return None
        parts.append(part)
        at = end + len(mark) + 2
        after = body[at - 2 : at]
        if after == b"--":
            return parts if body[at:] in (b"", b"\r\n") else None
        if after != b"\r\n":
            return None
    return None


def _part(head: bytes, content: bytes) -> Part | None:
    found: re.Match[bytes] | None = None
    typed = False
    for line in head.split(b"\r\n"):
        if found is None and (match := _DISPOSITION.fullmatch(line)):
            found = match
        elif not typed and _TYPE.fullmatch(line):
            typed = True
        else:
            return None
    if found is None or found[1] == b"_charset_":
        return None
    return Part(found[1].decode(), None if found[2] is None else found[2].decode(), content)
