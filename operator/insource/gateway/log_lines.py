"""The access log's lines, read: attempts and requests. The writing half is `render.logs`.

Every request pays for what happens here, so lines are tuples, and a whole piece of the log is parsed at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from insource.gateway.render.logs import REQUEST


class Attempt(NamedTuple):
    """One attempt. The order is that of `render.logs.FIELDS`."""

    request_id: str
    hop: str
    number: int
    """0 in a request's line: it was refused before any attempt."""
    deployment: str
    """`<namespace>/<name>`."""
    backend: str
    revision: str
    role: str
    kind: str
    vendor: str
    code: int
    flags: str
    """Response flags, comma-separated; "" for none."""
    word: str
    """The adapter's outcome header."""
    at_ms: int
    duration_ms: int
    boot: str


class Request(NamedTuple):
    """One request at its end, as the listener logged it."""

    last: Attempt
    """Its last attempt; code, flags, start and duration are the whole request's."""


Line = Attempt | Request


def parse_lines(piece: bytes) -> tuple[list[Line], int]:
    """The lines of a piece of the log (whole ones), and how many made no sense."""
    if not piece:
        return [], 0
    try:
        return [_line(document) for document in orjson.loads(b"[%b]" % piece.rstrip(b"\n").replace(b"\n", b","))], 0
    except (orjson.JSONDecodeError, *_NONSENSE):
        return _parse_each(piece)


_NONSENSE = (KeyError, ValueError, TypeError, AttributeError, IndexError)


def _parse_each(piece: bytes) -> tuple[list[Line], int]:
    """Where Envoy died in the middle of a line, its successor continues on the same line."""
    lines: list[Line] = []
    unreadable = 0
    for raw in piece.splitlines():
        start = 0
        while (end := raw.find(b"{", start + 1)) > 0:
            unreadable += not _take(raw[start:end], lines)
            start = end
        unreadable += not _take(raw[start:], lines)
    return lines, unreadable


def _take(raw: bytes, lines: list[Line]) -> bool:
    try:
        lines.append(_line(orjson.loads(raw)))
    except (orjson.JSONDecodeError, *_NONSENSE):
        return False
    return True


def _line(document: dict[str, Any]) -> Line:
    ((key, row),) = document.items()
    request_id, hop, number, deployment, backend, revision, role, kind, vendor, code, flags, word, at, ms, boot = row
    attempt = Attempt(
        request_id or "",
        hop or "",
        int(number or 0),
        deployment or "",
        backend or "",
        revision or "",
        role or "",
        kind or "",
        vendor or "",
        code or 0,
        "" if flags is None or flags == "-" else flags,
        word or "",
        int(at),
        ms or 0,
        boot,
    )
    return Request(attempt) if key == REQUEST else attempt
