"""The daily limit on spill: never passed, exact under concurrency, settled by usage, per UTC day."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insource.domain.pricing import nano_of
from insource.ledger.reservations import ReservationConflictError
from insource.ledger.spill import SpillKey, spent_nano, utc_day
from insource.wire.records import Estimate, ReservationAnswer, ReservationRequest
from insource.wire.vocabulary import Outcome, Unit
from tests.unit.ledger_building import START_MS, ManualClock, ended, opened, price, started

KEY = SpillKey("voice", "dictation", "openai", utc_day(START_MS))


def asked(name: str, quantity: int = 10_000, limit: str = "0.01", **changes: Any) -> ReservationRequest:
    fields: dict[str, Any] = {
        "attempt_id": f"{name}.0.1",
        "deployment": "dictation",
        "backend": "openai",
        "vendor": "openai",
        "model": "whisper-1",
        "daily_limit": limit,
        "unit": Unit.AUDIO_MS,
        "quantity": quantity,
    }
    return ReservationRequest(**fields | changes)


async def test_exactly_as_many_as_fit_are_granted_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price()])  # 10 s = 0.001
        answers = await asyncio.gather(*(store.reserve("voice", asked(f"r{n}")) for n in range(200)))
        assert sum(answer.granted for answer in answers) == 10
        assert {answer.reason for answer in answers if not answer.granted} == {"daily_limit"}
        assert await store.read(lambda c: spent_nano(c, KEY)) == nano_of("0.01")


async def test_an_attempt_of_several_units_is_reserved_as_it_will_be_charged(tmp_path: Path) -> None:
    more = (Estimate(unit=Unit.OUTPUT_TOKENS, quantity=1000),)
    text = {"model": "writer", "unit": Unit.INPUT_TOKENS, "quantity": 500, "more": more}
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price(model="writer", unit="input_tokens", per=1_000_000)])
        half = await store.reserve("voice", asked("a", **text))
        assert (half.granted, half.reason) == (False, "unpriced")
        tokens = [price(model="writer", unit=unit, per=1_000_000) for unit in ("input_tokens", "output_tokens")]
        await store.record_book("default", tokens)  # 0.36 for a million of either
        answer = await store.reserve("voice", asked("a", **text))
        assert (answer.granted, answer.remaining) == (True, "0.00946")
        assert await store.read(lambda c: spent_nano(c, KEY)) == nano_of("0.00054")


async def test_limits_of_others_are_their_own(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price()])
        assert (await store.reserve("voice", asked("a", 100_000))).granted
        assert not (await store.reserve("voice", asked("b"))).granted
        assert (await store.reserve("other", asked("b"))).granted
        assert (await store.reserve("voice", asked("c", deployment="captions"))).granted


async def test_without_a_price_nothing_is_granted(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        assert await store.reserve("voice", asked("a")) == ReservationAnswer(
            granted=False, reason="unpriced", remaining="0.01"
        )
        await store.record_book("default", [price()])
        assert (await store.reserve("voice", asked("a"))).granted


async def test_a_limit_of_zero_grants_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price()])
        assert not (await store.reserve("voice", asked("a", quantity=0, limit="0"))).granted


async def test_an_unknown_attempt_keeps_its_reservation_until_its_real_end_comes(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price()])
        await store.reserve("voice", asked("r1", 100_000))
        unknown = ended(outcome=Outcome.UNKNOWN, status=0, measured=None)
        await store.ingest("voice", [started(vendor="openai"), unknown])
        assert not (await store.reserve("voice", asked("r2"))).granted
        await store.ingest("voice", [ended(outcome=Outcome.SHED, status=429, measured=50_000)])
        assert (await store.reserve("voice", asked("r2"))).granted, "the vendor shed it: nothing was billed"


async def test_the_day_changes_at_midnight_utc(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC))
    async with opened(tmp_path / "l.sqlite", clock) as store:
        await store.record_book("default", [price()])
        assert (await store.reserve("voice", asked("r1", 100_000))).granted
        assert not (await store.reserve("voice", asked("r2"))).granted
        clock.advance(1)
        assert (await store.reserve("voice", asked("r2"))).granted
        # What was reserved yesterday and ends today is yesterday's.
        at = int(clock.now().timestamp() * 1000)
        await store.ingest("voice", [started("r1", vendor="openai", started_at_ms=at), ended("r1", measured=100_000)])
        assert (await store.reserve("voice", asked("r3", 90_000))).granted
        assert not (await store.reserve("voice", asked("r4"))).granted


async def test_the_limit_holds_over_a_restart(tmp_path: Path) -> None:
    for number in range(4):
        async with opened(tmp_path / "l.sqlite") as store:
            await store.record_book("default", [price()])
            granted = (await store.reserve("voice", asked(f"r{number}", 30_000))).granted
            assert granted is (number < 3)


STEP = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 9), st.integers(0, 40_000)),
    st.tuples(st.just("start"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("end"), st.integers(0, 9), st.integers(0, 40_000)),
    st.tuples(st.just("unknown"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("price"), st.just(0), st.sampled_from([180_000_000, 360_000_000, 0])),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=25))
def test_the_running_total_is_what_the_rows_say_after_any_story(steps: list[tuple[str, int, int]]) -> None:
    async def story(path: Path) -> None:
        async with opened(path) as store:
            await store.record_book("default", [price()])
            over: set[int] = set()
            for verb, index, amount in steps:
                name = f"r{index}"
                if verb == "reserve" and index not in over:
                    with contextlib.suppress(ReservationConflictError):
                        await store.reserve("voice", asked(name, amount))
                elif verb == "start":
                    await store.ingest("voice", [started(name, vendor="openai")])
                elif verb == "end":
                    over.add(index)
                    await store.ingest("voice", [ended(name, measured=amount)])
                elif verb == "unknown":
                    await store.ingest("voice", [ended(name, outcome=Outcome.UNKNOWN, status=0, measured=None)])
                elif verb == "price":
                    await store.record_book("default", [price(amount)] if amount else [])
                running, rows = await store.write(lambda c: (store._spill.spent(c, KEY), spent_nano(c, KEY)))
                assert running == rows

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder) / "l.sqlite"))
