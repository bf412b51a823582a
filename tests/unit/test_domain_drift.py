"""When a live object counts as what we want."""

from __future__ import annotations

from typing import Any

import pytest

from insource.domain.drift import covers


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"a": 1}, {"a": 1, "defaulted": "by the server"}),
        ({"cpu": "1000m"}, {"cpu": "1"}),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}),
        ({"port": 80}, {"port": "80"}),
        ({"empty": {}}, {}),
        ({"empty": []}, {}),
        ({"empty": []}, {"empty": []}),
        ({"empty": ""}, {}),
        ({"off": False}, {}),
        ({"on": True}, {"on": True}),
        ([{"name": "a"}], [{"name": "injected"}, {"name": "a", "x": 1}]),
        ([1, 2], [1, 2]),
        ({"x": None}, {}),
    ],
)
def test_covered(desired: Any, live: Any) -> None:
    assert covers(desired, live)


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, None),
        ({"a": 1}, {"a": 2}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": 2}, {"a": True}),
        ({"a": True}, {"a": 2}),
        ({"on": True}, {}),
        ({"cpu": "1"}, {"cpu": "2"}),
        ({"a": {}}, {"a": "text"}),
        ([1, 2], [2, 1]),
        ([1], [1, 2]),
        ([1], None),
        ([], "text"),
        (["a"], "a"),
        ([{"name": "a"}], [{"name": "b"}]),
        ([{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}]),
        ({"x": "k"}, {"x": {"y": 1}}),
    ],
)
def test_not_covered(desired: Any, live: Any) -> None:
    assert not covers(desired, live)


def test_the_same_object_covers_itself_at_once() -> None:
    obj = {"a": [1]}
    assert covers(obj, obj)
