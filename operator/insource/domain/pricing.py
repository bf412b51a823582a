"""What an amount of work costs: exact integer arithmetic over effective-dated prices, rounded once.

A unit without a price is unpriced (`None`), never free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from insource.api.fields import decimal
from insource.api.price_book import PriceBookSpec
from insource.wire.vocabulary import Unit

NANO = 1_000_000_000
"""Nano-units per unit of currency."""
QUOTED_PER: Mapping[Unit, tuple[int, str]] = {
    Unit.AUDIO_MS: (3_600_000, "audio hour"),
    Unit.CHARACTERS: (1_000_000, "1M characters"),
    Unit.IMAGES: (1, "image"),
    Unit.PIXELS: (1_000_000, "1M pixels"),
    Unit.PIXEL_STEPS: (1_000_000, "1M pixel-steps"),
    Unit.INPUT_TOKENS: (1_000_000, "1M input tokens"),
    Unit.OUTPUT_TOKENS: (1_000_000, "1M output tokens"),
    Unit.INPUT_IMAGE_TOKENS: (1_000_000, "1M input image tokens"),
    Unit.IMAGE_TOKENS: (1_000_000, "1M image tokens"),
}
"""Unit -> the quantity that people quote a price for, and its name; the unit that says most about work comes first."""
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One price of one model at one vendor from a moment on."""

    id: str
    """`<book>/<vendor>/<model>/<unit>/<effectiveFrom>`: what a charge refers to."""
    vendor: str
    model: str
    unit: str
    price_nano: int
    """For `per` units, in nano-units of the currency."""
    per: int
    effective_from_ms: int
    minimum: int = 0
    increment: int = 1
    source: str = ""


def entries_of(book: str, spec: PriceBookSpec | Mapping[str, Any]) -> tuple[PriceEntry, ...]:
    """The entries of a PriceBook named `book`, from its parsed or plain spec."""
    parsed = spec if isinstance(spec, PriceBookSpec) else PriceBookSpec.model_validate(spec)
    return tuple(
        PriceEntry(
            id=f"{book}/{entry.vendor}/{entry.model}/{entry.unit}/{entry.effective_from}",
            vendor=entry.vendor,
            model=entry.model,
            unit=str(entry.unit),
            price_nano=int(decimal(entry.price) * NANO),
            per=entry.per,
            effective_from_ms=(date.fromisoformat(entry.effective_from) - _EPOCH).days * _DAY_MS,
            minimum=entry.minimum,
            increment=entry.increment,
            source=entry.source,
        )
        for entry in parsed.entries
    )


def price_for(book_entries: Iterable[PriceEntry], vendor: str, model: str, unit: str, at_ms: int) -> PriceEntry | None:
    """The price in force at `at_ms` (since the epoch, UTC): the latest that has begun; None: unpriced."""
    begun = (
        entry
        for entry in book_entries
        if entry.vendor == vendor and entry.model == model and entry.unit == unit and entry.effective_from_ms <= at_ms
    )
    return max(begun, key=lambda entry: entry.effective_from_ms, default=None)


def billed_quantity(entry: PriceEntry, quantity: int) -> int:
    """Units that are billed for `quantity` consumed: at least the minimum, in whole increments; none for none."""
    if quantity <= 0:
        return 0
    return -(-max(quantity, entry.minimum) // entry.increment) * entry.increment


def charge_nano(entry: PriceEntry, quantity: int) -> int:
    """The charge for `quantity` units consumed, in nano-units of the currency, rounded once, half to even."""
    return divided_half_even(billed_quantity(entry, quantity) * entry.price_nano, entry.per)


def class_price_nano(price_per_hour: str, overhead_factor: str = "1", count: int = 1) -> int:
    """What one hour of `count` accelerators of a class costs, overhead included, in nano-units."""
    per_hour = decimal(price_per_hour) * decimal(overhead_factor) * count * NANO
    return int(per_hour.to_integral_value(ROUND_HALF_EVEN))


def allocation_nano(hour_price_nano: int, allocated_ms: int) -> int:
    """The cost of holding something for `allocated_ms` at a price per hour, rounded once, half to even."""
    return divided_half_even(hour_price_nano * allocated_ms, _HOUR_MS)


def divided_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` for a numerator >= 0 and a denominator > 0, rounded half to even."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (1 if twice > denominator or (twice == denominator and quotient % 2) else 0)


def nano_of(amount: str) -> int:
    """Decimal text in nano-units, exactly. ValueError if it is none."""
    return int(decimal(amount) * NANO)


def amount_of(nano: int) -> str:
    """Nano-units as decimal text without needless zeros: 360000000 -> `0.36`."""
    text = format(Decimal(nano) / NANO, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def day_of(at_ms: int) -> str:
    """The UTC day of a moment, as in `2026-11-23`: what daily limits count by."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
