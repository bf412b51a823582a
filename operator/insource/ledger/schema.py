"""The ledger's tables. Facts are inserted and never updated; a correction is a row with a higher `sequence`.

Quantities are integers in their unit, money is integer nanos of the installation's currency, times are
milliseconds since the epoch, UTC. This module knows no rules: which row stands is decided in `ingest`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint, text

metadata = MetaData()

UNKNOWN_SEQUENCE = 0
"""An end that somebody could only call `unknown` (a crash between call and record)."""
REAL_SEQUENCE = 1
"""The first real end. Fixed, so that rows are the same in whatever order the two arrive; corrections go on from it."""


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, String, nullable=False, server_default=default)


def _integer(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


attempt = Table(
    "attempt",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("attempt_id", String, primary_key=True),
    _text("request_id"),
    _text("hop"),
    _integer("number"),
    _text("deployment"),
    _text("backend"),
    _text("backend_kind"),
    _text("revision"),
    _text("vendor"),
    _text("model"),
    _text("modality"),
    _text("role"),
    _text("client"),
    _text("pod"),
    _integer("started_at_ms"),
    Column("digest", LargeBinary, nullable=False),
    Index("attempt_by_start", "started_at_ms"),
    Index("attempt_by_deployment", "namespace", "deployment", "started_at_ms"),
    Index("attempt_by_request", "request_id"),
    sqlite_with_rowid=False,
)
"""What an adapter wrote before the call."""

usage = Table(
    "usage",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("attempt_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("unit", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    _text("outcome", ""),
    Column("status", Integer, nullable=False, server_default=text("0")),
    _text("reason", ""),
    Column("busy_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("quantity", BigInteger, nullable=False, server_default=text("0")),
    _integer("ended_at_ms"),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""How an attempt ended (kind `end`, no unit) and what it consumed (kind `quantity`, one per unit and source)."""

sighting = Table(
    "sighting",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("attempt_id", String, primary_key=True),
    _text("request_id"),
    _text("hop"),
    _integer("number"),
    _text("deployment"),
    _text("backend"),
    _text("backend_kind"),
    _text("revision"),
    _text("vendor"),
    _text("role"),
    _text("outcome"),
    Column("status", Integer, nullable=False),
    _text("flags"),
    Column("reached", Integer, nullable=False),
    _integer("started_at_ms"),
    _integer("duration_ms"),
    Column("digest", LargeBinary, nullable=False),
    Index("sighting_by_start", "started_at_ms"),
    Index("sighting_by_deployment", "namespace", "deployment", "started_at_ms"),
    Index("sighting_by_request", "request_id"),
    sqlite_with_rowid=False,
)
"""The same attempts as the gateway saw them: the second entry of the double entry."""

price = Table(
    "price",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("book"),
    _text("vendor"),
    _text("model"),
    _text("unit"),
    _integer("effective_from_ms"),
    Column("sequence", Integer, nullable=False),
    Column("price_nano", BigInteger),
    _integer("per"),
    _integer("minimum"),
    _integer("increment"),
    _text("source"),
    _integer("recorded_at_ms"),
    UniqueConstraint("book", "vendor", "model", "unit", "effective_from_ms", "sequence", name="price_identity"),
)
"""Snapshots of price book entries. A corrected entry is the next sequence; `price_nano` null: withdrawn."""

charge = Table(
    "charge",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("attempt_id", String, primary_key=True),
    Column("unit", String, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    _text("source"),
    _integer("quantity"),
    Column("price_id", Integer),
    Column("amount_nano", BigInteger),
    _integer("at_ms"),
    Index("charge_unpriced", "at_ms", sqlite_where=text("amount_nano IS NULL")),
    sqlite_with_rowid=False,
)
"""Usage x price at the attempt's start. `amount_nano` null: unpriced, which is a state and never 0."""

reservation = Table(
    "reservation",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("attempt_id", String, primary_key=True),
    _text("deployment"),
    _text("backend"),
    _text("vendor"),
    _text("model"),
    _text("unit"),
    _integer("quantity"),
    _integer("day"),
    _integer("daily_limit_nano"),
    _integer("amount_nano"),
    _integer("remaining_nano"),
    _integer("price_id"),
    _integer("reserved_at_ms"),
    Column("digest", LargeBinary, nullable=False),
    Index("reservation_by_day", "namespace", "deployment", "backend", "day"),
    sqlite_with_rowid=False,
)
"""What was granted under a daily limit on spill; `day` counts UTC days since the epoch."""

allocation = Table(
    "allocation",
    metadata,
    Column("pod_uid", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    _text("namespace"),
    _text("pod"),
    _text("deployment"),
    _text("backend"),
    _text("revision"),
    _text("class"),
    Column("count", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    _integer("at_ms"),
    Column("approximate", Integer, nullable=False, server_default=text("0")),
    Index("allocation_by_deployment", "namespace", "deployment"),
    sqlite_with_rowid=False,
)
"""A pod's lifetime: one row of kind `bound`, later one of kind `released`."""

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("pod_uid", String, primary_key=True),
    _integer("seen_at_ms"),
    sqlite_with_rowid=False,
)
"""When the ledger last saw a pod that is still there. Not a fact but a mark, so it moves; closed pods lose it."""

class_price = Table(
    "class_price",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("class"),
    Column("hourly_nano", BigInteger),
    _integer("effective_from_ms"),
    _text("source"),
    UniqueConstraint("class", "effective_from_ms", name="class_price_identity"),
)
"""Price of one accelerator of a class per hour, overhead included. `hourly_nano` null: the class has no price."""

conflict = Table(
    "conflict",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("attempt_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    _integer("at_ms"),
    sqlite_with_rowid=False,
)
"""Identities that came again with another payload. The first payload stands; this row is the alarm."""
