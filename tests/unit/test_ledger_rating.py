"""Charges: from the billed quantity if there is one, at the price of the attempt's start; unpriced is never 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from insource.ledger.prices import PriceTable, changes, read_book
from insource.ledger.rating import rate
from insource.ledger.store import Store
from insource.wire.records import AttemptEnded, Quantity
from insource.wire.vocabulary import Outcome, Unit, UsageSource
from tests.unit.ledger_building import START_MS, ended, opened, price, started

TABLE = PriceTable([price()])
VENDOR = started(vendor="openai")


def test_the_vendors_own_quantity_goes_first() -> None:
    (charge,) = rate(VENDOR, ended(measured=59_200, billed=60_000), TABLE)
    assert (charge.source, charge.quantity, charge.amount_nano) == ("billed", 60_000, 6_000_000)


def test_without_a_report_what_we_measured_counts() -> None:
    (charge,) = rate(VENDOR, ended(measured=59_200), TABLE)
    assert (charge.source, charge.amount_nano) == ("measured", 5_920_000)


@pytest.mark.parametrize(
    ("outcome", "charged"),
    [
        (Outcome.OK, True),
        (Outcome.GONE, True),
        (Outcome.TIMEOUT, True),
        (Outcome.SHED, False),
        (Outcome.SERVER, False),
        (Outcome.CLIENT, False),
        (Outcome.REFUSED_CREDENTIALS, False),
        (Outcome.REFUSED_POLICY, False),
    ],
)
def test_which_outcomes_a_vendor_may_bill(outcome: Outcome, charged: bool) -> None:
    assert bool(rate(VENDOR, ended(outcome=outcome), TABLE)) is charged
    assert rate(VENDOR, ended(outcome=outcome, billed=1), TABLE), "what a vendor says it billed is charged"


def test_in_house_attempts_have_no_charge() -> None:
    assert rate(started(), ended(), TABLE) == ()


def test_without_a_price_it_is_unpriced() -> None:
    (charge,) = rate(VENDOR, ended(), PriceTable())
    assert charge.amount_nano is None


def test_the_price_is_that_of_the_attempts_start() -> None:
    table = PriceTable([price(), price(720_000_000, effective_from_ms=START_MS + 1)])
    assert rate(VENDOR, ended(), table)[0].amount_nano == 6_000_000
    later = started(vendor="openai", started_at_ms=START_MS + 1)
    assert rate(later, ended(), table)[0].amount_nano == 12_000_000


def test_a_withdrawn_entry_is_no_price() -> None:
    assert PriceTable([price(price_nano=None)]).at("openai", "whisper-1", "audio_ms", START_MS) is None


def test_a_book_is_read_and_its_bad_entries_are_named() -> None:
    good = {
        "vendor": "openai", "model": "whisper-1", "unit": "audio_ms", "effectiveFrom": "2026-01-01",
        "price": "0.36", "per": 3_600_000, "source": "list price",
    }  # fmt: skip
    book = {"metadata": {"name": "default"}, "spec": {"entries": [good, {**good, "price": "cheap"}]}}
    entries, problems = read_book(book)
    assert [(entry.price_nano, entry.per) for entry in entries] == [(360_000_000, 3_600_000)]
    assert len(problems) == 1
    assert "entries[1]" in problems[0]


def test_a_book_in_another_currency_prices_nothing_and_says_so() -> None:
    good = {
        "vendor": "openai", "model": "whisper-1", "unit": "audio_ms", "effectiveFrom": "2026-01-01",
        "price": "0.36", "per": 3_600_000, "source": "list price",
    }  # fmt: skip
    book = {"metadata": {"name": "euro"}, "spec": {"currency": "EUR", "entries": [good]}}
    assert read_book(book)[0] == []
    assert "PriceBook euro spec.currency: EUR" in read_book(book)[1][0]
    assert [entry.book for entry in read_book(book, "EUR")[0]] == ["euro"]


def test_changes_are_what_is_new_corrected_or_gone() -> None:
    known = PriceTable([price(id=1), price(id=2, model="other")]).entries
    assert changes(known, "default", [price(), price(model="other")]) == []
    assert [e.price_nano for e in changes(known, "default", [price(5), price(model="other")])] == [5]
    assert [(e.model, e.price_nano) for e in changes(known, "default", [price()])] == [("other", None)]
    assert changes(known, "elsewhere", []) == []


async def charges(store: Store) -> list[Any]:
    statement = text("SELECT sequence, amount_nano FROM charge ORDER BY attempt_id, sequence")
    return await store.read(lambda c: [tuple(row) for row in c.execute(statement)])


async def test_a_price_that_appears_later_charges_what_was_unpriced_as_a_new_row(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.ingest("voice", [VENDOR, ended()])
        assert await charges(store) == [(0, None)]
        await store.record_book("default", [price()])
        assert await charges(store) == [(0, None), (1, 6_000_000)]
        assert await store.record_book("default", [price()]) == 0


async def test_a_corrected_price_re_rates_nothing_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price()])
        await store.ingest("voice", [VENDOR, ended()])
        await store.record_book("default", [price(720_000_000)])
        await store.ingest("voice", [started("r2", vendor="openai"), ended("r2")])
        assert await charges(store) == [(0, 6_000_000), (0, 12_000_000)]


async def test_a_price_that_will_hold_later_is_no_price_yet(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await store.record_book("default", [price(effective_from_ms=START_MS + 1)])
        await store.ingest("voice", [VENDOR, ended()])
        assert await charges(store) == [(0, None)]


def consumed(**quantities: int) -> AttemptEnded:
    """Quantities by `<unit>` (measured) or `<unit>_billed`."""
    units = [(name.removesuffix("_billed"), name.endswith("_billed"), number) for name, number in quantities.items()]
    return ended().model_copy(
        update={
            "quantities": tuple(
                Quantity(
                    unit=Unit(unit), source=UsageSource.BILLED if billed else UsageSource.MEASURED, quantity=number
                )
                for unit, billed, number in units
            )
        }
    )


def of_units(**per_million: int) -> PriceTable:
    prices = [price(nano, unit=unit, per=1_000_000) for unit, nano in per_million.items()]
    return PriceTable(prices)


PICTURE = consumed(images=2, pixels=2 << 20, input_tokens=9, input_tokens_billed=7, image_tokens=2048)


@pytest.mark.parametrize(
    ("prices", "charged"),
    [
        ({"images": 40_000_000}, {"images": 80}),
        ({"pixels": 1_000_000}, {"pixels": 2_097_152}),
        ({"input_tokens": 5_000_000, "image_tokens": 33_000_000}, {"input_tokens": 35, "image_tokens": 67_584}),
        ({"image_tokens": 33_000_000}, {"input_tokens": None, "image_tokens": 67_584}),
        ({"images": 1_000_000, "input_tokens": 1_000_000, "image_tokens": 0},
         {"images": 2, "input_tokens": 7, "image_tokens": 0}),
        ({}, {"images": None}),
    ],
)  # fmt: skip
def test_the_same_work_is_charged_in_the_units_that_have_a_price(
    prices: dict[str, int], charged: dict[str, int | None]
) -> None:
    charges = rate(VENDOR, PICTURE, of_units(**prices))
    assert {charge.unit.value: charge.amount_nano for charge in charges} == charged


def test_pictures_that_go_in_have_a_price_of_their_own() -> None:
    edit = consumed(input_tokens_billed=7, input_image_tokens_billed=625, image_tokens=1024)
    book = {"input_tokens": 5_000_000, "image_tokens": 30_000_000}
    charges = rate(VENDOR, edit, of_units(**book, input_image_tokens=8_000_000))
    assert {charge.unit.value: charge.amount_nano for charge in charges} == {
        "input_tokens": 35, "input_image_tokens": 5000, "image_tokens": 30_720,
    }  # fmt: skip
    charges = rate(VENDOR, edit, of_units(**book))
    assert [charge.unit for charge in charges if charge.amount_nano is None] == ["input_image_tokens"]


def test_tokens_that_come_with_speech_are_no_second_charge() -> None:
    spoken = consumed(characters=100, input_tokens_billed=30, output_tokens_billed=900)
    (charge,) = rate(VENDOR, spoken, of_units(characters=15_000_000))
    assert (charge.unit, charge.amount_nano) == ("characters", 1500)
    charges = rate(VENDOR, spoken, of_units(input_tokens=1_000_000, output_tokens=10_000_000))
    assert [(each.unit, each.amount_nano) for each in charges] == [("input_tokens", 30), ("output_tokens", 9000)]


def test_a_price_for_what_comes_out_alone_leaves_what_goes_in_unpriced() -> None:
    charges = rate(VENDOR, consumed(input_tokens=10, output_tokens=5), of_units(output_tokens=1_000_000))
    assert {charge.unit.value: charge.amount_nano for charge in charges} == {"input_tokens": None, "output_tokens": 5}


async def test_a_price_in_other_units_that_appears_later_takes_the_place_of_what_waited(tmp_path: Path) -> None:
    tokens = [price(10**6, unit="input_tokens", per=10**6), price(10**9, unit="image_tokens", per=10**6)]
    async with opened(tmp_path / "l.sqlite") as store:
        await store.ingest("voice", [VENDOR, PICTURE])
        await store.record_book("default", tokens)
        found = await store.read(
            lambda c: c.execute(text("SELECT unit, sequence, quantity, amount_nano FROM charge ORDER BY 1, 2")).all()
        )
        assert [tuple(row) for row in found] == [
            ("image_tokens", 0, 2048, 2_048_000),
            ("images", 0, 2, None),
            ("images", 1, 0, 0),
            ("input_tokens", 0, 7, 7),
        ]
        await store.record_book("default", [*tokens, price(1, unit="images", per=1)])
        again = await store.read(lambda c: c.execute(text("SELECT count(*) FROM charge")).scalar_one())
        assert again == 4  # what is charged is not charged again
