"""Lists, watches, expiry, subscribers, selectors."""

from __future__ import annotations

import asyncio

import pytest

from insource.local.store import Watch
from tests.unit.local_widgets import WIDGETS, refusal, widget, widget_store

CONFIG_MAPS = ("", "configmaps")


def seen(watch: Watch) -> list[tuple[str, str]]:
    return [(event.type, event.object["metadata"].get("name", "")) for event in watch.drain()]


def test_a_watch_starts_with_what_is_there() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    watch = store.watch(WIDGETS)
    store.patch(WIDGETS, "ns", "a", {"spec": {"replicas": 2}}, "merge")
    store.delete(WIDGETS, "ns", "a")
    assert seen(watch) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_a_watch_from_a_version_replays_what_came_after() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    version = store.list(WIDGETS).resource_version
    store.create(WIDGETS, widget("b"), "ns")
    assert seen(store.watch(WIDGETS, resource_version=version)) == [("ADDED", "b")]


def test_too_old_a_version_is_410() -> None:
    store = widget_store(history=3)
    version = store.list(WIDGETS).resource_version
    for i in range(5):
        store.create(WIDGETS, widget(f"w{i}"), "ns")
    (event,) = store.watch(WIDGETS, resource_version=version).drain()
    assert (event.type, event.object["code"], event.object["reason"]) == ("ERROR", 410, "Expired")


def test_selectors_turn_transitions_into_additions_and_deletions() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    watch = store.watch(WIDGETS, field_selector="spec.color=blue")
    store.patch(WIDGETS, "ns", "a", {"spec": {"color": "blue"}}, "merge")
    store.patch(WIDGETS, "ns", "a", {"spec": {"color": "red"}}, "merge")
    assert seen(watch) == [("ADDED", "a"), ("DELETED", "a")]


def test_watch_list_marks_its_end() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    events = store.watch(WIDGETS, initial_events=True).drain()
    assert [event.type for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1].object["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_is_an_async_iterator_that_close_ends() -> None:
    store = widget_store()
    watch = store.watch(WIDGETS)
    names: list[str] = []

    async def read() -> None:
        async for event in watch:
            names.append(event.object["metadata"]["name"])

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    store.create(WIDGETS, widget("a"), "ns")
    store.close()
    await asyncio.wait_for(reader, 60)
    assert names == ["a"]


def test_pages_are_a_snapshot() -> None:
    store = widget_store()
    for i in range(5):
        store.create(WIDGETS, widget(f"w{i}"), "ns")
    first = store.list(WIDGETS, "ns", limit=2)
    assert first.remaining == 3
    store.delete(WIDGETS, "ns", "w4")
    store.create(WIDGETS, widget("w9"), "ns")
    second = store.list(WIDGETS, "ns", limit=5, continue_=first.continue_)
    assert [obj["metadata"]["name"] for obj in second.items] == ["w2", "w3", "w4"]
    assert second.resource_version == first.resource_version


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("i in (1,2)", ["c1", "c2"]),
        ("i notin (1,2)", ["c0", "c3", "cx"]),
        ("!i", ["cx"]),
        ("i!=1,i", ["c0", "c2", "c3"]),
        ("i>0,i<3", ["c1", "c2"]),
    ],
)
def test_label_selectors(selector: str, names: list[str]) -> None:
    store = widget_store()
    for i in ("0", "1", "2", "3"):
        store.create(CONFIG_MAPS, {"metadata": {"name": f"c{i}", "labels": {"i": i}}}, "ns")
    store.create(CONFIG_MAPS, {"metadata": {"name": "cx"}}, "ns")
    assert [o["metadata"]["name"] for o in store.list(CONFIG_MAPS, "ns", label_selector=selector).items] == names


def test_bad_selectors_are_refused() -> None:
    store = widget_store()
    assert refusal(store.list, WIDGETS, label_selector="a=(b").code == 400
    error = refusal(store.list, WIDGETS, field_selector="spec.note=x")
    assert error.message == "field label not supported: spec.note"


def test_subscribers_hear_everything_in_order_and_may_write() -> None:
    store = widget_store()
    heard: list[tuple[str, str, str]] = []

    def follow(event: str, kind: object, obj: dict) -> None:  # type: ignore[type-arg]
        heard.append((event, obj["kind"], obj["metadata"]["name"]))
        if obj["kind"] == "Widget" and event == "ADDED":
            store.create(CONFIG_MAPS, {"metadata": {"name": "made"}}, "ns")

    end = store.subscribe(follow)
    store.create(WIDGETS, widget("a"), "ns")
    end()
    store.delete(WIDGETS, "ns", "a")
    assert heard == [("ADDED", "Widget", "a"), ("ADDED", "ConfigMap", "made")]
