"""What the work queue promises: nothing missed, nothing twice at once, people first, back-off under virtual time."""

from __future__ import annotations

import asyncio

from insource.kube.workqueue import Lane, Priority, WorkQueue
from tests.sim.virtual import VirtualClock, virtual_env


def queue() -> tuple[WorkQueue[str], VirtualClock]:
    env, clock = virtual_env(1)
    return WorkQueue(env, backoff_s=1.0, backoff_limit_s=8.0), clock


def test_equal_keys_are_one_piece_of_work() -> None:
    work, _ = queue()
    for _ in range(5):
        work.add("a")
    assert (work.pop(), work.pop()) == ("a", None)


def test_a_key_added_while_in_flight_comes_again_after_done_and_not_before() -> None:
    work, _ = queue()
    work.add("a")
    assert work.pop() == "a"
    work.add("a")
    assert work.pop() is None
    work.done("a")
    assert work.pop() == "a"
    work.done("a")
    assert work.pop() is None


def test_an_edit_overtakes_a_resync_and_raises_the_same_key() -> None:
    work, _ = queue()
    for key in "abc":
        work.add(key, Priority.RESYNC)
    work.add("z", Priority.EDIT)
    work.add("c", Priority.EDIT)
    assert [work.pop() for _ in range(5)] == ["z", "c", "a", "b", None]


def test_the_earliest_of_several_delays_counts() -> None:
    work, clock = queue()
    work.add_after("a", 10)
    work.add_after("a", 3)
    work.add_after("a", 5)
    clock.time += 2.9
    assert work.pop() is None
    clock.time += 0.2
    assert work.pop() == "a"
    work.done("a")
    clock.time += 20
    assert work.pop() is None


def test_back_off_doubles_to_its_limit_and_starts_anew_after_forget() -> None:
    work, _ = queue()
    delays = [work.retry("a") for _ in range(6)]
    assert all(0.5 * c <= d <= c for d, c in zip(delays, (1, 2, 4, 8, 8, 8), strict=True))
    work.forget("a")
    assert work.retry("a") <= 1.0
    assert work.retry("a", at_least_s=30) == 30


async def test_get_waits_for_a_delayed_key_on_the_injected_clock() -> None:
    work, clock = queue()
    work.add_after("a", 3600)
    assert await asyncio.wait_for(work.get(), 60) == "a"
    assert clock.time >= 3700


async def test_get_wakes_up_for_a_key_that_is_added_meanwhile() -> None:
    work, _ = queue()
    waiting = asyncio.ensure_future(work.get())
    await asyncio.sleep(0)
    work.add("a")
    assert await asyncio.wait_for(waiting, 60) == "a"


def test_a_key_that_fails_while_it_is_wanted_again_is_not_held_back() -> None:
    work, _ = queue()
    work.add("a")
    assert work.pop() == "a"
    work.add("a", Priority.EDIT)
    work.retry("a")
    work.done("a")
    assert work.pop() == "a", "the edit does not wait for the back-off"


def test_a_delayed_key_keeps_its_priority_and_does_not_overtake_an_edit() -> None:
    work, clock = queue()
    work.add_after("late", 1.0, Priority.RESYNC)
    clock.time += 2
    work.add("edit", Priority.EDIT)
    assert [work.pop(), work.pop()] == ["edit", "late"]


def test_back_off_is_bounded_for_one_who_asks() -> None:
    work, _ = queue()
    for _ in range(10):
        assert work.retry("a", at_most_s=2.0) <= 2.0
    assert work.retry("a", at_least_s=9.0, at_most_s=2.0) == 9.0
    assert work.failures("a") == 11
    assert work.failures("b") == 0


def test_jitter_spreads_those_that_failed_together() -> None:
    work, _ = queue()
    delays = {work.retry(f"k{number}") for number in range(20)}
    assert len(delays) == 20


def test_what_is_in_flight_is_counted_and_not_ready() -> None:
    work, _ = queue()
    work.add("a")
    work.add("b")
    assert (len(work), work.in_flight) == (2, 0)
    work.pop()
    assert (len(work), work.in_flight) == (1, 1)
    work.add("a")
    assert (len(work), work.in_flight) == (2, 1)
    work.done("a")
    assert (len(work), work.in_flight) == (2, 0)


def test_one_lane_takes_the_oldest_and_the_other_the_newest_edit() -> None:
    work, _ = queue()
    work.add("change", Priority.CHANGE)
    assert work.pop(Lane.NEWEST_EDIT) is None
    for number in range(6):
        work.add(f"edit-{number}", Priority.EDIT)
    lanes = (Lane.NEWEST_EDIT, Lane.ANY, Lane.FRESH_EDIT, Lane.ANY)
    assert [work.pop(lane) for lane in lanes] == ["edit-5", "edit-0", "edit-4", "edit-1"]
    assert [work.pop() for _ in range(4)] == ["edit-2", "edit-3", "change", None]


def test_an_edit_that_has_waited_is_not_fresh() -> None:
    work, clock = queue()
    for number in range(3):
        work.add(f"edit-{number}", Priority.EDIT)
    clock.time += 1
    assert work.pop(Lane.FRESH_EDIT) is None
    work.add("now", Priority.EDIT)
    assert [work.pop(Lane.FRESH_EDIT), work.pop(Lane.FRESH_EDIT), work.pop()] == ["now", None, "edit-0"]
    assert work.pop(Lane.NEWEST_EDIT) == "edit-2"


async def test_work_is_given_out_as_places_get_free() -> None:
    work, _ = queue()
    places = {Lane.ANY: 2, Lane.NEWEST_EDIT: 1}
    for number in range(3):
        work.add(f"change-{number}", Priority.CHANGE)
    assert [await work.get(places) for _ in range(2)] == ["change-0", "change-1"]
    waiting = asyncio.ensure_future(work.get(places))
    await asyncio.sleep(0)
    assert not waiting.done(), "the third place is kept for an edit"
    work.add("edit", Priority.EDIT)
    async with asyncio.timeout(60):
        assert await waiting == "edit"
    work.add("edit-2", Priority.EDIT)
    waiting = asyncio.ensure_future(work.get(places))
    await asyncio.sleep(0)
    assert not waiting.done(), "all places are taken"
    work.done("change-1")
    async with asyncio.timeout(60):
        assert await waiting == "edit-2"


async def test_old_edits_have_their_turn_while_newer_ones_keep_coming() -> None:
    work, _ = queue()
    places = {Lane.ANY: 2, Lane.NEWEST_EDIT: 2}
    for number in range(20):
        work.add(f"old-{number}", Priority.EDIT)
    done: list[str] = []
    in_flight = [await work.get(places) for _ in range(4)]
    for number in range(100):
        work.add(f"new-{number}", Priority.EDIT)
        key = in_flight.pop(0)
        done.append(key)
        work.done(key)
        in_flight.append(await work.get(places))
    assert {f"old-{number}" for number in range(20)} <= set(done)


def test_work_that_went_well_wants_no_other_look() -> None:
    work, clock = queue()
    work.add("a")
    assert work.pop() == "a"
    work.retry("a")
    work.done("a")
    work.add_after("b", 1)
    work.add("a")
    assert work.pop() == "a", "before its back-off is over: it has changed"
    work.forget("a")
    work.done("a")
    clock.time += 10
    assert [work.pop(), work.pop()] == ["b", None]


def test_a_look_that_is_wanted_while_the_work_is_under_way_is_not_lost() -> None:
    work, clock = queue()
    work.add("a")
    assert work.pop() == "a"
    work.add_after("a", 2)
    work.forget("a")
    work.done("a")
    assert work.pop() is None
    clock.time += 2
    assert work.pop() == "a"
