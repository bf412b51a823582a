"""Reads rows for the pure views: attempts with all that belongs to them, pods' lifetimes, class prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from insource.ledger.attempts import AttemptRows, Row
from insource.ledger.occupancy import Rate


@dataclass(frozen=True)
class Selection:
    """Which attempts: "" and None mean any. Times in ms since the epoch, `until_ms` excluded."""

    namespace: str = ""
    deployment: str = ""
    request_id: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    newest: int | None = None
    """At most so many of the adapters' and of the gateway's rows, the newest."""


@dataclass(frozen=True)
class PodSpan:
    """One pod's time on its accelerators; `end_ms` None: it is still there."""

    uid: str
    namespace: str
    name: str
    deployment: str
    backend: str
    revision: str
    accelerator_class: str
    count: int
    slots: int
    start_ms: int
    end_ms: int | None
    approximate: bool


def load_attempts(connection: Connection, selection: Selection) -> AttemptRows:
    """Rows of the attempts that start within the selection, and of the same ones as the gateway saw them."""
    where, values = _where(selection)
    limit = "" if selection.newest is None else f" ORDER BY started_at_ms DESC LIMIT {int(selection.newest)}"

    def select(what: str, table: str) -> str:
        return f"SELECT {what} FROM {table}{where}{limit}"

    # Note: both sides' ids, because the two clocks may put an attempt on different sides of a bound.
    ids = (
        f"SELECT * FROM ({select('namespace, attempt_id', 'attempt')})"
        f" UNION SELECT * FROM ({select('namespace, attempt_id', 'sighting')})"
    )

    def of(table: str) -> tuple[Row, ...]:
        found = connection.execute(
            text(f"WITH ids AS ({ids}) SELECT t.* FROM ids JOIN {table} t USING (namespace, attempt_id)"), values
        )
        return tuple(dict(row) for row in found.mappings())

    return AttemptRows(
        attempts=of("attempt"),
        usage=of("usage"),
        charges=of("charge"),
        sightings=of("sighting"),
    )


def load_pods(connection: Connection, selection: Selection) -> tuple[PodSpan, ...]:
    """Lifetimes that touch the selection's time."""
    statement = text("""
        SELECT b.*, r.at_ms AS end_ms, coalesce(r.approximate, 0) AS roughly FROM allocation b
        LEFT JOIN allocation r ON r.pod_uid = b.pod_uid AND r.kind = 'released'
        WHERE b.kind = 'bound' AND (:namespace = '' OR b.namespace = :namespace)
            AND (:deployment = '' OR b.deployment = :deployment)
            AND (r.at_ms IS NULL OR r.at_ms > :since) AND b.at_ms < :until
        ORDER BY b.at_ms, b.pod_uid
    """)
    values = {
        "namespace": selection.namespace,
        "deployment": selection.deployment,
        "since": 0 if selection.since_ms is None else selection.since_ms,
        "until": 2**62 if selection.until_ms is None else selection.until_ms,
    }
    return tuple(
        PodSpan(
            uid=row["pod_uid"],
            namespace=row["namespace"],
            name=row["pod"],
            deployment=row["deployment"],
            backend=row["backend"],
            revision=row["revision"],
            accelerator_class=row["class"],
            count=row["count"],
            slots=row["slots"],
            start_ms=row["at_ms"],
            end_ms=row["end_ms"],
            approximate=bool(row["roughly"]),
        )
        for row in connection.execute(statement, values).mappings()
    )


def load_rates(connection: Connection) -> dict[str, tuple[Rate, ...]]:
    """Every class's prices, by time."""
    rates: dict[str, tuple[Rate, ...]] = {}
    for row in connection.execute(text("SELECT * FROM class_price ORDER BY effective_from_ms")).mappings():
        rates[row["class"]] = (*rates.get(row["class"], ()), Rate(row["effective_from_ms"], row["hourly_nano"]))
    return rates


def _where(selection: Selection) -> tuple[str, dict[str, Any]]:
    conditions, values = [], {}
    for column, value in (
        ("namespace", selection.namespace),
        ("deployment", selection.deployment),
        ("request_id", selection.request_id),
    ):
        if value:
            conditions.append(f"{column} = :{column}")
            values[column] = value
    bounds: dict[str, Any] = {}
    if selection.since_ms is not None:
        conditions.append("started_at_ms >= :since")
        bounds["since"] = selection.since_ms
    if selection.until_ms is not None:
        conditions.append("started_at_ms < :until")
        bounds["until"] = selection.until_ms
    return (" WHERE " + " AND ".join(conditions) if conditions else ""), values | bounds
