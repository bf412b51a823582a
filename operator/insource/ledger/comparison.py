"""Pure: in-house against vendors. The same work priced at the vendor in use, and at the cheapest in the books.

saved = counterfactual - in-house cost. Break-even = a replica's price per hour / the vendor's price per hour of
audio: hours of audio per hour from which the replica is cheaper. Comparing only with a dear vendor flatters, so both
are shown. Only work that was served counts: a shadow's or a failed attempt would not have been bought.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from insource.domain.pricing import amount_of, divided_half_even
from insource.ledger.attempts import AttemptView
from insource.ledger.occupancy import Split
from insource.ledger.prices import PriceTable
from insource.ledger.rating import cheapest, counterfactual_nano
from insource.ledger.rows import PodSpan
from insource.wire.vocabulary import Role, Unit

if TYPE_CHECKING:
    from insource.ledger.report import CostFacts, CostQuery

HOUR_MS = 3_600_000
Served = tuple[tuple[Unit, int, int], ...]


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
        (Unit(unit), quantity, view.started_at_ms)
        for view in mine
        if view.served and view.in_house
        for unit, quantity in view.measured.items()
    )
    unpriced_ms = sum(split.unpriced_ms for _, split in held)
    in_house = None if unpriced_ms else sum(split.allocated_nano for _, split in held)
    pod_ms = sum(window[1] - window[0] for window, _ in held)
    replica_hour = None if in_house is None or not pod_ms else divided_half_even(in_house * HOUR_MS, pod_ms)
    offers = facts.prices.offers(Unit.AUDIO_MS.value)
    costs = {offer: counterfactual_nano(served, *offer, facts.prices) for offer in offers}
    reference = query.reference or facts.references.get(deployment) or _last_used(mine)
    best = cheapest(costs) if served else _cheapest_now(offers, facts.prices, query.until_ms)

    def against(vendor: tuple[str, str] | None) -> dict[str, Any] | None:
        if vendor is None:
            return None
        cost = counterfactual_nano(served, *vendor, facts.prices)
        hour = audio_hour_nano(facts.prices, vendor, query.until_ms)
        saved = None if cost is None or in_house is None else cost - in_house
        return {
            "vendor": vendor[0],
            "model": vendor[1],
            "price_per_audio_hour": None if hour is None else amount_of(hour),
            "counterfactual": None if cost is None else amount_of(cost),
            "saved": None if saved is None else signed(saved),
            "break_even_audio_hours_per_hour": None
            if replica_hour is None or not hour
            else f"{Decimal(replica_hour) / hour:.4f}",
        }

    return {
        "namespace": deployment[0],
        "deployment": deployment[1],
        "in_house_audio_seconds": f"{Decimal(sum(q for _, q, _ in served)) / 1000:.3f}",
        "in_house_cost": None if in_house is None else amount_of(in_house),
        "replica_hour": None if replica_hour is None else amount_of(replica_hour),
        "reference": against(reference),
        "cheapest": against(best),
    }


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
