"""A full volume under the ledger: refused with what to do, nothing half written, and it heals by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from insource.ledger.disk import disk_trouble
from tests.gateway.ledger_harness import Ledger, running_ledger
from tests.unit.ledger_building import started

pytestmark = pytest.mark.gateway
ENDLESS = 2**30


async def grow_to(ledger: Ledger, pages: int) -> None:
    """SQLite's own limit: above it, it says what it says of a full disk. 0: no page more than there is."""

    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages or 1}")

    await ledger.store.write(limit)


async def fill(ledger: Ledger) -> int:
    """Write until it is full; how many records were taken."""
    for number in range(10_000):
        status, body, headers = await ledger.records(started(f"filling-{number}", model="m" * 200))
        if status != 200:
            assert (status, body["error"]["code"]) == (503, "disk_trouble")
            assert "full" in body["error"]["message"]
            assert "insource-ledger" in body["error"]["message"]
            assert int(headers["Retry-After"]) > 0
            return number
    raise AssertionError("it never got full")


async def rows(ledger: Ledger) -> int:
    return len((await ledger.get("/v1/attempts", limit="1000"))[1]["attempts"])


async def test_a_full_volume_is_told_and_heals(tmp_path: Path) -> None:
    async with running_ledger(tmp_path) as ledger:
        await grow_to(ledger, 0)
        taken = await fill(ledger)
        assert await rows(ledger) == taken
        await grow_to(ledger, ENDLESS)
        refused = started(f"filling-{taken}", model="m" * 200)
        for accepted in (1, 0):  # sent again, as its sender does until it is answered; twice is once
            status, body, _ = await ledger.records(refused)
            assert (status, body["accepted"]) == (200, accepted)
        assert await rows(ledger) == taken + 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "is full"),
        (sqlite3.SQLITE_IOERR | (3 << 8), "input/output error"),
        (sqlite3.SQLITE_READONLY, "read-only"),
        (sqlite3.SQLITE_CONSTRAINT, ""),
    ],
)
def test_which_errors_are_the_disk_s(code: int, words: str) -> None:
    error = sqlite3.OperationalError("no matter")
    error.sqlite_errorcode = code
    told = disk_trouble(OperationalError("INSERT", {}, error))
    assert words in told
    assert bool(told) == bool(words)
    assert not disk_trouble(ValueError("another"))
