"""Pure: in-house against vendors. The same work priced at the vendor in use, and at the cheapest in the books.

saved = counterfactual - in-house cost. Break-even = a replica's price per hour / the vendor's price of a unit, such as
an hour of audio: how many of them per hour make the replica cheaper. Comparing only with a dear vendor flatters, so
both are shown. Only work that was served counts: a shadow's or a failed attempt would not have been bought.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from insource.domain.pricing import QUOTED_PER, amount_of, divided_half_even
from insource.ledger.attempts import AttemptView
from insource.ledger.occupancy import Split
from insource.ledger.prices import PriceTable
from insource.ledger.rating import BASES, cheapest, counterfactual_nano
from insource.ledger.rows import PodSpan
from insource.wire.vocabulary import Role, Unit

if TYPE_CHECKING:
    from insource.ledger.report import CostFacts, CostQuery

HOUR_MS = 3_600_000
Served = tuple[tuple[Mapping[Unit, int], int], ...]
"""Of each attempt its quantities and its start, ms since the epoch."""


def compare(
    deployment: tuple[str, str],
    within: Iterable[AttemptView],
    splits: Iterable[tuple[PodSpan, tuple[int, int], Split]],
    facts: CostFacts,
    query: CostQuery,
) -> dict[str, Any]:
    """One deployment's comparison, as JSON."""
    mine = [view for view in within if (view.namespace, view.deployment) == deployment]
    held = [(window, split) for pod, window, split in splits if (pod.namespace, pod.deployment) == deployment]
    served: Served = tuple(
        ({Unit(unit): quantity for unit, quantity in view.measured.items()}, view.started_at_ms)
        for view in mine
        if view.served and view.in_house and view.measured
    )
    totals = _totals(served)
    used = totals or {Unit(unit): 1 for view in mine for unit in view.measured}
    unit = next((unit for unit in QUOTED_PER if unit in used), Unit.AUDIO_MS)
    per, name = QUOTED_PER[unit]
    unpriced_ms = sum(split.unpriced_ms for _, split in held)
    in_house = None if unpriced_ms else sum(split.allocated_nano for _, split in held)
    pod_ms = sum(window[1] - window[0] for window, _ in held)
    replica_hour = None if in_house is None or not pod_ms else divided_half_even(in_house * HOUR_MS, pod_ms)
    offers = _alike(used.keys() or {Unit.AUDIO_MS}, facts.prices)
    costs = {offer: counterfactual_nano(served, *offer, facts.prices) for offer in offers}
    reference = query.reference or facts.references.get(deployment) or _last_used(mine)
    best = cheapest(costs) if served else _cheapest_now(offers, facts.prices, query.until_ms)

    def against(vendor: tuple[str, str] | None) -> dict[str, Any] | None:
        if vendor is None:
            return None
        cost = counterfactual_nano(served, *vendor, facts.prices)
        hour = audio_hour_nano(facts.prices, vendor, query.until_ms) if unit is Unit.AUDIO_MS else None
        # Of work in several units no list price says what one of them costs: this is what this work would have.
        price = hour if unit is Unit.AUDIO_MS or not cost or not totals else divided_half_even(cost * per, totals[unit])
        saved = None if cost is None or in_house is None else cost - in_house
        return {
            "vendor": vendor[0],
            "model": vendor[1],
            "price_per_audio_hour": None if hour is None else amount_of(hour),
            "price": None if price is None else amount_of(price),
            "break_even_per_hour": None
            if replica_hour is None or not price
            else f"{Decimal(replica_hour) / price:.4f}",
            "counterfactual": None if cost is None else amount_of(cost),
            "saved": None if saved is None else signed(saved),
            "break_even_audio_hours_per_hour": None
            if replica_hour is None or not hour
            else f"{Decimal(replica_hour) / hour:.4f}",
        }

    return {
        "namespace": deployment[0],
        "deployment": deployment[1],
        "in_house_audio_seconds": f"{Decimal(totals.get(Unit.AUDIO_MS, 0)) / 1000:.3f}",
        "in_house_work": {each.value: quantity for each, quantity in totals.items()},
        "unit": unit.value,
        "per": name,
        "in_house_cost": None if in_house is None else amount_of(in_house),
        "replica_hour": None if replica_hour is None else amount_of(replica_hour),
        "reference": against(reference),
        "cheapest": against(best),
    }


def _alike(units: Collection[Unit], prices: PriceTable) -> list[tuple[str, str]]:
    """Every (vendor, model) that sells such work, and not more than that.

    What is priced for tokens that come out, too, is no embedding, though it sells tokens that go in. Who edits
    pictures, and so has a price for those that go in, draws them, too.
    """
    bases = {unit for basis in BASES if basis & set(units) for unit in basis}
    sold = {unit: set(prices.offers(unit.value)) for unit in bases}
    some = {offer for unit in units for offer in sold[unit]}
    more = {offer for unit in bases - set(units) - {Unit.INPUT_IMAGE_TOKENS} for offer in sold[unit]}
    return sorted(some - more)


def _totals(served: Served) -> dict[Unit, int]:
    totals: dict[Unit, int] = {}
    for quantities, _ in served:
        for unit, quantity in quantities.items():
            totals[unit] = totals.get(unit, 0) + quantity
    return {unit: quantity for unit, quantity in totals.items() if quantity}


def audio_hour_nano(prices: PriceTable, vendor: tuple[str, str], at_ms: int) -> int | None:
    """A vendor's price of an hour of audio, without minimum and increment."""
    price = prices.at(*vendor, Unit.AUDIO_MS.value, at_ms)
    if price is None or price.price_nano is None:
        return None
    return divided_half_even(price.price_nano * HOUR_MS, price.per)


def signed(nano: int) -> str:
    """An amount that may be below zero, as decimal text."""
    return f"-{amount_of(-nano)}" if nano < 0 else amount_of(nano)


def _last_used(views: Iterable[AttemptView]) -> tuple[str, str] | None:
    """The vendor that this deployment used last, for spill if it spilled."""
    used = [view for view in views if not view.in_house and view.vendor and view.model]
    if not used:
        return None
    last = max(used, key=lambda view: (view.role == Role.SPILL, view.started_at_ms))
    return last.vendor, last.model


def _cheapest_now(offers: Iterable[tuple[str, str]], prices: PriceTable, at_ms: int) -> tuple[str, str] | None:
    return cheapest({offer: audio_hour_nano(prices, offer, at_ms) for offer in offers})
