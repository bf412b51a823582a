"""The migrations make exactly the tables that the code uses, and may run at every start."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError

from insource.ledger.database import NEWEST_REVISION
from insource.ledger.schema import metadata
from tests.unit.ledger_building import opened


async def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    def differences(connection: Any) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    for _ in range(2):
        async with opened(tmp_path / "l.sqlite") as store:
            assert await store.read(differences) == []


async def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite"):
        pass
    with closing(sqlite3.connect(tmp_path / "l.sqlite")) as file, file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CommandError, match="9999"):
        async with opened(tmp_path / "l.sqlite"):
            pass


def test_the_newest_revision_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "insource.ledger:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST_REVISION


async def test_a_commit_survives_power_loss(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        pragmas = await store.write(
            lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")]
        )
        assert pragmas == ["wal", 2]


async def test_readers_cannot_write(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        with pytest.raises(OperationalError, match="readonly"):
            await store.read(lambda c: c.exec_driver_sql("DELETE FROM attempt"))
    with closing(sqlite3.connect(tmp_path / "l.sqlite")) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
