"""Pure: what a pod's accelerator cost, split exactly between the requests that used it and idleness.

Allocation basis: a pod costs from bound to released, whether it works or not. At any moment with k requests in
flight on s slots, min(k, s)/s of the pod is busy and the k share that equally; the rest is idle.
Shares and idle add up to what was allocated, to the nano.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Work:
    """A slot held by one attempt, in ms since the epoch, end excluded."""

    attempt_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Rate:
    """Price of one accelerator per hour from a moment on; None: the class has no price."""

    from_ms: int
    hourly_nano: int | None


@dataclass(frozen=True)
class Lifetime:
    """One pod's time on its accelerators: `[start_ms, end_ms)`, `count` of them, `slots` requests at once."""

    start_ms: int
    end_ms: int
    count: int
    slots: int


@dataclass(frozen=True)
class Split:
    """An amount between the attempts' shares and idleness; `unpriced_ms` is time without a price, in neither."""

    shares: Mapping[str, int]
    idle_nano: int
    unpriced_ms: int = 0

    @property
    def allocated_nano(self) -> int:
        return sum(self.shares.values()) + self.idle_nano


def cost_nano(hourly_nano: int, count: int, from_ms: int, until_ms: int, origin_ms: int) -> int:
    """Cost of `[from_ms, until_ms)`, as a difference of running totals since `origin_ms`.

    Running totals are rounded down, so that the costs of adjacent periods always add up to the whole's.
    """

    def total(at_ms: int) -> int:
        return hourly_nano * count * (at_ms - origin_ms) // HOUR_MS

    return total(until_ms) - total(from_ms)


def split_lifetime(pod: Lifetime, rates: Sequence[Rate], work: Iterable[Work], since_ms: int, until_ms: int) -> Split:
    """The part of a pod's cost that falls into `[since_ms, until_ms)`, by attempt."""
    work = tuple(work)
    shares: dict[str, int] = {}
    idle_nano = unpriced_ms = 0
    for start_ms, end_ms, hourly_nano in _priced_spans(pod, rates):
        from_ms, to_ms = max(start_ms, since_ms), min(end_ms, until_ms)
        if from_ms >= to_ms:
            continue
        if hourly_nano is None:
            unpriced_ms += to_ms - from_ms
            continue
        amount = cost_nano(hourly_nano, pod.count, from_ms, to_ms, start_ms)
        weights, idle_weight = weigh(work, from_ms, to_ms, pod.slots)
        names = list(weights)
        parts = apportion(amount, [*weights.values(), idle_weight])
        for name, nano in zip(names, parts, strict=False):
            shares[name] = shares.get(name, 0) + nano
        idle_nano += parts[-1]
    return Split(shares, idle_nano, unpriced_ms)


def weigh(work: Iterable[Work], from_ms: int, to_ms: int, slots: int) -> tuple[dict[str, int], int]:
    """Integer weights of each attempt and of idleness over `[from_ms, to_ms)`; only their ratios mean something."""
    clipped = [
        (w.attempt_id, max(w.start_ms, from_ms), min(w.end_ms, to_ms))
        for w in work
        if w.start_ms < to_ms and w.end_ms > from_ms and w.start_ms < w.end_ms
    ]
    steps: dict[int, int] = {}
    for _, start_ms, end_ms in clipped:
        steps[start_ms] = steps.get(start_ms, 0) + 1
        steps[end_ms] = steps.get(end_ms, 0) - 1
    moments = sorted(steps)
    in_flight, depths = 0, []
    for moment in moments:
        in_flight += steps[moment]
        depths.append(in_flight)
    # One request among k holds 1/max(k, s) of the pod; in these units that is a whole number for every k.
    whole = lcm(slots, *{depth for depth in depths if depth > slots})
    held = {}
    total = 0
    for index, moment in enumerate(moments):
        if index:
            total += (moment - moments[index - 1]) * whole // max(depths[index - 1], slots)
        held[moment] = total
    weights: dict[str, int] = {}
    for attempt_id, start_ms, end_ms in clipped:
        weights[attempt_id] = weights.get(attempt_id, 0) + held[end_ms] - held[start_ms]
    return weights, (to_ms - from_ms) * whole - sum(weights.values())


def apportion(amount: int, weights: Sequence[int]) -> list[int]:
    """Split `amount` by weights into integers that add up to it (largest remainder, the first of equals)."""
    total = sum(weights)
    if total <= 0:
        raise ValueError("weights must add up to something")
    parts = [amount * weight // total for weight in weights]
    missing = amount - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for index in by_remainder[:missing]:
        parts[index] += 1
    return parts


def _priced_spans(pod: Lifetime, rates: Sequence[Rate]) -> Iterable[tuple[int, int, int | None]]:
    """The lifetime cut where the price changes. Before the first known price, the first one holds: the ledger learned
    of the class after the pod was bound."""
    ordered = sorted(rates, key=lambda rate: rate.from_ms)
    if not ordered:
        yield pod.start_ms, pod.end_ms, None
        return
    starts = [pod.start_ms, *(rate.from_ms for rate in ordered[1:])]
    for index, rate in enumerate(ordered):
        start_ms = max(starts[index], pod.start_ms)
        end_ms = min(starts[index + 1], pod.end_ms) if index + 1 < len(ordered) else pod.end_ms
        if start_ms < end_ms:
            yield start_ms, end_ms, rate.hourly_nano
