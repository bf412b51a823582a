"""What the ledger's writer answers is what is on the disk, also when SQLite undoes a whole round by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from insource.ledger.database import open_writer
from insource.ledger.disk import FULL, disk_trouble
from insource.ledger.writer import Writer

SMALL, TOO_MUCH = 10, 8_000_000


def insert(name: str, size: int) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.exec_driver_sql("INSERT INTO kept VALUES (?, zeroblob(?))", (name, size))
        return name

    return work


def test_a_job_that_fills_the_disk_takes_nobody_s_answer_with_it_unsaid(tmp_path: Path) -> None:
    engine = open_writer(tmp_path / "ledger.sqlite")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (name TEXT, data BLOB)")
        connection.exec_driver_sql("PRAGMA max_page_count = 200")
    rollbacks: list[None] = []
    writer = Writer(engine, lambda: rollbacks.append(None))
    sizes = {"before": SMALL, "filling": TOO_MUCH, "after": SMALL}
    answers = {name: writer.submit(insert(name, size)) for name, size in sizes.items()}  # one round: all wait already
    writer.start()
    failures = {name: answer.exception(timeout=30) for name, answer in answers.items()}
    again = writer.submit(insert("again", SMALL))
    assert again.result(timeout=30) == "again"
    writer.close()
    with engine.connect() as connection:
        there = {row[0] for row in connection.exec_driver_sql("SELECT name FROM kept")}
    assert there == {name for name, failure in failures.items() if failure is None} | {"again"}
    assert disk_trouble(failures["filling"]) == FULL
    assert rollbacks
