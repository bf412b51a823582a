"""What the catalogue says of each model, for a person: where it can run, what it takes the place of, at which price.

Pure: the cluster's objects and a moment in, plain entries out. Prices are looked up by the ledger's own code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec, Lifecycle, Source, VendorEquivalent
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import InvalidObjectError, Resource, SpecT, parse
from insource.domain.pricing import QUOTED_PER, amount_of, class_price_nano
from insource.domain.references import SERVED
from insource.ledger.prices import PriceTable, StoredPrice, charge_nano, read_book
from insource.wire.vocabulary import Modality

RETIRED, DEPRECATED = "Retired", "Deprecated"


@dataclass(frozen=True, slots=True)
class Price:
    """What a quantity that people quote costs today."""

    nano: int
    per: str
    source: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A vendor's model that this one can take the place of."""

    vendor: str
    model: str
    prices: tuple[Price, ...]
    """One for each unit that it is billed in; none: unpriced."""
    shutdown_on: str
    """Empty: none is known."""
    gone: bool
    """That day has come."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica with one accelerator can run. Whether a server could split the model, no object says."""

    runtime: str
    class_: str
    hour_nano: int
    """Of the accelerator, overhead included."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue."""

    name: str
    modality: Modality
    served: bool
    """Whether this release can serve the modality."""
    publisher: str
    version: str
    licence: str
    stage: str
    successor: str
    memory_gib: int | None
    sources: tuple[Source, ...]
    places: tuple[Place, ...]
    """Where it fits by what is known: by a profile, or by memory."""
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All entries by modality and name, and what could not be read."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    currency: str


def read_catalogue(objects: Iterable[Mapping[str, Any]], now: datetime) -> Catalogue:
    """The entries of these CatalogModels, with InferenceRuntimes, AcceleratorClasses and PriceBooks, at a moment."""
    problems: list[str] = []
    of_kind: dict[str, list[Mapping[str, Any]]] = {}
    for obj in objects:
        of_kind.setdefault(str(obj["kind"]), []).append(obj)
    models = _parsed(of_kind.get("CatalogModel", []), CatalogModelSpec, problems)
    runtimes = _parsed(of_kind.get("InferenceRuntime", []), InferenceRuntimeSpec, problems)
    classes = _parsed(of_kind.get("AcceleratorClass", []), AcceleratorClassSpec, problems)
    prices: list[StoredPrice] = []
    for book in of_kind.get("PriceBook", []):
        found, wrong = read_book(book)
        prices += found
        problems += wrong
    table, at_ms = PriceTable(prices), int(now.timestamp() * 1000)
    order = {modality: index for index, modality in enumerate(Modality)}
    entries = [_entry(model, runtimes, classes, table, at_ms, now.date()) for model in models.values()]
    return Catalogue(
        entries=tuple(sorted(entries, key=lambda entry: (order[entry.modality], entry.name))),
        problems=tuple(problems),
        currency="USD",
    )


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three names that a person may have meant."""
    names = sorted(known)
    part = [item for item in names if name.lower() in item] if name else []
    return tuple(part[:3] or difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6))


def break_even(place: Place, price: Price) -> Decimal | None:
    """Units (as the price is quoted) per hour from which a replica is cheaper than the vendor; None: never, it is
    free."""
    return Decimal(place.hour_nano) / Decimal(price.nano) if price.nano else None


def as_json(entry: Entry) -> dict[str, Any]:
    """One entry for scripts: amounts as decimal text."""
    return {
        "name": entry.name,
        "modality": str(entry.modality),
        "served_by_this_release": entry.served,
        "publisher": entry.publisher,
        "version": entry.version,
        "licence": entry.licence,
        "stage": entry.stage,
        "successor": entry.successor or None,
        "memory_gib": entry.memory_gib,
        "sources": [{"runtime": item.runtime, "uri": item.uri, "revision": item.revision} for item in entry.sources],
        "runs_on": [
            {
                "runtime": place.runtime,
                "class": place.class_,
                "price_per_hour": amount_of(place.hour_nano),
            }
            for place in entry.places
        ],
        "substitutes": [
            {
                "vendor": offer.vendor,
                "model": offer.model,
                "prices": [
                    {"price": amount_of(price.nano), "per": price.per, "source": price.source} for price in offer.prices
                ],
                "shutdown_on": offer.shutdown_on or None,
            }
            for offer in entry.offers
        ],
    }


def stage_on(lifecycle: Lifecycle | None, today: date) -> str:
    """The stage of that day: a date that has come overrules what is written."""
    if lifecycle is None:
        return "Available"
    if _has_come(lifecycle.shutdown_on, today):
        return RETIRED
    if _has_come(lifecycle.deprecated_on, today) and lifecycle.stage != RETIRED:
        return DEPRECATED
    return lifecycle.stage


def _entry(
    model: Resource[CatalogModelSpec],
    runtimes: Mapping[str, Resource[InferenceRuntimeSpec]],
    classes: Mapping[str, Resource[AcceleratorClassSpec]],
    prices: PriceTable,
    at_ms: int,
    today: date,
) -> Entry:
    spec = model.spec
    return Entry(
        name=model.name,
        modality=spec.modality,
        served=spec.modality in SERVED,
        publisher=spec.publisher,
        version=spec.version,
        licence=spec.licence,
        stage=stage_on(spec.lifecycle, today),
        successor=(spec.lifecycle.successor if spec.lifecycle else None) or "",
        memory_gib=spec.requirements.memory_gib if spec.requirements else None,
        sources=spec.sources,
        places=tuple(
            place
            for source in spec.sources
            if source.runtime in runtimes and spec.modality in runtimes[source.runtime].spec.modalities
            for class_ in sorted(classes.values(), key=lambda item: item.name)
            if (place := _place(spec, source, class_)) is not None
        ),
        offers=tuple(_offer(item, prices, at_ms, today) for item in spec.vendor_equivalents),
    )


def _place(spec: CatalogModelSpec, source: Source, class_: Resource[AcceleratorClassSpec]) -> Place | None:
    needed = spec.requirements.memory_gib if spec.requirements else None
    has = class_.spec.memory_gib
    fits = needed is not None and has is not None and has >= needed
    if not fits and not any(profile.class_ == class_.name for profile in source.profiles):
        return None
    hour = class_price_nano(class_.spec.price_per_hour, class_.spec.overhead_factor)
    return Place(source.runtime, class_.name, hour)


def _offer(wanted: VendorEquivalent, prices: PriceTable, at_ms: int, today: date) -> Offer:
    found = []
    for unit, (quantity, per) in QUOTED_PER.items():
        price = prices.at(wanted.vendor, wanted.model, unit.value, at_ms)
        if price is not None:
            found.append(Price(charge_nano(price, quantity), per, price.source))
    return Offer(
        vendor=wanted.vendor,
        model=wanted.model,
        prices=tuple(found),
        shutdown_on=wanted.shutdown_on or "",
        gone=_has_come(wanted.shutdown_on, today),
    )


def _has_come(day: str | None, today: date) -> bool:
    # As text: a date that passes the schema's pattern need not be one (2026-02-31).
    return day is not None and day <= today.isoformat()


def _parsed(objects: Iterable[Mapping[str, Any]], spec: type[SpecT], problems: list[str]) -> dict[str, Resource[SpecT]]:
    found = {}
    for obj in objects:
        try:
            found[str(obj["metadata"]["name"])] = parse(obj, spec)
        except InvalidObjectError as error:
            problems.append(str(error))
    return found
