"""The cache never goes back, whatever order events, lists and our own answers come in."""

from __future__ import annotations

from typing import Any

from insource.kube.cache import Cache
from insource.kube.resources import Key


def obj(name: str, version: int, value: int = 0) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}, "value": value}


def cache() -> tuple[Cache[int], list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []
    made = Cache(lambda o: int(o["value"]), lambda v: (v % 2,))
    made.subscribe(lambda change, key, _old, _new: changes.append((change, key.name)))
    return made, changes


A = Key("n", "a")


def test_older_and_repeated_events_are_no_news() -> None:
    held, changes = cache()
    held.observe(obj("a", 9, 1))
    held.observe(obj("a", 10, 2))
    held.observe(obj("a", 10, 2))
    held.observe(obj("a", 9, 1))
    assert held.get(A) == 2
    assert changes == [("ADDED", "a"), ("MODIFIED", "a")]


def test_our_own_write_is_held_at_once_and_its_event_is_no_news() -> None:
    held, changes = cache()
    held.observe(obj("a", 1))
    assert held.adopt(obj("a", 5, 7))
    held.observe(obj("a", 3, 1))
    held.observe(obj("a", 5, 7))
    assert held.get(A) == 7
    assert changes == [("ADDED", "a")]


def test_a_list_drops_what_was_deleted_unseen_but_not_what_is_newer_than_the_list() -> None:
    held, changes = cache()
    for name, version in (("a", 1), ("b", 2), ("c", 30)):
        held.observe(obj(name, version))
    held.replace([obj("b", 2)], "20")
    assert sorted(key.name for key in held.keys()) == ["b", "c"]  # noqa: SIM118
    assert ("DELETED", "a") in changes
    assert held.synced.is_set()


def test_a_list_that_is_older_than_a_deletion_does_not_bring_the_object_back() -> None:
    held, _ = cache()
    held.observe(obj("a", 1))
    held.observe_deleted(obj("a", 8))
    held.replace([obj("a", 1)], "5")
    assert held.get(A) is None
    held.observe(obj("a", 12, 3))
    assert held.get(A) == 3


def test_a_late_deletion_does_not_remove_what_was_made_again() -> None:
    held, _ = cache()
    held.observe(obj("a", 12))
    held.observe_deleted(obj("a", 8))
    assert held.get(A) == 0


def test_groups_follow_the_objects() -> None:
    held, _ = cache()
    held.observe(obj("a", 1, 1))
    assert held.members(1) == {A}
    held.adopt(obj("a", 2, 4))
    assert (held.members(1), held.members(0)) == (frozenset(), {A})
    held.observe_deleted(obj("a", 3))
    assert held.members(0) == frozenset()
