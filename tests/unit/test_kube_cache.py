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


def told(held: Cache[int]) -> list[tuple[str, int | None, int | None]]:
    news: list[tuple[str, int | None, int | None]] = []
    held.subscribe(lambda change, _key, old, new: news.append((change, old, new)))
    return news


def test_the_echo_of_our_own_write_is_no_news_whether_it_comes_before_or_after_the_answer() -> None:
    for echo_first in (True, False):
        held, _ = cache()
        held.observe(obj("a", 1))
        news = told(held)
        held.begin_write(A)
        if echo_first:
            held.observe(obj("a", 2, 5))
        held.end_write(A, obj("a", 2, 5))
        if not echo_first:
            held.observe(obj("a", 2, 5))
        assert (held.get(A), news) == (5, []), f"echo_first={echo_first}"


def test_somebody_elses_change_during_our_write_is_told_after_it() -> None:
    held, _ = cache()
    held.observe(obj("a", 1))
    news = told(held)
    held.begin_write(A)
    held.observe(obj("a", 3, 9))  # theirs, after ours
    assert news == []
    held.end_write(A, obj("a", 2, 5))
    assert (held.get(A), news) == (9, [("MODIFIED", 0, 9)])


def test_a_write_that_failed_or_whose_answer_was_lost_hides_nothing() -> None:
    held, _ = cache()
    held.observe(obj("a", 1))
    news = told(held)
    held.begin_write(A)
    held.observe(obj("a", 2, 5))
    held.end_write(A, None)
    assert news == [("MODIFIED", 0, 5)]
    held.begin_write(A)
    held.end_write(A, None)
    assert len(news) == 1, "nothing happened, nothing to tell"
    held.observe(obj("a", 3, 6))
    assert news[1:] == [("MODIFIED", 5, 6)], "the write is over"


def test_a_creation_by_somebody_else_during_our_lost_write_is_told_as_one() -> None:
    held, _ = cache()
    news = told(held)
    held.begin_write(A)
    held.observe(obj("a", 2, 5))
    held.observe(obj("a", 3, 6))
    held.end_write(A, None)
    assert news == [("ADDED", None, 6)]


def test_an_answer_that_is_older_than_what_is_held_changes_nothing() -> None:
    held, _ = cache()
    held.observe(obj("a", 9, 7))
    held.begin_write(A)
    held.end_write(A, obj("a", 4, 1))
    assert held.get(A) == 7


def test_a_deletion_during_our_write_is_told_and_the_answer_does_not_bring_it_back() -> None:
    held, _ = cache()
    held.observe(obj("a", 1))
    news = told(held)
    held.begin_write(A)
    held.observe_deleted(obj("a", 5))
    held.end_write(A, obj("a", 3, 3))
    assert held.get(A) is None
    assert news == [("DELETED", 0, None)]


def test_somebody_elses_change_that_our_answer_already_contains_is_told_when_its_event_comes() -> None:
    """Their edit is written before our status, and its event comes after our answer: it must not be lost."""
    held, _ = cache()
    held.observe(obj("a", 1))
    news = told(held)
    held.begin_write(A)
    held.end_write(A, obj("a", 3, 5))
    held.observe(obj("a", 2, 4))  # theirs, at last
    assert (held.get(A), news) == (5, [("MODIFIED", None, 5)])
    held.observe(obj("a", 3, 5))  # the echo of ours
    held.observe(obj("a", 2, 4))  # and theirs once more
    assert len(news) == 1


def test_somebody_elses_change_whose_event_comes_during_our_write_is_told_though_the_answer_is_newer() -> None:
    held, _ = cache()
    held.observe(obj("a", 1))
    news = told(held)
    held.begin_write(A)
    held.observe(obj("a", 2, 4))  # theirs
    held.end_write(A, obj("a", 3, 5))
    assert (held.get(A), news) == (5, [("MODIFIED", 0, 5)])
    held.observe(obj("a", 3, 5))
    assert len(news) == 1


def test_a_list_instead_of_events_tells_of_every_write_whose_event_never_came() -> None:
    held, _ = cache()
    held.observe(obj("a", 1))
    held.observe(obj("b", 2))
    news = told(held)
    held.begin_write(A)
    held.end_write(A, obj("a", 5, 7))
    held.replace([obj("a", 5, 7), obj("b", 2)], "6")
    assert news == [("MODIFIED", None, 7)]
    held.replace([obj("a", 5, 7), obj("b", 2)], "6")
    assert len(news) == 1


def test_a_write_that_changed_nothing_waits_for_no_event() -> None:
    held, _ = cache()
    held.observe(obj("a", 4, 1))
    news = told(held)
    held.begin_write(A)
    held.end_write(A, obj("a", 4, 1))
    held.replace([obj("a", 4, 1)], "9")
    assert news == []


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    held, _ = cache()
    held.expect("n")
    held.expect("m")
    here, there = obj("a", 1), obj("b", 2)
    here["metadata"]["namespace"], there["metadata"]["namespace"] = "n", "m"
    held.observe(here)
    held.observe(there)
    held.prune(set(), "9", "n")
    assert list(held.keys()) == [Key("m", "b")]
    assert not held.synced.is_set(), "m has not been listed"
    held.prune({Key("m", "b")}, "9", "m")
    assert held.synced.is_set()
    assert list(held.keys()) == [Key("m", "b")]
