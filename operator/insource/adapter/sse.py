"""Server-sent events from a backend: bytes in, each event's data out as soon as it is whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any

import orjson

EVENT_MAX_BYTES = 1 << 20
DONE = b"[DONE]"


async def payloads(chunks: AsyncIterable[bytes], most: int = EVENT_MAX_BYTES) -> AsyncGenerator[bytes]:
    """Yield each event's data. Raises ValueError for an event above `most` bytes."""
    pending = bytearray()
    async for chunk in chunks:
        looked = max(0, len(pending) - 1)
        pending += chunk.replace(b"\r", b"")
        while (end := pending.find(b"\n\n", looked)) >= 0:
            data = _data(bytes(pending[:end]))
            del pending[: end + 2]
            looked = 0
            if data:
                yield data
        if len(pending) > most:
            raise ValueError(f"an event is larger than {most >> 20} MiB")


async def objects(chunks: AsyncIterable[bytes], most: int = EVENT_MAX_BYTES) -> AsyncGenerator[dict[str, Any] | None]:
    """Yield each event's JSON object, None for `[DONE]`. Raises ValueError for anything else."""
    async for data in payloads(chunks, most):
        if data == DONE:
            yield None
            continue
        event = orjson.loads(data)
        if not isinstance(event, dict):
            raise ValueError("an event that is no object")
        yield event


async def events(chunks: AsyncIterable[bytes], most: int = EVENT_MAX_BYTES) -> AsyncIterator[dict[str, Any]]:
    """Yield each event's JSON object, which has a `type`. Raises ValueError for anything that has none."""
    async for event in objects(chunks, most):
        if event is None:
            continue
        if not isinstance(event.get("type"), str):
            raise ValueError("an event without a type")
        yield event


def event_of(body: Any) -> bytes:
    """One event with this JSON as its data."""
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _data(block: bytes) -> bytes:
    return b"\n".join(line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:"))
