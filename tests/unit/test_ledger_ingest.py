"""Records come in any order, again and again, with restarts between: the state is the same, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from insource.ledger.store import Store
from insource.wire.records import Record
from insource.wire.vocabulary import Outcome
from tests.unit.ledger_building import ManualClock, ended, opened, price, sighted, started

FACTS = ("attempt", "usage", "charge", "sighting", "conflict")


async def rows(store: Store) -> dict[str, list[Any]]:
    def read(connection: Any) -> dict[str, list[Any]]:
        return {
            table: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {table}"))), key=repr) for table in FACTS
        }

    return await store.read(read)


async def test_a_repeated_batch_is_duplicates_and_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        batch = [started(), ended()]
        first = await store.ingest("voice", batch)
        before = await rows(store)
        second = await store.ingest("voice", batch)
        assert (first.accepted, first.duplicates, first.conflicts) == (2, 0, ())
        assert (second.accepted, second.duplicates, second.conflicts) == (0, 2, ())
        assert await rows(store) == before


async def test_the_same_record_twice_in_one_batch_is_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        result = await store.ingest("voice", [started(), started(), ended(), ended()])
        assert (result.accepted, result.duplicates) == (2, 2)


async def test_another_payload_is_a_conflict_and_the_first_stands(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.ingest("voice", [started(), ended(measured=1_000)])
        for _ in range(2):
            result = await store.ingest("voice", [started(model="other"), ended(measured=2_000)])
            assert result.accepted == 0
            assert result.conflicts == ("r1.0.1", "r1.0.1")
        found = await rows(store)
        assert len(found["conflict"]) == 2, "sending the same conflict again is no further conflict"
        assert 1_000 in found["usage"][1] or 1_000 in found["usage"][0]


async def test_namespaces_do_not_meet(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.ingest("voice", [started()])
        other = await store.ingest("other", [started(model="mine")])
        assert (other.accepted, other.conflicts) == (1, ())


async def test_a_late_real_end_supersedes_an_unknown_one_in_either_order(tmp_path: Path) -> None:
    unknown = ended(outcome=Outcome.UNKNOWN, status=0, measured=None)
    states = []
    for name, order in (("a", [unknown, ended()]), ("b", [ended(), unknown])):
        async with opened(tmp_path / name) as store:
            await store.ingest("voice", [started()])
            for record in order:
                result = await store.ingest("voice", [record])
                assert (result.accepted, result.conflicts) == (1, ())
            states.append(await rows(store))
    assert states[0] == states[1]


async def test_a_failing_write_takes_nothing_else_with_it(tmp_path: Path) -> None:
    def fail(connection: Any) -> None:
        connection.execute(text("INSERT INTO heartbeat VALUES ('pod', 1)"))
        raise RuntimeError("broken")

    async with opened(tmp_path / "l.sqlite") as store:
        results = await asyncio.gather(
            store.ingest("voice", [started()]),
            store.write(fail),
            store.ingest("voice", [ended()]),
            return_exceptions=True,
        )
        assert isinstance(results[1], RuntimeError)
        found = await rows(store)
        assert len(found["attempt"]) == 1
        assert len(found["usage"]) == 2
        assert await store.read(lambda c: c.execute(text("SELECT count(*) FROM heartbeat")).scalar_one()) == 0


def _story() -> list[Record]:
    """Twelve attempts with every kind of end."""
    records: list[Record] = []
    for index in range(12):
        name = f"r{index}"
        records.append(started(name, vendor="openai" if index % 2 else ""))
        if index % 3 == 0:
            records.append(ended(name, outcome=Outcome.UNKNOWN, status=0, measured=None))
        if index % 4:
            records.append(ended(name, measured=1_000 * index, billed=1_500 * index if index % 5 else None))
    return records


STORY = _story()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    order=st.permutations(list(range(len(STORY))) * 2),
    cuts=st.sets(st.integers(1, 2 * len(STORY) - 1), max_size=5),
    restarts=st.sets(st.integers(0, 5), max_size=2),
)
def test_any_order_repetition_and_restart_give_the_same_state(
    order: list[int], cuts: set[int], restarts: set[int]
) -> None:
    async def story(path: Path) -> dict[str, list[Any]]:
        clock = ManualClock()
        store = await Store.open(path, clock)
        try:
            await store.record_book("default", [price()])
            bounds = [0, *sorted(cuts), len(order)]
            for number, (low, high) in enumerate(itertools.pairwise(bounds)):
                if number in restarts:
                    await store.close()
                    store = await Store.open(path, clock)
                result = await store.ingest("voice", [STORY[index] for index in order[low:high]])
                assert not result.conflicts
            return await rows(store)
        finally:
            await store.close()

    assert _run(story) == _expected()


def _run(story: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(story(Path(folder) / "l.sqlite"))


_CACHE: list[Any] = []


def _expected() -> Any:
    async def plain(path: Path) -> Any:
        async with opened(path) as store:
            await store.record_book("default", [price()])
            await store.ingest("voice", STORY)
            return await rows(store)

    if not _CACHE:
        _CACHE.append(_run(plain))
        assert len(_CACHE[0]["attempt"]) == 12
        assert len(_CACHE[0]["charge"]) == 6
    return _CACHE[0]


@pytest.mark.parametrize("changed", [{"status": 503}, {"outcome": Outcome.SERVER}])
async def test_sightings_repeat_and_conflict_like_records(tmp_path: Path, changed: dict[str, Any]) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        assert (await store.ingest_sightings([sighted(), sighted()])).duplicates == 1
        assert (await store.ingest_sightings([sighted()])).duplicates == 1
        assert (await store.ingest_sightings([sighted(**changed)])).conflicts == ("r1.0.1",)
