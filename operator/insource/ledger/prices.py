"""Pure: the ledger's own view of price books, by time.

Entries come from PriceBook objects, are kept as rows, and are looked up at an attempt's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from insource.wire.vocabulary import Unit

NANO = 1_000_000_000
DEFAULT_BOOK = "default"

EntryKey = tuple[str, str, str, str, int]
"""Book, vendor, model, unit, effective from (ms)."""


@dataclass(frozen=True)
class PriceEntry:
    """One price: `price_nano` per `per` units, in steps of `increment`, at least `minimum` units; None: withdrawn."""

    id: int
    book: str
    vendor: str
    model: str
    unit: str
    effective_from_ms: int
    price_nano: int | None
    per: int
    minimum: int
    increment: int
    source: str

    @property
    def key(self) -> EntryKey:
        return (self.book, self.vendor, self.model, self.unit, self.effective_from_ms)


class InvalidPriceError(ValueError):
    """A price book entry that cannot be read; says which and why."""


class PriceTable:
    """Entries in force, looked up by time. Immutable: a change of the books makes a new one."""

    def __init__(self, entries: Iterable[PriceEntry] = ()) -> None:
        self.entries: Mapping[EntryKey, PriceEntry] = {entry.key: entry for entry in entries}
        self._by_item: dict[tuple[str, str, str], list[PriceEntry]] = {}
        for entry in self.entries.values():
            if entry.price_nano is not None:
                self._by_item.setdefault((entry.vendor, entry.model, entry.unit), []).append(entry)
        for found in self._by_item.values():
            # The latest first; of two books that say different things from the same moment on, the default one.
            found.sort(key=lambda entry: (-entry.effective_from_ms, entry.book != DEFAULT_BOOK, entry.book))

    def at(self, vendor: str, model: str, unit: str, at_ms: int) -> PriceEntry | None:
        """The price in force at that moment, or None: unpriced."""
        for entry in self._by_item.get((vendor, model, unit), ()):
            if entry.effective_from_ms <= at_ms:
                return entry
        return None

    def offers(self, unit: str) -> tuple[tuple[str, str], ...]:
        """Every (vendor, model) that sells this unit, by name."""
        return tuple(sorted({(vendor, model) for vendor, model, sold in self._by_item if sold == unit}))


def charge_nano(price: PriceEntry, quantity: int) -> int:
    """What `quantity` units cost: the minimum and whole increments first, then rounded once, half-even, to the nano."""
    if price.price_nano is None:
        raise ValueError("a withdrawn price has no charge")
    if quantity == 0:
        return 0
    billed = max(quantity, price.minimum)
    billed += -billed % max(price.increment, 1)
    return divide_half_even(billed * price.price_nano, price.per)


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` to the nearest integer, ties to the even one; both not negative."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (1 if twice > denominator or (twice == denominator and quotient % 2) else 0)


def to_nano(text: str) -> int:
    """Decimal text in the installation's currency -> nanos, half-even. Raises InvalidPriceError."""
    try:
        value = Decimal(text)
        if not value.is_finite() or value < 0:
            raise InvalidPriceError(f"{text!r} is not an amount: write a decimal number such as 0.006")
        return int((value * NANO).to_integral_value(rounding=ROUND_HALF_EVEN))
    except InvalidOperation:
        raise InvalidPriceError(f"{text!r} is not an amount: write a decimal number such as 0.006") from None


def from_nano(nano: int) -> str:
    """Nanos -> decimal text without an exponent or trailing zeros."""
    text = f"{Decimal(nano) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def instant_ms(text: str) -> int:
    """RFC 3339 time or date (midnight UTC) -> milliseconds. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def changes(known: Mapping[EntryKey, PriceEntry], book: str, entries: Iterable[PriceEntry]) -> list[PriceEntry]:
    """What to record so that the rows say what `book` says now: new and corrected entries, and withdrawals."""
    wanted = {entry.key: entry for entry in entries}
    fresh = [
        entry
        for key, entry in wanted.items()
        if key not in known or replace(known[key], id=entry.id) != entry
    ]
    gone = [
        replace(entry, id=0, price_nano=None)
        for key, entry in known.items()
        if key[0] == book and key not in wanted and entry.price_nano is not None
    ]
    return fresh + gone


def read_book(book: Mapping[str, Any]) -> tuple[list[PriceEntry], list[str]]:
    """Entries of a PriceBook object, and what is wrong with those that cannot be read."""
    name = str(book["metadata"]["name"])
    entries: list[PriceEntry] = []
    problems: list[str] = []
    for index, raw in enumerate(book.get("spec", {}).get("entries", [])):
        try:
            entries.append(_read_entry(name, raw))
        except (KeyError, ValueError) as error:
            problems.append(f"PriceBook {name} spec.entries[{index}]: {error}")
    return entries, problems


def _read_entry(book: str, raw: Mapping[str, Any]) -> PriceEntry:
    return PriceEntry(
        id=0,
        book=book,
        vendor=str(raw["vendor"]),
        model=str(raw["model"]),
        unit=Unit(raw["unit"]).value,
        effective_from_ms=instant_ms(str(raw["effectiveFrom"])),
        price_nano=to_nano(str(raw["price"])),
        per=int(raw.get("per") or 1),
        minimum=int(raw.get("minimum") or 0),
        increment=int(raw.get("increment") or 1),
        source=str(raw.get("source") or ""),
    )
