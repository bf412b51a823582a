"""Prices: effective dates, least amounts, increments, one rounding."""

from __future__ import annotations

import pytest

from insource.api.catalogue import builtin_objects
from insource.api.price_book import PriceBookSpec
from insource.domain.pricing import (
    PriceEntry,
    allocation_nano,
    amount_of,
    billed_quantity,
    charge_nano,
    class_price_nano,
    day_of,
    divided_half_even,
    entries_of,
    nano_of,
    price_for,
)

HOUR = 3_600_000
BOOK = {
    "entries": [
        {
            "vendor": "v",
            "model": "m",
            "unit": "audio_ms",
            "effectiveFrom": day,
            "price": price,
            "per": HOUR,
            "source": "s",
        }
        for day, price in (("2026-01-01", "0.36"), ("2026-06-01", "0.18"))
    ]
}
JANUARY, MAY, JUNE = 1767225600000, 1780271999999, 1780272000000


def test_the_latest_price_that_has_begun_holds() -> None:
    entries = entries_of("book", BOOK)
    assert price_for(entries, "v", "m", "audio_ms", JANUARY - 1) is None
    prices = [price_for(entries, "v", "m", "audio_ms", at) for at in (JANUARY, MAY, JUNE)]
    assert [entry.price_nano for entry in prices if entry] == [360_000_000, 360_000_000, 180_000_000]
    assert prices[0] is not None
    assert prices[0].id == "book/v/m/audio_ms/2026-01-01"


@pytest.mark.parametrize(
    ("vendor", "model", "unit"), [("w", "m", "audio_ms"), ("v", "n", "audio_ms"), ("v", "m", "image")]
)
def test_what_has_no_entry_is_unpriced(vendor: str, model: str, unit: str) -> None:
    assert price_for(entries_of("book", PriceBookSpec.model_validate(BOOK)), vendor, model, unit, JUNE) is None


def test_the_shipped_book_prices_whisper_1() -> None:
    book = next(obj for obj in builtin_objects() if obj["kind"] == "PriceBook")
    entry = price_for(entries_of("default", book["spec"]), "openai", "whisper-1", "audio_ms", JUNE)
    assert entry is not None
    assert charge_nano(entry, HOUR) == 360_000_000
    assert all(item.source for item in entries_of("default", book["spec"]))


def entry(price: int = 1, per: int = 1, minimum: int = 0, increment: int = 1) -> PriceEntry:
    return PriceEntry("id", "v", "m", "u", price, per, 0, minimum, increment)


@pytest.mark.parametrize(
    ("quantity", "minimum", "increment", "billed"),
    [(0, 10, 5, 0), (1, 10, 1, 10), (11, 10, 5, 15), (15, 0, 5, 15), (16, 0, 1, 16), (1, 12, 5, 15)],
)
def test_least_amount_and_increment(quantity: int, minimum: int, increment: int, billed: int) -> None:
    assert billed_quantity(entry(minimum=minimum, increment=increment), quantity) == billed


@pytest.mark.parametrize(("numerator", "rounded"), [(0, 0), (1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (7, 2), (10, 2)])
def test_half_goes_to_even(numerator: int, rounded: int) -> None:
    assert divided_half_even(numerator, 4) == rounded
    assert charge_nano(entry(per=4), numerator) == rounded


def test_a_class_costs_its_price_times_overhead_times_count() -> None:
    hour = class_price_nano("0.8048", "1.25", 2)
    assert hour == 2_012_000_000
    assert allocation_nano(hour, HOUR // 2) == 1_006_000_000


@pytest.mark.parametrize(("text", "nano"), [("0.36", 360_000_000), ("5", 5_000_000_000), ("0.000000001", 1), ("0", 0)])
def test_amounts_there_and_back(text: str, nano: int) -> None:
    assert nano_of(text) == nano
    assert amount_of(nano) == text


def test_days_are_utc() -> None:
    assert (day_of(MAY), day_of(JUNE)) == ("2026-05-31", "2026-06-01")
