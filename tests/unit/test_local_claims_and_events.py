"""Claims that pods use stay; what happens twice is one Event."""

from __future__ import annotations

import pytest

from insource.local.claim_protection import ClaimProtectionController
from insource.local.control_loop import ControlLoop
from insource.local.object_events import EventRecorder, SeriesRecorder
from insource.local.objects import CLAIMS, EVENTS, PODS
from insource.local.store import Store
from tests.sim.virtual import virtual_env

CLAIM = {"metadata": {"name": "disk"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


@pytest.fixture
def store() -> Store:
    made = Store(virtual_env(1)[0])
    made.create(("", "namespaces"), {"metadata": {"name": "ns"}})
    return made


@pytest.mark.parametrize("node", ["", "n"])
def test_a_claim_stays_for_the_pods_on_nodes(store: Store, node: str) -> None:
    loop = ControlLoop(store, [ClaimProtectionController(store)], store.env.clock)
    store.create(CLAIMS, CLAIM, "ns")
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": [volume], "nodeName": node}
    store.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, "ns")
    store.delete(CLAIMS, "ns", "disk")
    loop.settle()
    assert (store.find(CLAIMS, "ns", "disk") is not None) == bool(node)
    store.delete(PODS, "ns", "p", grace_period_seconds=0)
    loop.settle()
    assert store.find(CLAIMS, "ns", "disk") is None
    loop.close()


def test_the_older_way_counts(store: Store) -> None:
    recorder = EventRecorder(store, store.env.clock, "c", "h")
    pod = store.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "ns")
    for message in ("a", "b", "a"):
        recorder.record(pod, "R", message)
    first, second = store.list(EVENTS, "ns").items
    assert [(each["message"], each["count"]) for each in (first, second)] == [("a", 2), ("b", 1)]
    assert first["source"] == {"component": "c", "host": "h"}
    assert first["metadata"]["name"] < second["metadata"]["name"], "by time, even at one moment"
    store.delete(EVENTS, "ns", first["metadata"]["name"])
    recorder.record(pod, "R", "a")
    assert len(store.list(EVENTS, "ns").items) == 2, "one that is gone is told anew"


def test_the_newer_way_is_a_series(store: Store) -> None:
    recorder = SeriesRecorder(store, store.env.clock, "c", "c-0")
    pod = store.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "ns")
    for _ in range(3):
        recorder.record(pod, "R", "a", action="A")
    (event,) = store.list(EVENTS, "ns").items
    assert (event["action"], event["series"]["count"], event["source"]) == ("A", 3, {})
    assert "count" not in event
