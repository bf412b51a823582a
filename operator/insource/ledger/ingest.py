"""What happens to a batch inside one transaction: duplicates, conflicts, new rows, their charges.

The state after any order and any repetition of the same records is the same: the first payload of an identity
stands, and a real end stands over one that is only `unknown`. Used only in the writer's thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel
from sqlalchemy import Connection, Table, insert, text

from insource.ledger import schema
from insource.ledger.prices import PriceTable
from insource.ledger.rating import Charge, price_quantity, rate, total_nano
from insource.ledger.spill import SpillKey, SpillTotals, utc_day
from insource.wire.records import AttemptEnded, AttemptStarted, IngestResult, Quantity, Record, Sighting
from insource.wire.vocabulary import Outcome, Role, Unit, UsageSource

END = "end"
QUANTITY = "quantity"

_IDS = "AND attempt_id IN (SELECT value FROM json_each(:ids))"
_ATTEMPTS = text(f"SELECT * FROM attempt WHERE namespace = :namespace {_IDS}")
_ENDS = text(f"SELECT * FROM usage WHERE namespace = :namespace {_IDS}")
_SIGHTINGS = text(f"SELECT namespace, attempt_id, digest FROM sighting WHERE namespace = :namespace {_IDS}")
_RESERVATIONS = text(f"SELECT * FROM reservation WHERE namespace = :namespace {_IDS}")


@dataclass
class Tally:
    """What became of the records of one batch."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: list[str] = field(default_factory=list)

    def result(self) -> IngestResult:
        return IngestResult(accepted=self.accepted, duplicates=self.duplicates, conflicts=tuple(self.conflicts))


def digest_of(record: BaseModel) -> bytes:
    """What two payloads are compared by. Defaults are left out, so that a new optional field changes no old digest."""
    return hashlib.blake2b(record.model_dump_json(exclude_defaults=True).encode(), digest_size=16).digest()


def ingest_records(
    connection: Connection,
    namespace: str,
    records: Iterable[Record],
    *,
    prices: PriceTable,
    spill: SpillTotals,
    now_ms: int,
) -> IngestResult:
    """Write a batch of an adapter of `namespace`, and the charges that it makes possible."""
    batch = _Batch(connection, namespace, tuple(records), now_ms)
    for record in batch.records:
        if isinstance(record, AttemptStarted):
            batch.take_start(record)
        else:
            batch.take_end(record)
    batch.write()
    _charge(connection, namespace, batch.newly_complete(), prices, spill)
    return batch.tally.result()


class _Batch:
    """The known and the new rows of one batch's attempts."""

    def __init__(self, connection: Connection, namespace: str, records: tuple[Record, ...], now_ms: int) -> None:
        self.records = records
        self.tally = Tally()
        self._connection = connection
        self._namespace = namespace
        self._now_ms = now_ms
        where = {"namespace": namespace, "ids": orjson.dumps(list({r.attempt_id for r in records})).decode()}
        self._start_digests: dict[str, bytes] = {}
        self._starts: dict[str, AttemptStarted] = {}
        for row in connection.execute(_ATTEMPTS, where).mappings():
            self._start_digests[row["attempt_id"]] = row["digest"]
            self._starts[row["attempt_id"]] = start_of(dict(row))
        self._end_digests: dict[tuple[str, int], bytes] = {}
        stored: dict[str, list[Mapping[str, Any]]] = {}
        for row in connection.execute(_ENDS, where).mappings():
            if row["kind"] == END:
                self._end_digests[row["attempt_id"], row["sequence"]] = row["digest"]
            stored.setdefault(row["attempt_id"], []).append(dict(row))
        self._ends = {attempt_id: end for attempt_id, rows in stored.items() if (end := real_end(attempt_id, rows))}
        self._complete_before = self._starts.keys() & self._ends.keys()
        self._new_starts: list[dict[str, Any]] = []
        self._new_usage: list[dict[str, Any]] = []
        self._new_conflicts: list[dict[str, Any]] = []

    def take_start(self, record: AttemptStarted) -> None:
        digest = digest_of(record)
        known = self._start_digests.get(record.attempt_id)
        if known is not None:
            self._repeated(record.attempt_id, record.kind, known, digest)
            return
        self._start_digests[record.attempt_id] = digest
        self._starts[record.attempt_id] = record
        row = record.model_dump(mode="json", exclude={"kind"})
        self._new_starts.append(row | {"namespace": self._namespace, "digest": digest})
        self.tally.accepted += 1

    def take_end(self, record: AttemptEnded) -> None:
        digest = digest_of(record)
        real = record.outcome is not Outcome.UNKNOWN
        sequence = schema.REAL_SEQUENCE if real else schema.UNKNOWN_SEQUENCE
        known = self._end_digests.get((record.attempt_id, sequence))
        if known is not None:
            self._repeated(record.attempt_id, record.kind, known, digest)
            return
        self._end_digests[record.attempt_id, sequence] = digest
        if real:
            self._ends[record.attempt_id] = record
        self._new_usage.extend(_usage_rows(self._namespace, record, sequence, digest))
        self.tally.accepted += 1

    def write(self) -> None:
        _insert(self._connection, schema.attempt, self._new_starts)
        _insert(self._connection, schema.usage, self._new_usage)
        _insert_conflicts(self._connection, self._new_conflicts)

    def newly_complete(self) -> list[tuple[AttemptStarted, AttemptEnded]]:
        """Attempts whose start and real end are both here now, and were not before."""
        complete = (self._starts.keys() & self._ends.keys()) - self._complete_before
        return [(self._starts[attempt_id], self._ends[attempt_id]) for attempt_id in sorted(complete)]

    def _repeated(self, attempt_id: str, kind: str, known: bytes, digest: bytes) -> None:
        if known == digest:
            self.tally.duplicates += 1
            return
        self.tally.conflicts.append(attempt_id)
        self._new_conflicts.append(_conflict(self._namespace, attempt_id, kind, digest, self._now_ms))


def ingest_sightings(connection: Connection, sightings: Iterable[Sighting], *, now_ms: int) -> IngestResult:
    """Write what a gateway saw; any namespace."""
    tally = Tally()
    by_namespace: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        by_namespace.setdefault(sighting.namespace, []).append(sighting)
    for namespace, group in by_namespace.items():
        where = {"namespace": namespace, "ids": orjson.dumps([s.attempt_id for s in group]).decode()}
        known = {row.attempt_id: row.digest for row in connection.execute(_SIGHTINGS, where)}
        rows, conflicts = [], []
        for sighting in group:
            digest = digest_of(sighting)
            before = known.setdefault(sighting.attempt_id, digest)
            if before is digest:
                rows.append(sighting.model_dump(mode="json") | {"digest": digest})
                tally.accepted += 1
            elif before == digest:
                tally.duplicates += 1
            else:
                tally.conflicts.append(sighting.attempt_id)
                conflicts.append(_conflict(namespace, sighting.attempt_id, "sighting", digest, now_ms))
        _insert(connection, schema.sighting, rows)
        _insert_conflicts(connection, conflicts)
    return tally.result()


def rate_unpriced(connection: Connection, prices: PriceTable, spill: SpillTotals) -> int:
    """Charge what had no price until now, as new rows. Returns how many; priced charges are left as they are."""
    waiting = connection.execute(
        text("""
            SELECT c.namespace, c.attempt_id, c.unit, c.sequence, c.source, c.quantity, c.at_ms, a.vendor, a.model
            FROM charge c JOIN attempt a ON a.namespace = c.namespace AND a.attempt_id = c.attempt_id
            WHERE c.amount_nano IS NULL AND NOT EXISTS (SELECT 1 FROM charge l WHERE l.namespace = c.namespace
                AND l.attempt_id = c.attempt_id AND l.unit = c.unit AND l.sequence > c.sequence)
        """)
    ).mappings()
    rows = []
    elsewhere: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in waiting.all():
        price = prices.at(row["vendor"], row["model"], row["unit"], row["at_ms"])
        if price is None:
            elsewhere.setdefault(row["namespace"], {})[row["attempt_id"]] = dict(row)
            continue
        quantity = Quantity(unit=row["unit"], source=row["source"], quantity=row["quantity"])
        charge = price_quantity(quantity, price)
        if charge.amount_nano is not None:
            rows.append(_charge_row(row["namespace"], row["attempt_id"], charge, row["sequence"] + 1, row["at_ms"]))
    for namespace, unpriced in elsewhere.items():
        rows += _in_another_basis(connection, namespace, unpriced, prices)
    _insert(connection, schema.charge, rows)
    if rows:
        spill.forget()
    return len(rows)


def _in_another_basis(
    connection: Connection, namespace: str, unpriced: Mapping[str, Mapping[str, Any]], prices: PriceTable
) -> list[dict[str, Any]]:
    """Charges of attempts whose work now has a price in other units than those that wait for one.

    Such an attempt waits in its usual unit alone; that charge is superseded by one for nothing.
    """
    where = {"namespace": namespace, "ids": orjson.dumps(list(unpriced)).decode()}
    ends: dict[str, list[Mapping[str, Any]]] = {}
    for row in connection.execute(_ENDS, where).mappings():
        ends.setdefault(row["attempt_id"], []).append(dict(row))
    rows: list[dict[str, Any]] = []
    for attempt in connection.execute(_ATTEMPTS, where).mappings():
        start, attempt_id = start_of(dict(attempt)), attempt["attempt_id"]
        end, waits = real_end(attempt_id, ends.get(attempt_id, ())), unpriced[attempt_id]
        charges = rate(start, end, prices) if end is not None else ()
        if not charges or any(charge.unit == waits["unit"] for charge in charges):
            continue
        nothing = Charge(Unit(waits["unit"]), UsageSource(waits["source"]), 0, None, 0)
        rows.append(_charge_row(namespace, attempt_id, nothing, waits["sequence"] + 1, waits["at_ms"]))
        rows += [_charge_row(namespace, attempt_id, charge, 0, waits["at_ms"]) for charge in charges]
    return rows


def start_of(row: Mapping[str, Any]) -> AttemptStarted:
    """An attempt's row as the record that it came from."""
    return AttemptStarted.model_validate({k: v for k, v in row.items() if k not in ("namespace", "digest")})


def real_end(attempt_id: str, rows: Iterable[Mapping[str, Any]]) -> AttemptEnded | None:
    """The end that stands among an attempt's usage rows, with its quantities; None if it is at most `unknown`."""
    rows = list(rows)
    ends = [row for row in rows if row["kind"] == END and row["sequence"] >= schema.REAL_SEQUENCE]
    if not ends:
        return None
    end = max(ends, key=lambda row: row["sequence"])
    quantities = [row for row in rows if row["kind"] == QUANTITY and row["sequence"] == end["sequence"]]
    return AttemptEnded.model_validate(
        {
            "attempt_id": attempt_id,
            "outcome": end["outcome"],
            "status": end["status"],
            "reason": end["reason"],
            "busy_ms": end["busy_ms"],
            "ended_at_ms": end["ended_at_ms"],
            "quantities": [{key: row[key] for key in ("unit", "source", "quantity")} for row in quantities],
        }
    )


def _charge(
    connection: Connection,
    namespace: str,
    complete: list[tuple[AttemptStarted, AttemptEnded]],
    prices: PriceTable,
    spill: SpillTotals,
) -> None:
    rows: list[dict[str, Any]] = []
    spilled: dict[str, tuple[AttemptStarted, int | None]] = {}
    for start, end in complete:
        charges = rate(start, end, prices)
        rows += [_charge_row(namespace, start.attempt_id, charge, 0, start.started_at_ms) for charge in charges]
        spilled[start.attempt_id] = (start, total_nano(charges))
    _insert(connection, schema.charge, rows)
    if spilled:
        _settle(connection, namespace, spilled, spill)


def _settle(
    connection: Connection, namespace: str, ended: Mapping[str, tuple[AttemptStarted, int | None]], spill: SpillTotals
) -> None:
    """A real charge takes the place of a reservation; spill without a reservation counts from now on."""
    where = {"namespace": namespace, "ids": orjson.dumps(list(ended)).decode()}
    reserved = {row["attempt_id"]: row for row in connection.execute(_RESERVATIONS, where).mappings()}
    for attempt_id, (start, nano) in ended.items():
        if nano is None:
            continue
        reservation = reserved.get(attempt_id)
        if reservation is not None:
            key = SpillKey(namespace, reservation["deployment"], reservation["backend"], reservation["day"])
            spill.add(key, nano - reservation["amount_nano"])
        elif start.role is Role.SPILL:
            spill.add(SpillKey(namespace, start.deployment, start.backend, utc_day(start.started_at_ms)), nano)


def _usage_rows(namespace: str, record: AttemptEnded, sequence: int, digest: bytes) -> list[dict[str, Any]]:
    common = {
        "namespace": namespace,
        "attempt_id": record.attempt_id,
        "sequence": sequence,
        "ended_at_ms": record.ended_at_ms,
        "digest": digest,
    }
    end = common | {
        "kind": END,
        "unit": "",
        "source": "",
        "outcome": record.outcome.value,
        "status": record.status,
        "reason": record.reason,
        "busy_ms": record.busy_ms,
        "quantity": 0,
    }
    blank = {"outcome": "", "status": 0, "reason": "", "busy_ms": 0}
    return [end] + [
        common | blank | {"kind": QUANTITY, "unit": q.unit.value, "source": q.source.value, "quantity": q.quantity}
        for q in record.quantities
    ]


def _charge_row(namespace: str, attempt_id: str, charge: Charge, sequence: int, at_ms: int) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "attempt_id": attempt_id,
        "unit": charge.unit.value,
        "sequence": sequence,
        "source": charge.source.value,
        "quantity": charge.quantity,
        "price_id": charge.price_id,
        "amount_nano": charge.amount_nano,
        "at_ms": at_ms,
    }


def _conflict(namespace: str, attempt_id: str, kind: str, digest: bytes, now_ms: int) -> dict[str, Any]:
    return {"namespace": namespace, "attempt_id": attempt_id, "kind": kind, "digest": digest, "at_ms": now_ms}


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _insert_conflicts(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(schema.conflict).prefix_with("OR IGNORE"), rows)
