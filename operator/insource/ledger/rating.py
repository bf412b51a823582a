"""Pure: what an attempt's usage costs at the prices that held when it started.

Money is integer nanos. A quantity without a price is `unpriced` (None), never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from insource.ledger.prices import PriceTable, StoredPrice, charge_nano
from insource.wire.records import AttemptEnded, AttemptStarted, Quantity
from insource.wire.vocabulary import BackendKind, Outcome, Unit, UsageSource

BILLABLE_WITHOUT_A_REPORT = frozenset({Outcome.OK, Outcome.GONE, Outcome.TIMEOUT})
"""Outcomes after which a vendor may bill although it reported nothing: the work was, or may have been, done.

Vendors do not bill refused, shed or failed calls; if one does, it says so in its answer, and that is charged.
"""
BASES: tuple[frozenset[Unit], ...] = (
    frozenset({Unit.AUDIO_MS}),
    frozenset({Unit.CHARACTERS}),
    frozenset({Unit.IMAGES}),
    frozenset({Unit.PIXELS}),
    frozenset({Unit.PIXEL_STEPS}),
    frozenset({Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.INPUT_IMAGE_TOKENS, Unit.IMAGE_TOKENS}),
)
"""Ways to price the same work, the usual one first: a picture is one image, many pixels, and many tokens.

Units of one basis belong together: whoever sells by input tokens sells output tokens too, at a price that may be
missing from the book.
"""
MAX_NANO = 2**63 - 1


@dataclass(frozen=True)
class Charge:
    """One charge for one unit of an attempt. `amount_nano` None: unpriced."""

    unit: Unit
    source: UsageSource
    quantity: int
    price_id: int | None
    amount_nano: int | None


def rate(attempt: AttemptStarted, end: AttemptEnded, prices: PriceTable) -> tuple[Charge, ...]:
    """The charges of a finished attempt: none in-house, where the pod's lifetime is what costs."""
    if attempt.backend_kind is not BackendKind.VENDOR:
        return ()
    at_ms = attempt.started_at_ms
    return charges_of(chargeable(end.outcome, end.quantities), attempt.vendor, attempt.model, prices, at_ms)


def charges_of(
    quantities: Iterable[Quantity], vendor: str, model: str, prices: PriceTable, at_ms: int
) -> tuple[Charge, ...]:
    """A charge for each unit of the bases that this model has a price in; without any, unpriced in the usual one."""
    found = [(quantity, prices.at(vendor, model, quantity.unit, at_ms)) for quantity in quantities]
    priced = {quantity.unit for quantity, price in found if price is not None}
    present = {quantity.unit for quantity, _ in found}
    bases = [basis for basis in BASES if basis & priced] or [basis for basis in BASES if basis & present][:1]
    return tuple(
        price_quantity(quantity, price) for quantity, price in found if any(quantity.unit in basis for basis in bases)
    )


def chargeable(outcome: Outcome, quantities: Iterable[Quantity]) -> tuple[Quantity, ...]:
    """Per unit what the vendor says it billed, else what we measured if such an outcome can be billed at all."""
    by_unit: dict[Unit, dict[UsageSource, Quantity]] = {}
    for quantity in quantities:
        by_unit.setdefault(quantity.unit, {})[quantity.source] = quantity
    chosen = []
    for sources in by_unit.values():
        if UsageSource.BILLED in sources:
            chosen.append(sources[UsageSource.BILLED])
        elif outcome in BILLABLE_WITHOUT_A_REPORT:
            chosen.append(sources[UsageSource.MEASURED])
    return tuple(chosen)


def price_quantity(quantity: Quantity, price: StoredPrice | None) -> Charge:
    """One quantity at one price, or unpriced without one (or beyond what 64 bits can hold)."""
    amount = None if price is None else charge_nano(price, quantity.quantity)
    if price is None or amount is None or amount > MAX_NANO:
        return Charge(quantity.unit, quantity.source, quantity.quantity, None, None)
    return Charge(quantity.unit, quantity.source, quantity.quantity, price.id, amount)


def total_nano(charges: Iterable[Charge]) -> int | None:
    """Their sum, or None if any of them is unpriced."""
    total = 0
    for charge in charges:
        if charge.amount_nano is None:
            return None
        total += charge.amount_nano
    return total


def counterfactual_nano(
    work: Iterable[tuple[Mapping[Unit, int], int]], vendor: str, model: str, prices: PriceTable
) -> int | None:
    """What attempts of `(quantities, at_ms)` would have cost at this vendor at the time; None if any has no price.

    Each is charged by itself, as an attempt there would have been: in the units that the model has a price in, and so
    that a vendor's minimum and increment count as they would have.
    """
    total = 0
    for quantities, at_ms in work:
        measured = (
            Quantity(unit=unit, source=UsageSource.MEASURED, quantity=number) for unit, number in quantities.items()
        )
        nano = total_nano(charges_of(measured, vendor, model, prices, at_ms))
        if nano is None:
            return None
        total += nano
    return total


def cheapest(costs: Mapping[tuple[str, str], int | None]) -> tuple[str, str] | None:
    """The (vendor, model) that would have cost least among those with a price; the first by name if equal."""
    known = [(cost, key) for key, cost in costs.items() if cost is not None]
    return min(known)[1] if known else None
