"""Pure: the cost report. What was served, what it cost in-house (busy and idle) and at vendors, and what was saved.

Amounts are decimal text in the installation's currency; None where a price is missing, never 0 for "unknown".
In-house cost is on the allocation basis: a pod costs while it holds its accelerators, used or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from insource.domain.pricing import NANO, QUOTED_PER, amount_of
from insource.ledger.attempts import PENDING, AttemptView
from insource.ledger.comparison import compare
from insource.ledger.occupancy import Lifetime, Rate, Split, Work, split_lifetime
from insource.ledger.prices import PriceTable
from insource.ledger.rows import PodSpan
from insource.ledger.spill import DAY_MS, utc_day
from insource.wire.vocabulary import Outcome, Unit

GroupBy = Literal["deployment", "backend", "role", "day"]
GROUPINGS: tuple[GroupBy, ...] = ("deployment", "backend", "role", "day")
IDLE_ROLE = "idle"
"""In reports by role, accelerators that waited have a line of their own."""
HOUR_MS = 3_600_000
UNIT = Unit.AUDIO_MS.value


@dataclass(frozen=True)
class CostFacts:
    """Everything that a report is made of."""

    attempts: tuple[AttemptView, ...]
    """Those that started within the report's time, and some before, whose work may reach into it."""
    pods: tuple[PodSpan, ...]
    rates: Mapping[str, tuple[Rate, ...]]
    prices: PriceTable
    references: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(namespace, deployment) -> (vendor, model) to compare with."""


@dataclass(frozen=True)
class CostQuery:
    """`[since_ms, until_ms)`, ms since the epoch; `reference` overrides the vendor that all are compared with."""

    since_ms: int
    until_ms: int
    by: GroupBy = "backend"
    currency: str = "USD"
    reference: tuple[str, str] | None = None


@dataclass
class _Line:
    """What adds up to one line of the report."""

    key: dict[str, str]
    request_ids: set[str] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=dict)
    measured: Counter[str] = field(default_factory=Counter)
    """Served work, by unit."""
    in_house: Counter[str] = field(default_factory=Counter)
    """The part of it that was served in-house."""
    billed: Counter[str] = field(default_factory=Counter)
    busy_nano: int = 0
    idle_nano: int = 0
    unpriced_pod_ms: int = 0
    vendor_nano: int = 0
    vendor_nano_of: Counter[str] = field(default_factory=Counter)
    """Of `vendor_nano`, what was charged by each unit."""
    vendor_priced: Counter[str] = field(default_factory=Counter)
    """The quantities that were charged."""
    unpriced: int = 0
    approximate_pods: int = 0

    def take(self, view: AttemptView) -> None:
        self.request_ids.add(view.request_id)
        self.outcomes[view.outcome] = self.outcomes.get(view.outcome, 0) + 1
        if view.served:
            self.measured.update(view.measured)
            if view.in_house:
                self.in_house.update(view.measured)
        self.billed.update(view.billed)
        for charge in view.charges:
            if charge.amount_nano is None:
                self.unpriced += 1
            else:
                self.vendor_nano += charge.amount_nano
                self.vendor_nano_of[charge.unit] += charge.amount_nano
                self.vendor_priced[charge.unit] += charge.quantity


def cost_report(facts: CostFacts, query: CostQuery) -> dict[str, Any]:
    """The answer of `GET /v1/cost`, as JSON."""
    within = [view for view in facts.attempts if query.since_ms <= view.started_at_ms < query.until_ms]
    work = _work(facts.attempts)
    splits = [
        (pod, window, _split(pod, work.get((pod.namespace, pod.name), ()), facts.rates, window))
        for pod in facts.pods
        for window in _windows(pod, query)
    ]
    lines = _lines(facts, within, splits, query)
    total = _total(within, splits)
    return {
        "generated_at": instant(query.until_ms),
        "since": instant(query.since_ms) if query.since_ms else None,
        "until": instant(query.until_ms),
        "currency": query.currency,
        "by": query.by,
        "rows": [_line_json(line) for line in lines],
        "comparisons": [
            compare(deployment, within, splits, facts, query) for deployment in _deployments(within, facts.pods)
        ],
        "totals": _line_json(total),
    }


def _lines(
    facts: CostFacts,
    within: Iterable[AttemptView],
    splits: Iterable[tuple[PodSpan, tuple[int, int], Split]],
    query: CostQuery,
) -> list[_Line]:
    lines: dict[tuple[str, ...], _Line] = {}

    def line(key: dict[str, str]) -> _Line:
        return lines.setdefault(tuple(key.values()), _Line(key))

    for view in within:
        line(_key(query.by, view.namespace, view.deployment, view.backend, view.role, view.started_at_ms)).take(view)
    roles = {(view.namespace, view.attempt_id): view.role for view in facts.attempts}
    for pod, (from_ms, _), split in splits:

        def of(role: str, pod: PodSpan = pod, from_ms: int = from_ms) -> _Line:
            return line(_key(query.by, pod.namespace, pod.deployment, pod.backend, role, from_ms))

        for attempt_id, nano in split.shares.items():
            of(roles[pod.namespace, attempt_id]).busy_nano += nano
        idle = of(IDLE_ROLE)
        idle.idle_nano += split.idle_nano
        idle.unpriced_pod_ms += split.unpriced_ms
        idle.approximate_pods += int(pod.approximate)
    return [lines[key] for key in sorted(lines)]


def _total(within: Iterable[AttemptView], splits: Iterable[tuple[PodSpan, tuple[int, int], Split]]) -> _Line:
    total = _Line({})
    for view in within:
        total.take(view)
    for _, _, split in splits:
        total.busy_nano += sum(split.shares.values())
        total.idle_nano += split.idle_nano
        total.unpriced_pod_ms += split.unpriced_ms
    return total


def _key(by: GroupBy, namespace: str, deployment: str, backend: str, role: str, at_ms: int) -> dict[str, str]:
    key = {"namespace": namespace, "deployment": deployment}
    if by == "day":
        return {"day": instant(utc_day(at_ms) * DAY_MS)[:10]} | key
    if by in ("backend", "role"):
        key["backend"] = backend
    if by == "role":
        key["role"] = role
    return key


def _windows(pod: PodSpan, query: CostQuery) -> list[tuple[int, int]]:
    """The parts of the report's time in which the pod lived: one, or one per UTC day in a report by day."""
    start = max(pod.start_ms, query.since_ms)
    end = min(query.until_ms if pod.end_ms is None else pod.end_ms, query.until_ms)
    if start >= end:
        return []
    if query.by != "day":
        return [(start, end)]
    days = range(utc_day(start), utc_day(end - 1) + 1)
    return [(max(start, day * DAY_MS), min(end, (day + 1) * DAY_MS)) for day in days]


def _work(attempts: Iterable[AttemptView]) -> dict[tuple[str, str], list[Work]]:
    """What each pod, by namespace and name, worked on."""
    work: dict[tuple[str, str], list[Work]] = {}
    for view in attempts:
        if view.pod and view.busy_ms and view.ended_at_ms is not None:
            held = Work(view.attempt_id, view.ended_at_ms - view.busy_ms, view.ended_at_ms)
            work.setdefault((view.namespace, view.pod), []).append(held)
    return work


def _split(pod: PodSpan, work: Iterable[Work], rates: Mapping[str, tuple[Rate, ...]], window: tuple[int, int]) -> Split:
    end_ms = window[1] if pod.end_ms is None else pod.end_ms
    lifetime = Lifetime(pod.start_ms, end_ms, pod.count, pod.slots)
    return split_lifetime(lifetime, rates.get(pod.accelerator_class, ()), work, *window)


def _deployments(within: Iterable[AttemptView], pods: Iterable[PodSpan]) -> list[tuple[str, str]]:
    return sorted({(v.namespace, v.deployment) for v in within} | {(p.namespace, p.deployment) for p in pods})


def _line_json(line: _Line) -> dict[str, Any]:
    allocated = line.busy_nano + line.idle_nano
    priced = line.unpriced_pod_ms == 0
    # By role idleness lies on a line of its own, so no line has the allocation basis that a price per hour needs.
    whole = priced and allocated and "role" not in line.key
    return {
        **line.key,
        "requests": len(line.request_ids),
        "attempts": dict(sorted(line.outcomes.items())),
        "work": {
            unit.value: {"measured": line.measured[unit], "billed": line.billed[unit]}
            for unit in QUOTED_PER
            if line.measured[unit] or line.billed[unit]
        },
        "audio_seconds": seconds(line.measured[UNIT]),
        "vendor_billed_seconds": seconds(line.billed[UNIT]),
        "in_house": {
            "cost": amount_of(allocated) if priced else None,
            "busy": amount_of(line.busy_nano),
            "idle": amount_of(line.idle_nano),
            "unpriced_pod_seconds": seconds(line.unpriced_pod_ms),
            "approximate_pods": line.approximate_pods,
            "per_audio_hour": per_hour(allocated, line.in_house[UNIT]) if whole else None,
            "per_unit": _unit_prices({_first(line.in_house): allocated}, line.in_house) if whole else {},
        },
        "vendor": {
            "cost": amount_of(line.vendor_nano),
            "per_audio_hour": per_hour(line.vendor_nano_of[UNIT], line.vendor_priced[UNIT]),
            "per_unit": _unit_prices(line.vendor_nano_of, line.vendor_priced),
        },
        "unpriced": line.unpriced,
        "unknown": line.outcomes.get(Outcome.UNKNOWN.value, 0),
        "pending": line.outcomes.get(PENDING, 0),
    }


def _first(work: Mapping[str, int]) -> str:
    """The unit that says most about this work; the whole cost is given per one of it."""
    return next((unit.value for unit in QUOTED_PER if work.get(unit, 0)), UNIT)


def _unit_prices(amounts: Mapping[str, int], quantities: Mapping[str, int]) -> dict[str, str]:
    """By unit, what the quantity that people quote a price for has cost: decimal text, to a millionth."""
    return {
        unit.value: f"{Decimal(amounts[unit]) * per / quantities[unit] / NANO:.6f}"
        for unit, (per, _) in QUOTED_PER.items()
        if unit in amounts and quantities.get(unit, 0)
    }


def instant(at_ms: int) -> str:
    """Milliseconds since the epoch -> RFC 3339, UTC."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def seconds(ms: int) -> str:
    """Milliseconds -> seconds as exact decimal text."""
    return f"{Decimal(ms) / 1000:.3f}"


def per_hour(nano: int, ms: int) -> str | None:
    """An amount for `ms` of audio -> decimal text per hour of audio, to a millionth; None for no audio."""
    return f"{Decimal(nano) * HOUR_MS / ms / 1_000_000_000:.6f}" if ms else None
