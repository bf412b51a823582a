"""In-house cost: shares and idle add up to what was allocated, exactly, whatever overlaps with what."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.ledger.occupancy import HOUR_MS, Lifetime, Rate, Work, apportion, cost_nano, split_lifetime

RATE = (Rate(0, 800_000_000),)


def test_one_request_on_one_slot_costs_its_time() -> None:
    split = split_lifetime(Lifetime(0, HOUR_MS, 1, 1), RATE, [Work("a", 0, HOUR_MS // 4)], 0, HOUR_MS)
    assert split.shares == {"a": 200_000_000}
    assert split.idle_nano == 600_000_000


def test_half_the_slots_used_is_half_idle() -> None:
    split = split_lifetime(Lifetime(0, HOUR_MS, 1, 2), RATE, [Work("a", 0, HOUR_MS)], 0, HOUR_MS)
    assert (split.shares["a"], split.idle_nano) == (400_000_000, 400_000_000)


def test_more_requests_than_slots_share_the_whole() -> None:
    work = [Work(name, 0, HOUR_MS) for name in "abcd"]
    split = split_lifetime(Lifetime(0, HOUR_MS, 1, 2), RATE, work, 0, HOUR_MS)
    assert set(split.shares.values()) == {200_000_000}
    assert split.idle_nano == 0


def test_work_outside_the_pods_time_costs_nothing() -> None:
    split = split_lifetime(Lifetime(1_000, 2_000, 1, 1), RATE, [Work("a", 0, 500), Work("b", 3_000, 4_000)], 0, 10_000)
    assert split.shares == {}


def test_a_price_change_counts_from_its_moment_and_the_first_price_before_it() -> None:
    rates = (Rate(1_000, 3_600_000), Rate(2_000, 7_200_000))  # 1 and 2 nano per ms
    assert split_lifetime(Lifetime(0, 3_000, 1, 1), rates, [], 0, 3_000).idle_nano == 2_000 + 2_000


def test_time_without_a_price_is_not_free() -> None:
    assert split_lifetime(Lifetime(0, 1_000, 1, 1), (), [], 0, 1_000).unpriced_ms == 1_000
    split = split_lifetime(Lifetime(0, 1_000, 1, 1), (Rate(0, 3_600_000), Rate(400, None)), [], 0, 1_000)
    assert (split.idle_nano, split.unpriced_ms) == (400, 600)


@st.composite
def pods(draw: st.DrawFn) -> tuple[Lifetime, tuple[Rate, ...], list[Work], list[int]]:
    start = draw(st.integers(0, 10_000))
    pod = Lifetime(start, start + draw(st.integers(1, 50_000)), draw(st.integers(1, 8)), draw(st.integers(1, 6)))
    moments = draw(st.lists(st.integers(0, 60_000), max_size=3, unique=True))
    rates = tuple(Rate(moment, draw(st.integers(0, 10**11))) for moment in moments) or RATE
    spans = draw(st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 20_000)), max_size=12))
    work = [Work(f"w{index % 9}", low, low + length) for index, (low, length) in enumerate(spans)]
    cuts = sorted(draw(st.sets(st.integers(0, 70_000), max_size=4)))
    return pod, rates, work, [0, *cuts, 80_000]


@given(pods())
def test_shares_and_idle_are_what_was_allocated_and_periods_add_up(
    made: tuple[Lifetime, tuple[Rate, ...], list[Work], list[int]],
) -> None:
    pod, rates, work, cuts = made
    ordered = sorted(rates, key=lambda rate: rate.from_ms)
    bounds = [pod.start_ms, *(min(max(r.from_ms, pod.start_ms), pod.end_ms) for r in ordered[1:]), pod.end_ms]
    allocated = sum(
        cost_nano(rate.hourly_nano or 0, pod.count, low, high, low)
        for rate, low, high in zip(ordered, bounds, bounds[1:], strict=False)
    )
    whole = split_lifetime(pod, rates, work, 0, 80_000)
    assert sum(whole.shares.values()) + whole.idle_nano == allocated
    assert whole.idle_nano >= 0
    assert all(nano >= 0 for nano in whole.shares.values())
    parts = [split_lifetime(pod, rates, work, low, high) for low, high in itertools.pairwise(cuts)]
    assert sum(part.allocated_nano for part in parts) == allocated


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_apportioned_parts_add_up_and_are_fair(amount: int, weights: list[int]) -> None:
    if not sum(weights):
        with pytest.raises(ValueError, match="weights"):
            apportion(amount, weights)
        return
    parts = apportion(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - amount * weight) < sum(weights)
