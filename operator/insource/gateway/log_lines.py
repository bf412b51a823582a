"""The access log's lines, read: attempts and requests. The writing half is `render.logs`.

Every request pays for what happens here, so lines are tuples, and texts stay texts until somebody needs a number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from insource.gateway.render.logs import ATTEMPT


class Attempt(NamedTuple):
    """One attempt, as the router logged it."""

    request_id: str
    hop: str
    number: int
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
    """One request at the end, as the listener logged it."""

    request_id: str
    hop: str
    deployment: str
    attempts: int
    code: int
    flags: str
    boot: str


def parse_line(line: bytes) -> Attempt | Request | None:
    """One line; None for what is none of ours.

    Note: where Envoy died in the middle of a line, its successor continues on the same line.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        start = line.rfind(b"{")
        if start <= 0:
            return None
        try:
            document = orjson.loads(line[start:])
        except orjson.JSONDecodeError:
            return None
    try:
        return _attempt(document) if document["k"] == ATTEMPT else _request(document)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _attempt(line: dict[str, Any]) -> Attempt:
    flags = line["flags"]
    return Attempt(
        line["id"],
        line["hop"] or "",
        int(line["n"]),
        line["dep"] or "",
        line["backend"] or "",
        line["revision"] or "",
        line["role"] or "",
        line["kind"] or "",
        line["vendor"] or "",
        line["code"] or 0,
        "" if flags is None or flags == "-" else flags,
        line["outcome"] or "",
        int(line["at"]),
        line["ms"] or 0,
        line["boot"],
    )


def _request(line: dict[str, Any]) -> Request:
    flags = line["flags"]
    return Request(
        line["id"] or "",
        line["hop"] or "",
        line["dep"] or "",
        line["n"] or 0,
        line["code"] or 0,
        "" if flags is None or flags == "-" else flags,
        line["boot"],
    )
