"""Until when a Vendor serves the models in use: by its own list, else by the catalogue. Pure.

What was told once stands until somebody tells otherwise: an adapter that has just started has asked nobody yet, and
an older one never will. So the status holds all that is needed to say the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from insource.api import conditions as c
from insource.api.conditions import Condition
from insource.api.kinds import Misfit
from insource.api.vendor import BY_CATALOGUE, BY_VENDOR
from insource.domain.references import allows
from insource.domain.snapshot import Catalogue, Manifest, ModelDeployment, Vendor
from insource.wire.gateway import ModelsReport
from insource.wire.vocabulary import LISTS_MODELS

SOON = timedelta(days=90)
"""So long before its day a shutdown is worth a condition."""
LOOK_AT_LEAST_EVERY_S = 21_600.0
"""A machine that slept, or a clock that was set, must not cost the day."""
MODELS_MOST = 128
_NAMED_MODELS, _NAMED_USERS, _NAMED_SUCCESSORS = 4, 3, 3
SHUT_DOWN, NOT_LISTED, SHUTTING_DOWN = "ShutDown", "NotListed", "ShuttingDown"
_WORST_FIRST = (SHUT_DOWN, NOT_LISTED, SHUTTING_DOWN)


@dataclass(frozen=True, slots=True)
class Offer:
    """One model at a Vendor."""

    id: str
    listed: bool | None
    """Whether the vendor's list has it; None: no list has been seen, or none says."""
    day: date | None
    """The first day on which it is not served any more."""
    source: str
    """Who names the day; empty: nobody names one."""
    users: tuple[str, ...]
    """ModelDeployments that use it."""
    in_house: tuple[str, ...] = ()
    """CatalogModels with weights that can take its place."""
    catalogued: bool = False
    """The catalogue knows it, with or without a day."""


def used_models(
    vendor: Vendor, deployments: Iterable[ModelDeployment], unfit: Iterable[Misfit] = ()
) -> dict[str, tuple[str, ...]]:
    """The vendor's ids of the models in use -> names of the ModelDeployments that use each, sorted.

    Used is what a backend names, and what still has traffic; not what `allowedDeployments` excludes.
    """
    users: dict[str, set[str]] = {}
    every: tuple[ModelDeployment | Misfit, ...] = (*deployments, *unfit)
    for deployment in every:
        if not allows(vendor, deployment):
            continue
        serving = ((deployment.status.get("traffic") or {}).get("vendors") or {}).values()
        models = {str(at.get("model", "")) for at in serving if at.get("name") == vendor.name}
        if not isinstance(deployment, Misfit):
            named = (backend.vendor for backend in deployment.spec.backends)
            models |= {at.model for at in named if at is not None and at.name == vendor.name}
        for model in models - {""}:
            users.setdefault(model, set()).add(deployment.name)
    return {model: tuple(sorted(names)) for model, names in sorted(users.items())}


def offers_of(
    vendor: Vendor, users: Mapping[str, tuple[str, ...]], report: ModelsReport | None, catalogue: Catalogue
) -> tuple[Offer, ...]:
    """Every model in use, and others for which the vendor names a day: by id, at most `MODELS_MOST`."""
    told = _told(vendor, report)
    known = _by_catalogue(vendor.name, catalogue)
    others = sorted((day, name) for name, (_, day) in told.items() if day is not None and name not in users)
    names = [*users, *(name for _, name in others)][:MODELS_MOST]
    return tuple(_offer(name, users.get(name, ()), told, known) for name in sorted(names))


def _offer(
    name: str,
    users: tuple[str, ...],
    told: Mapping[str, tuple[bool | None, date | None]],
    known: Mapping[str, tuple[date | None, tuple[str, ...]]],
) -> Offer:
    listed, day = told.get(name, (None, None))
    ours, in_house = known.get(name, (None, ()))
    source = BY_VENDOR if day is not None else BY_CATALOGUE if ours is not None else ""
    return Offer(name, listed, day or ours, source, users, in_house, catalogued=name in known)


def _told(vendor: Vendor, report: ModelsReport | None) -> dict[str, tuple[bool | None, date | None]]:
    """What the vendor's list says, now or when it was last seen."""
    if vendor.spec.dialect not in LISTS_MODELS:
        return {}
    if report is not None and (report.listed_at is not None or report.has_none):
        return {model.id: (model.listed, day_of(model.shutdown_date)) for model in report.models}
    before = vendor.status.get("models") or ()
    return {
        item["id"]: (item.get("listed"), day_of(item.get("shutdownDate")) if item.get("source") == BY_VENDOR else None)
        for item in before
        if item.get("listed") is not None
    }


def _by_catalogue(vendor: str, catalogue: Catalogue) -> dict[str, tuple[date | None, tuple[str, ...]]]:
    """Model id -> the first day that any CatalogModel names, and those of them that can run in-house."""
    days: dict[str, list[date]] = {}
    in_house: dict[str, list[str]] = {}
    for name, model in sorted(catalogue.models.items()):
        for equivalent in model.spec.vendor_equivalents:
            if equivalent.vendor != vendor:
                continue
            day = day_of(equivalent.shutdown_on)
            days.setdefault(equivalent.model, []).extend([day] if day else [])
            in_house.setdefault(equivalent.model, []).extend([name] if model.spec.sources else [])
    return {model: (min(found, default=None), tuple(in_house[model])) for model, found in days.items()}


def day_of(text: Any) -> date | None:
    """The day that a text such as `2027-02-26` names; None if it names none."""
    try:
        return date.fromisoformat(text) if text else None
    except (ValueError, TypeError):
        return None


def models_status(offers: Iterable[Offer]) -> list[Manifest]:
    """`status.models`."""
    found = []
    for offer in offers:
        item: Manifest = {"id": offer.id, "inUse": bool(offer.users)}
        if offer.listed is not None:
            item["listed"] = offer.listed
        if offer.day is not None:
            item |= {"shutdownDate": offer.day.isoformat(), "source": offer.source}
        found.append(item)
    return found


def models_offered(offers: Iterable[Offer], report: ModelsReport | None, now: str) -> Condition | None:
    """The condition `ModelsOffered`, which makes nothing un-Ready; None while no model is in use."""
    used = [offer for offer in offers if offer.users]
    if not used:
        return None
    today = datetime.fromisoformat(now).date()
    troubles = [(reason, offer) for offer in used if (reason := _trouble(offer, today))]
    if troubles:
        return Condition(c.MODELS_OFFERED, c.FALSE, *_in_words(troubles))
    problem = f"; {report.problem}" if report is not None and report.problem else ""
    untold = [f'"{offer.id}"' for offer in used if offer.listed is None and not offer.catalogued]
    if untold:
        words = f"neither the vendor nor the catalogue says until when it serves {_some(untold, _NAMED_MODELS)}"
        return Condition(c.MODELS_OFFERED, c.UNKNOWN, "NotTold", words + problem)
    first = min(((offer.day, offer.id) for offer in used if offer.day is not None), default=None)
    later = f'; the first after them is "{first[1]}", on {first[0]}' if first else ""
    words = f"no model in use is known to be shut down in the next {SOON.days} days{later}"
    return Condition(c.MODELS_OFFERED, c.TRUE, "Offered", words + problem)


def next_look_s(offers: Iterable[Offer], now: str) -> float | None:
    """Seconds until a day passes that changes the condition, at most `LOOK_AT_LEAST_EVERY_S`; None: none will."""
    moment = datetime.fromisoformat(now)
    days = [offer.day for offer in offers if offer.users and offer.day is not None]
    turns = (datetime.combine(turn, time(), UTC) for day in days for turn in (day - SOON, day))
    ahead = [(turn - moment).total_seconds() for turn in turns if turn > moment]
    return min(*ahead, LOOK_AT_LEAST_EVERY_S) if ahead else None


def _trouble(offer: Offer, today: date) -> str:
    if offer.day is not None and offer.day <= today:
        return SHUT_DOWN
    if offer.listed is False:
        return NOT_LISTED
    return SHUTTING_DOWN if offer.day is not None and offer.day - SOON <= today else ""


def _in_words(troubles: list[tuple[str, Offer]]) -> tuple[str, str]:
    """Reason and message. No count of days: it would be another message every day."""
    troubles.sort(key=lambda each: (_WORST_FIRST.index(each[0]), each[1].day or date.max, each[1].id))
    told = _some([_sentence(reason, offer) for reason, offer in troubles], _NAMED_MODELS, "; ")
    return troubles[0][0], f"{told}. Name another model of the vendor in these backends, or take the work in-house"


def _sentence(reason: str, offer: Offer) -> str:
    says = "the vendor says" if offer.source == BY_VENDOR else "the catalogue says"
    what = {
        SHUT_DOWN: f"has been shut down since {offer.day}, {says}",
        NOT_LISTED: "is not in the vendor's list of models",
        SHUTTING_DOWN: f"is shut down on {offer.day}, {says}",
    }[reason]
    instead = f" (in-house instead: {_some(offer.in_house, _NAMED_SUCCESSORS)})" if offer.in_house else ""
    return f'"{offer.id}" (used by {_some(offer.users, _NAMED_USERS)}) {what}{instead}'


def _some(names: Iterable[str], most: int, between: str = ", ") -> str:
    """
    >>> _some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return between.join(listed[:most]) + more
