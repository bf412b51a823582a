"""Paths in the notation of structured-merge-diff, and what is left of an object without them."""

from __future__ import annotations

from typing import Any

import pytest

from insource.domain.yielding import UnknownPathError, without

OBJECT: dict[str, Any] = {
    "metadata": {"labels": {"app.kubernetes.io/name": "a", "app": "b"}},
    "spec": {
        "size": 1,
        "deep": {"only": 1},
        "ports": [{"port": 80, "protocol": "TCP", "name": "x"}, {"port": 80, "protocol": "UDP", "name": "y"}],
        "set": ["a", "b"],
    },
}


def spec(*paths: str) -> dict[str, Any]:
    left = without(OBJECT, paths)["spec"]
    assert isinstance(left, dict)
    return {name: value for name, value in left.items() if value != OBJECT["spec"].get(name)} | {
        name: None for name in OBJECT["spec"] if name not in left
    }


def test_a_field_goes_and_so_does_a_parent_that_is_empty_then() -> None:
    assert spec(".spec.size") == {"size": None}
    assert spec(".spec.deep.only") == {"deep": None}
    assert without({"spec": {"a": 1}}, [".spec.a"]) == {}


def test_an_item_is_found_by_its_keys() -> None:
    (first, second) = OBJECT["spec"]["ports"]
    assert spec('.spec.ports[port=80,protocol="UDP"].name') == {"ports": [first, {"port": 80, "protocol": "UDP"}]}
    assert spec('.spec.ports[port=80,protocol="UDP"]') == {"ports": [first]}
    assert spec(".spec.ports[0]") == {"ports": [second]}


def test_an_item_of_a_set_and_several_at_once() -> None:
    assert spec('.spec.set[="a"]', ".spec.size") == {"set": ["b"], "size": None}
    assert spec('.spec.set[="a"]', '.spec.set[="b"]') == {"set": None}


def test_names_with_dots_are_told_apart() -> None:
    labels = without(OBJECT, [".metadata.labels.app.kubernetes.io/name"])["metadata"]["labels"]
    assert labels == {"app": "b"}
    assert without(OBJECT, [".metadata.labels.app"])["metadata"]["labels"] == {"app.kubernetes.io/name": "a"}


def test_the_object_itself_is_not_changed() -> None:
    whole = repr(OBJECT)
    without(OBJECT, [".spec.size", ".spec.ports[0]", ".metadata.labels.app"])
    assert repr(OBJECT) == whole


@pytest.mark.parametrize(
    "path",
    [
        ".spec.none",
        "spec",
        ".spec.size.more",
        ".spec.ports[port=80]",  # two items
        '.spec.ports[name="z"]',
        ".spec.ports[",
        ".spec.ports[port=80",
        '.spec.ports[port=80;protocol="UDP"]',
        ".spec.ports[7]",
        ".spec[0]",
    ],
)
def test_what_leads_nowhere_is_said_whole(path: str) -> None:
    with pytest.raises(UnknownPathError) as error:
        without(OBJECT, [path])
    assert str(error.value) == path
