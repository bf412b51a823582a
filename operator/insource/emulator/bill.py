"""The vendor's meter and bill: one line per billed request, on disk before the answer is sent.

A line has an item for each unit that it was billed in. Lines that are waiting share one fsync. After a crash the file
is read back; a torn last line was never answered, and is cut off. Money is integer nano-dollars.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from insource.emulator.models import Model

NANO = 1_000_000_000


@dataclass(frozen=True)
class Item:
    """One unit of a line: `quantity` at `price_nano_usd` for each `per`."""

    unit: str
    quantity: int
    price_nano_usd: int
    per: int
    nano_usd: int
    """What it comes to: rounded once, half to even."""


@dataclass(frozen=True)
class Line:
    """One billed request."""

    id: str
    """Ours: the answer's request id."""
    model: str
    seconds: int
    """Audio that was heard, rounded up to whole seconds; 0 where none was."""
    nano_usd: int
    """The sum of the items."""
    client_request_id: str = ""
    """The caller's `X-Client-Request-Id` or `x-ms-client-request-id`."""
    caller_request_id: str = ""
    """The caller's `x-request-id`."""
    at: str = ""
    path: str = ""
    items: tuple[Item, ...] = ()


def itemise(model: Model, quantities: Mapping[str, int]) -> tuple[Item, ...]:
    """Each quantity at the model's price for it. Raises `KeyError` for a unit without one: nothing is sold at 0."""
    return tuple(
        Item(unit, quantity, price.nano_usd, price.per, price.of(quantity))
        for unit, quantity in quantities.items()
        for price in [model.prices[unit]]
    )


class Bill:
    """The append-only file `bill.jsonl` of a folder, and what it adds up to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "bill.jsonl"
        self.lines = _recover(self._path)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._waiting: list[tuple[Line, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, line: Line) -> None:
        """Return when `line` is on disk. Raises `OSError`."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    def report(self) -> dict[str, Any]:
        """Body of `GET /emulator/meter`."""
        units: Counter[str] = Counter()
        for line in self.lines:
            for item in line.items:
                units[item.unit] += item.quantity
        return {
            "requests": len(self.lines),
            "seconds": sum(line.seconds for line in self.lines),
            "units": dict(units),
            "bill_usd": usd(sum(line.nano_usd for line in self.lines)),
            "lines": [{**asdict(line), "usd": usd(line.nano_usd)} for line in self.lines],
        }

    async def close(self) -> None:
        """Finish what is being written."""
        if self._writer is not None:
            await self._writer
        os.close(self._fd)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._append, [line for line, _ in batch])
            except OSError as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
                continue
            self.lines += [line for line, _ in batch]
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    def _append(self, lines: list[Line]) -> None:
        text = "".join(json.dumps(asdict(line), separators=(",", ":")) + "\n" for line in lines)
        remaining = memoryview(text.encode())
        while remaining:
            remaining = remaining[os.write(self._fd, remaining) :]
        os.fsync(self._fd)


def usd(nano: int) -> str:
    """Nano-dollars as decimal text in dollars."""
    return f"{Decimal(nano) / NANO:f}"


def _recover(path: Path) -> list[Line]:
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        os.truncate(path, len(whole))
    return [_line(json.loads(text)) for text in whole.splitlines()]


def _line(found: dict[str, Any]) -> Line:
    return Line(**{**found, "items": tuple(Item(**item) for item in found.get("items", ()))})
