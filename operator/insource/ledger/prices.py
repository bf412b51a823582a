"""Pure: the ledger's own view of price books, by time.

Entries come from PriceBook objects, are kept as rows, and are looked up at an attempt's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from insource.domain import pricing

DEFAULT_BOOK = "default"
DEFAULT_CURRENCY = "USD"

EntryKey = tuple[str, str, str, str, int]
"""Book, vendor, model, unit, effective from (ms)."""


@dataclass(frozen=True)
class StoredPrice:
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


class PriceTable:
    """Entries in force, looked up by time. Immutable: a change of the books makes a new one."""

    def __init__(self, entries: Iterable[StoredPrice] = ()) -> None:
        self.entries: Mapping[EntryKey, StoredPrice] = {entry.key: entry for entry in entries}
        self._by_item: dict[tuple[str, str, str], list[StoredPrice]] = {}
        for entry in self.entries.values():
            if entry.price_nano is not None:
                self._by_item.setdefault((entry.vendor, entry.model, entry.unit), []).append(entry)
        for found in self._by_item.values():
            # The latest first; of two books that say different things from the same moment on, the default one.
            found.sort(key=lambda entry: (-entry.effective_from_ms, entry.book != DEFAULT_BOOK, entry.book))

    def at(self, vendor: str, model: str, unit: str, at_ms: int) -> StoredPrice | None:
        """The price in force at that moment, or None: unpriced."""
        for entry in self._by_item.get((vendor, model, unit), ()):
            if entry.effective_from_ms <= at_ms:
                return entry
        return None

    def offers(self, unit: str) -> tuple[tuple[str, str], ...]:
        """Every (vendor, model) that sells this unit, by name."""
        return tuple(sorted({(vendor, model) for vendor, model, sold in self._by_item if sold == unit}))


def charge_nano(price: StoredPrice, quantity: int) -> int:
    """What `quantity` units cost (`domain.pricing`): minimum and increments first, rounded once, half-even."""
    if price.price_nano is None:
        raise ValueError("a withdrawn price has no charge")
    entry = pricing.PriceEntry(
        id=str(price.id),
        vendor=price.vendor,
        model=price.model,
        unit=price.unit,
        price_nano=price.price_nano,
        per=price.per,
        effective_from_ms=price.effective_from_ms,
        minimum=price.minimum,
        increment=price.increment,
        source=price.source,
    )
    return pricing.charge_nano(entry, quantity)


def instant_ms(text: str) -> int:
    """RFC 3339 time or date (midnight UTC) -> milliseconds. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def changes(known: Mapping[EntryKey, StoredPrice], book: str, entries: Iterable[StoredPrice]) -> list[StoredPrice]:
    """What to record so that the rows say what `book` says now: new and corrected entries, and withdrawals."""
    wanted = {entry.key: entry for entry in entries}
    fresh = [entry for key, entry in wanted.items() if key not in known or replace(known[key], id=entry.id) != entry]
    gone = [
        replace(entry, id=0, price_nano=None)
        for key, entry in known.items()
        if key[0] == book and key not in wanted and entry.price_nano is not None
    ]
    return fresh + gone


def read_book(book: Mapping[str, Any], currency: str = DEFAULT_CURRENCY) -> tuple[list[StoredPrice], list[str]]:
    """Entries of a PriceBook object, and what is wrong with those that cannot be read.

    A book in another currency than the installation's `currency` has no entries: what it prices is unpriced.
    """
    name = str(book["metadata"]["name"])
    other = book.get("spec", {}).get("currency", DEFAULT_CURRENCY)
    if other != currency:
        return [], [f"PriceBook {name} spec.currency: {other}, but this installation counts in {currency}: not used"]
    found: list[StoredPrice] = []
    problems: list[str] = []
    for index, raw in enumerate(book.get("spec", {}).get("entries", [])):
        try:
            found += [_stored(name, entry) for entry in pricing.entries_of(name, {"entries": [raw]})]
        except ValueError as error:
            problems.append(f"PriceBook {name} spec.entries[{index}]: {error}")
    return found, problems


def _stored(book: str, entry: pricing.PriceEntry) -> StoredPrice:
    fields = {key: value for key, value in asdict(entry).items() if key != "id"}
    return StoredPrice(id=0, book=book, **fields)
