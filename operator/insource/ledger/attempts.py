"""Pure: one view of every attempt, from what the adapter wrote, what the gateway saw, and what was charged.

Nothing is stored here: an attempt is `unknown` while only the gateway can tell of it, and is not as soon as its
real record arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from insource.ledger.ingest import END, QUANTITY
from insource.wire.vocabulary import BackendKind, Outcome, Role, UsageSource

Row = Mapping[str, Any]
AttemptKey = tuple[str, str]

PENDING = "pending"
"""Not an outcome: the other side may still report."""


@dataclass(frozen=True)
class Patience:
    """How long the two sides may lie apart, in ms."""

    grace_ms: int
    """After the gateway saw an attempt end, until a missing record makes it `unknown`."""
    open_ms: int
    """After an attempt's start, until it is `unknown` if nobody saw its end."""


@dataclass(frozen=True)
class AttemptRows:
    """The rows of some attempts, in any order."""

    attempts: tuple[Row, ...] = ()
    usage: tuple[Row, ...] = ()
    charges: tuple[Row, ...] = ()
    sightings: tuple[Row, ...] = ()


@dataclass(frozen=True)
class ChargeView:
    """The charge that stands for one unit; `amount_nano` None: unpriced."""

    unit: str
    source: str
    quantity: int
    amount_nano: int | None


@dataclass(frozen=True)
class AttemptView:
    """All that is known of one attempt. `outcome` is an `Outcome` or `pending`."""

    namespace: str
    attempt_id: str
    request_id: str
    hop: str
    number: int
    deployment: str
    backend: str
    backend_kind: str
    revision: str
    vendor: str
    model: str
    role: str
    client: str
    pod: str
    started_at_ms: int
    outcome: str
    recorded: bool
    """The adapter wrote it."""
    sighted: bool
    """The gateway saw it."""
    agree: bool | None
    """Do both say the same? None while one of them may still report."""
    ended_at_ms: int | None = None
    status: int | None = None
    reason: str = ""
    busy_ms: int = 0
    sighted_outcome: str = ""
    sighted_status: int | None = None
    flags: str = ""
    reached: bool = True
    measured: Mapping[str, int] = field(default_factory=dict)
    billed: Mapping[str, int] = field(default_factory=dict)
    charges: tuple[ChargeView, ...] = ()

    @property
    def served(self) -> bool:
        """Did it do a client's work? (A shadow's answer reaches nobody.)"""
        return self.outcome == Outcome.OK and self.role != Role.SHADOW

    @property
    def in_house(self) -> bool:
        return self.backend_kind == BackendKind.IN_HOUSE


def join_attempts(rows: AttemptRows, *, now_ms: int, patience: Patience) -> tuple[AttemptView, ...]:
    """Every attempt that either side knows, by start."""
    starts = {_key(row): row for row in rows.attempts}
    sightings = {_key(row): row for row in rows.sightings}
    usage = _group(rows.usage)
    charges = _group(rows.charges)
    views = [
        _recorded(row, usage.get(key, []), charges.get(key, []), sightings.get(key), now_ms, patience)
        for key, row in starts.items()
    ]
    views += [_only_sighted(row, now_ms, patience) for key, row in sightings.items() if key not in starts]
    return tuple(sorted(views, key=lambda view: (view.started_at_ms, view.request_id, view.number, view.attempt_id)))


def _recorded(
    row: Row, usage: list[Row], charges: list[Row], sighting: Row | None, now_ms: int, patience: Patience
) -> AttemptView:
    end = max((r for r in usage if r["kind"] == END), key=lambda r: r["sequence"], default=None)
    outcome = _outcome(row, end, sighting, now_ms, patience)
    quantities = [r for r in usage if end is not None and r["kind"] == QUANTITY and r["sequence"] == end["sequence"]]
    same = ("request_id", "hop", "number", "deployment", "backend", "backend_kind", "revision", "vendor", "model")
    return AttemptView(
        **{name: row[name] for name in ("namespace", "attempt_id", *same, "role", "client", "pod", "started_at_ms")},
        outcome=outcome,
        recorded=True,
        agree=_agree(row, end, outcome, sighting, now_ms, patience),
        ended_at_ms=end["ended_at_ms"] if end else None,
        status=end["status"] if end else None,
        reason=end["reason"] if end else "",
        busy_ms=end["busy_ms"] if end else 0,
        measured={r["unit"]: r["quantity"] for r in quantities if r["source"] == UsageSource.MEASURED},
        billed={r["unit"]: r["quantity"] for r in quantities if r["source"] == UsageSource.BILLED},
        charges=_standing(charges),
        **_seen(sighting),
    )


def _only_sighted(row: Row, now_ms: int, patience: Patience) -> AttemptView:
    if not row["reached"]:
        # No connection was made, so no adapter can have a record: nothing is missing.
        outcome, agree = row["outcome"], True
    elif _overdue(row, now_ms, patience):
        outcome, agree = Outcome.UNKNOWN.value, False
    else:
        outcome, agree = PENDING, None
    same = ("request_id", "hop", "number", "deployment", "backend", "backend_kind", "revision", "vendor", "role")
    return AttemptView(
        **{name: row[name] for name in ("namespace", "attempt_id", *same, "started_at_ms")},
        model="",
        client="",
        pod="",
        outcome=outcome,
        recorded=False,
        agree=agree,
        **_seen(row),
    )


def _outcome(row: Row, end: Row | None, sighting: Row | None, now_ms: int, patience: Patience) -> str:
    if end is not None:
        return str(end["outcome"])
    if sighting is not None:
        return Outcome.UNKNOWN.value if _overdue(sighting, now_ms, patience) else PENDING
    return Outcome.UNKNOWN.value if now_ms - row["started_at_ms"] > patience.open_ms else PENDING


def _agree(
    row: Row, end: Row | None, outcome: str, sighting: Row | None, now_ms: int, patience: Patience
) -> bool | None:
    if outcome == PENDING:
        return None
    if sighting is None:
        overdue = end is None or now_ms - end["ended_at_ms"] > patience.grace_ms
        return False if overdue else None
    return bool(
        sighting["outcome"] == outcome
        and all(sighting[name] == row[name] for name in ("backend", "role", "deployment"))
    )


def _overdue(sighting: Row, now_ms: int, patience: Patience) -> bool:
    return bool(now_ms - sighting["started_at_ms"] - sighting["duration_ms"] > patience.grace_ms)


def _seen(sighting: Row | None) -> dict[str, Any]:
    if sighting is None:
        return {"sighted": False}
    return {
        "sighted": True,
        "sighted_outcome": sighting["outcome"],
        "sighted_status": sighting["status"],
        "flags": sighting["flags"],
        "reached": bool(sighting["reached"]),
    }


def _standing(charges: Iterable[Row]) -> tuple[ChargeView, ...]:
    latest: dict[str, Row] = {}
    for row in charges:
        if row["unit"] not in latest or row["sequence"] > latest[row["unit"]]["sequence"]:
            latest[row["unit"]] = row
    return tuple(ChargeView(r["unit"], r["source"], r["quantity"], r["amount_nano"]) for r in latest.values())


def _key(row: Row) -> AttemptKey:
    return (row["namespace"], row["attempt_id"])


def _group(rows: Iterable[Row]) -> dict[AttemptKey, list[Row]]:
    groups: dict[AttemptKey, list[Row]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    return groups
