"""The ledger's data: one writer, several readers, one file. Everything acknowledged here is durable.

Methods are safe to call from the event loop: writes run in the writer's thread, reads in worker threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, insert, text

from insource.env import Clock
from insource.ledger import schema
from insource.ledger.database import migrate, open_readers, open_writer
from insource.ledger.ingest import ingest_records, ingest_sightings, rate_unpriced
from insource.ledger.prices import PriceTable, StoredPrice, changes
from insource.ledger.reservations import reserve
from insource.ledger.spill import SpillTotals
from insource.ledger.writer import Writer
from insource.wire.records import IngestResult, Record, ReservationAnswer, ReservationRequest, Sighting

T = TypeVar("T")

_PRICES = text("""
    SELECT id, book, vendor, model, unit, effective_from_ms, price_nano, per, minimum, increment, source
    FROM price p WHERE sequence = (SELECT max(sequence) FROM price l WHERE l.book = p.book AND l.vendor = p.vendor
        AND l.model = p.model AND l.unit = p.unit AND l.effective_from_ms = p.effective_from_ms)
""")


class Store:
    """Open with `Store.open`, end with `close`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._writing = open_writer(path)
        migrate(self._writing)
        self._reading = open_readers(path)
        self._spill = SpillTotals()
        self._prices: PriceTable | None = None
        self._writer = Writer(self._writing, on_rollback=self._forget)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, clock: Clock) -> Store:
        """Open or create the file and bring it to the present schema."""
        return await asyncio.to_thread(cls, path, clock)

    async def close(self) -> None:
        """Finish the writes that wait, then close the file."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._writing.dispose()
        self._reading.dispose()

    def now_ms(self) -> int:
        """The wall clock in milliseconds, UTC."""
        return int(self._clock.now().timestamp() * 1000)

    async def ingest(self, namespace: str, records: Sequence[Record]) -> IngestResult:
        """Write an adapter's batch; resolves once it is durable."""
        return await self._writer.write(
            lambda connection: ingest_records(
                connection,
                namespace,
                records,
                prices=self._table(connection),
                spill=self._spill,
                now_ms=self.now_ms(),
            )
        )

    async def ingest_sightings(self, sightings: Sequence[Sighting]) -> IngestResult:
        """Write a gateway's batch; resolves once it is durable."""
        return await self._writer.write(
            lambda connection: ingest_sightings(connection, sightings, now_ms=self.now_ms())
        )

    async def reserve(self, namespace: str, request: ReservationRequest) -> ReservationAnswer:
        """Decide on a spill attempt. Raises ReservationConflictError."""
        return await self._writer.write(
            lambda connection: reserve(
                connection,
                namespace,
                request,
                prices=self._table(connection),
                spill=self._spill,
                now_ms=self.now_ms(),
            )
        )

    async def record_book(self, book: str, entries: Iterable[StoredPrice]) -> int:
        """Record what a price book says now (none: it is gone), and charge what had no price. Returns new rows."""
        wanted = list(entries)
        return await self._writer.write(lambda connection: self._record_book(connection, book, wanted))

    async def books(self) -> set[str]:
        """Names of the price books that have entries in force."""
        table = await self.read(load_prices)
        return {entry.book for entry in table.entries.values() if entry.price_nano is not None}

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the writer's thread; resolves once its effects are durable."""
        return await self._writer.write(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a consistent view of the last commit, in a worker thread."""
        return await asyncio.to_thread(self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._reading.connect() as connection, connection.begin():
            return work(connection)

    def _table(self, connection: Connection) -> PriceTable:
        if self._prices is None:
            self._prices = load_prices(connection)
        return self._prices

    def _forget(self) -> None:
        self._spill.forget()
        self._prices = None

    def _record_book(self, connection: Connection, book: str, wanted: list[StoredPrice]) -> int:
        known = load_prices(connection).entries
        rows = [
            {key: value for key, value in asdict(entry).items() if key != "id"}
            | {"sequence": _next_sequence(connection, entry), "recorded_at_ms": self.now_ms()}
            for entry in changes(known, book, wanted)
        ]
        if not rows:
            return 0
        connection.execute(insert(schema.price), rows)
        self._prices = load_prices(connection)
        rate_unpriced(connection, self._prices, self._spill)
        return len(rows)


def load_prices(connection: Connection) -> PriceTable:
    """The entries that stand (withdrawn ones too, without a price), from the rows."""
    return PriceTable(StoredPrice(**row) for row in connection.execute(_PRICES).mappings())


def _next_sequence(connection: Connection, entry: StoredPrice) -> int:
    statement = text("""
        SELECT coalesce(max(sequence) + 1, 0) FROM price WHERE book = :book AND vendor = :vendor AND model = :model
            AND unit = :unit AND effective_from_ms = :effective_from_ms
    """)
    return int(connection.execute(statement, asdict(entry)).scalar_one())
