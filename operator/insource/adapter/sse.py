"""Server-sent events from a backend: bytes in, JSON objects out, as soon as each is whole."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import orjson

EVENT_MAX_BYTES = 1 << 20


async def events(chunks: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield each event's JSON object. Raises ValueError for anything that is not one, or is above 1 MiB."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk.replace(b"\r", b"")
        while (end := pending.find(b"\n\n")) >= 0:
            event = _data(bytes(pending[:end]))
            del pending[: end + 2]
            if event is not None:
                yield event
        if len(pending) > EVENT_MAX_BYTES:
            raise ValueError("an event is larger than 1 MiB")


def _data(block: bytes) -> dict[str, Any] | None:
    data = b"\n".join(line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:"))
    if not data or data == b"[DONE]":
        return None
    event = orjson.loads(data)
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ValueError("an event without a type")
    return event
