"""Rolling updates keep within their bounds whatever pods do, and always arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insource.local.rollouts import Limits, Scale, limits, recreate_scales, rolling_scales


@pytest.mark.parametrize(
    ("rolling", "replicas", "expected"),
    [
        ({}, 4, Limits(1, 1)),
        ({}, 1, Limits(1, 0)),
        ({"maxSurge": 0, "maxUnavailable": "10%"}, 3, Limits(0, 1)),
        ({"maxSurge": "50%", "maxUnavailable": 0}, 3, Limits(2, 0)),
        ({"maxUnavailable": 9}, 3, Limits(1, 3)),
    ],
)
def test_limits(rolling: dict[str, int | str], replicas: int, expected: Limits) -> None:
    assert limits({"rollingUpdate": rolling}, replicas) == expected


def test_recreate_waits_until_the_old_pods_are_gone() -> None:
    new, old = Scale("n", 0, 0, 0), Scale("o", 3, 3, 3)
    assert recreate_scales(3, new, [old], old_pods=3) == {"o": 0, "n": 0}
    assert recreate_scales(3, new, [Scale("o", 0, 0, 0)], old_pods=0) == {"o": 0, "n": 3}


@given(
    replicas=st.integers(0, 8),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    before=st.integers(0, 8),
    slow=st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_from_any_size_it_arrives_within_bounds(
    replicas: int, surge: int, unavailable: int, before: int, slow: list[bool]
) -> None:
    bounds = limits({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}, replicas)
    new, old = Scale("n", 0, 0, 0), [Scale("o", before, before, before)]
    for step in slow:
        wanted = rolling_scales(replicas, bounds, new, old)
        after = sum(wanted.values())
        assert after <= max(replicas + bounds.surge, new.wanted + sum(scale.wanted for scale in old))
        counted = min(new.available, wanted["n"]) + min(old[0].available, wanted["o"])
        assert counted >= min(replicas - bounds.unavailable, new.counted + old[0].counted)
        # The world follows, with new pods becoming available at their own pace.
        available = min(new.available if step else new.available + 1, wanted["n"])
        new = Scale("n", wanted["n"], available, wanted["n"])
        old = [Scale("o", wanted["o"], min(old[0].available, wanted["o"]), wanted["o"])]
    if slow.count(False) > 40:
        assert (new.wanted, old[0].wanted) == (replicas, 0)


def test_unhealthy_old_replicas_go_first_and_do_not_block() -> None:
    new = Scale("n", 1, 0, 1)
    assert rolling_scales(3, Limits(1, 1), new, [Scale("o", 3, 2, 3)]) == {"n": 1, "o": 2}
