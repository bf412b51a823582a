"""Pods' lifetimes: from bound to gone, over restarts of the ledger, with what it could not see marked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from insource.api import meta
from insource.env import system_env
from insource.ledger.allocations import PodFacts, read_class, read_pod, record_class_price, record_pods
from insource.ledger.occupancy import Rate
from insource.ledger.rows import PodSpan, Selection, load_pods, load_rates
from insource.ledger.store import Store
from insource.ledger.watch import Watch, reference_of
from tests.unit.ledger_building import START_MS, opened

POD = PodFacts("u1", "voice", "pod-1", "dictation", "inhouse", "rev", "cpu", 1, 2, START_MS, finished=False)


async def record(store: Store, pods: list[PodFacts], at_ms: int, seen: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    await store.write(lambda c: record_pods(c, pods, seen, now_ms=at_ms))


async def spans(store: Store) -> tuple[PodSpan, ...]:
    return await store.read(lambda c: load_pods(c, Selection()))


async def test_a_pod_that_is_seen_to_go_is_released_then(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await record(store, [POD], START_MS + 10)
        await record(store, [POD], START_MS + 20, {"u1"})
        assert [(s.start_ms, s.end_ms) for s in await spans(store)] == [(START_MS, None)]
        await record(store, [], START_MS + 30, {"u1"})
        await record(store, [], START_MS + 99)
        assert [(s.start_ms, s.end_ms, s.approximate) for s in await spans(store)] == [(START_MS, START_MS + 30, False)]


async def test_a_pod_that_vanished_while_the_ledger_was_away_ends_when_it_was_last_seen(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await record(store, [POD], START_MS + 10)
    async with opened(tmp_path / "l.sqlite") as store:
        await record(store, [], START_MS + 1_000_000)
        assert [(s.end_ms, s.approximate) for s in await spans(store)] == [(START_MS + 10, True)]


async def test_a_pod_that_lived_through_a_restart_goes_on(tmp_path: Path) -> None:
    for at_ms in (10, 1_000):
        async with opened(tmp_path / "l.sqlite") as store:
            await record(store, [POD], START_MS + at_ms)
            assert [(s.start_ms, s.end_ms) for s in await spans(store)] == [(START_MS, None)]


async def test_a_finished_pod_holds_nothing_and_an_unbound_one_nothing_yet(tmp_path: Path) -> None:
    async with opened(tmp_path / "l.sqlite") as store:
        await record(store, [replace(POD, bound_at_ms=None)], START_MS)
        assert await spans(store) == ()
        await record(store, [POD], START_MS + 10)
        await record(store, [replace(POD, finished=True)], START_MS + 30, {"u1"})
        assert [s.end_ms for s in await spans(store)] == [START_MS + 30]


async def test_class_prices_are_recorded_when_they_change(tmp_path: Path) -> None:
    def gpu(price: str | None) -> Any:
        return read_class({"metadata": {"name": "l4"}, "spec": {"pricePerHour": price, "overheadFactor": "1.25"}})

    async with opened(tmp_path / "l.sqlite") as store:
        for price, at_ms, new in (("0.80", 1, True), ("0.80", 2, False), ("1.60", 3, True), (None, 3, True)):
            found = gpu(price)
            assert await store.write(lambda c, p=found, t=at_ms: record_class_price(c, p, now_ms=t)) is new  # type: ignore[misc]
        rates = await store.read(load_rates)
        assert rates["l4"] == (Rate(1, 1_000_000_000), Rate(3, 2_000_000_000), Rate(4, None))


def test_a_pod_is_read() -> None:
    labels = {meta.LABEL_DEPLOYMENT: "dictation", meta.LABEL_BACKEND: "inhouse", meta.LABEL_CLASS: "l4"}
    pod = {
        "metadata": {
            "name": "p", "namespace": "voice", "uid": "u", "labels": labels,
            "annotations": {meta.ANNOTATION_COUNT: "2"},
        },
        "spec": {"nodeName": "n", "containers": [{"env": [{"name": "INSOURCE_SLOTS", "value": "8"}]}]},
        "status": {
            "phase": "Running", "startTime": "2026-11-23T12:00:05Z",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T12:00:00Z"},
            ],
        },
    }  # fmt: skip
    facts = read_pod(pod)
    assert (facts.count, facts.slots, facts.bound_at_ms, facts.accelerator_class) == (2, 8, START_MS, "l4")
    pod["status"] = {"startTime": "2026-11-23T12:00:05Z"}
    assert read_pod(pod).bound_at_ms == START_MS + 5_000
    assert read_pod({"metadata": {"name": "p"}}).bound_at_ms is None


def test_the_vendor_to_compare_with_is_the_spill_backends() -> None:
    backends = [
        {"name": "inhouse", "inHouse": {}},
        {"name": "a", "vendor": {"name": "groq", "model": "w"}},
        {"name": "b", "vendor": {"name": "openai", "model": "whisper-1"}},
    ]
    assert reference_of({"spec": {"backends": backends, "traffic": {"spill": {"backend": "b"}}}}) == (
        "openai",
        "whisper-1",
    )
    assert reference_of({"spec": {"backends": backends, "traffic": {}}}) == ("groq", "w")
    assert reference_of({"spec": {"backends": backends[:1]}}) is None


def test_counts_in_a_classes_status_are_no_reason_to_record_anything() -> None:
    watch = Watch(cast(Any, None), cast(Any, None), system_env())

    def seen(version: int, **fields: Any) -> bool:
        watch._changed.clear()
        metadata = {"name": "l4", "resourceVersion": str(version)}
        watch._classes.cache.observe({"metadata": metadata, "spec": {"pricePerHour": "1"}, **fields})
        return watch._changed.is_set()

    assert seen(1)
    assert not seen(2, status={"nodes": 3, "allocated": 1})
    assert seen(3, spec={"pricePerHour": "2"})
