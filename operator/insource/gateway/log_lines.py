"""The access log's lines, read: attempts and requests. The writing half is `render.logs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from insource.gateway.render.logs import ATTEMPT


@dataclass(frozen=True)
class Attempt:
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
    flags: frozenset[str]
    word: str
    """The adapter's outcome header."""
    at_ms: int
    duration_ms: int
    boot: str


@dataclass(frozen=True)
class Request:
    """One request at the end, as the listener logged it."""

    request_id: str
    hop: str
    deployment: str
    attempts: int
    code: int
    flags: frozenset[str]
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
        return _attempt(document) if document.get("k") == ATTEMPT else _request(document)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _attempt(line: dict[str, Any]) -> Attempt:
    return Attempt(
        request_id=line["id"],
        hop=line["hop"] or "",
        number=int(line["n"]),
        deployment=line["dep"] or "",
        backend=line["backend"] or "",
        revision=line["revision"] or "",
        role=line["role"] or "",
        kind=line["kind"] or "",
        vendor=line["vendor"] or "",
        code=int(line["code"] or 0),
        flags=_flags(line["flags"]),
        word=line["outcome"] or "",
        at_ms=int(line["at"]),
        duration_ms=int(line["ms"] or 0),
        boot=line["boot"],
    )


def _request(line: dict[str, Any]) -> Request:
    return Request(
        request_id=line["id"] or "",
        hop=line["hop"] or "",
        deployment=line["dep"] or "",
        attempts=int(line["n"] or 0),
        code=int(line["code"] or 0),
        flags=_flags(line["flags"]),
        boot=line["boot"],
    )


def _flags(text: str | None) -> frozenset[str]:
    return frozenset() if not text or text == "-" else frozenset(text.split(","))
