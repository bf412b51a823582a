"""Events are a courtesy: one per thing to say, bounded, and one that cannot be written stops nobody."""

from __future__ import annotations

from typing import Any

from insource.kube.client import ApiError
from insource.kube.events import EventRecorder, Note
from insource.local.store import Store
from tests.sim.store_client import Faults, StoreClient
from tests.sim.virtual import virtual_env

EVENTS = ("events.k8s.io", "events")


def regarding(name: str = "dictation", namespace: str = "voice", uid: str = "u1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": uid}
    return {"apiVersion": "insource.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata}


def recorder() -> tuple[EventRecorder, Store, Faults]:
    env, _ = virtual_env(1)
    store, faults = Store(env), Faults(env.rng)
    for name in ("voice", "insource-system"):
        store.create(("", "namespaces"), {"metadata": {"name": name}}, None)
    client = StoreClient(store, faults)
    made = EventRecorder(
        client, env, controller="insource.dev/operator", instance="x" * 300, default_namespace="insource-system"
    )
    return made, store, faults


async def test_the_same_words_in_a_row_are_one_event_and_other_words_another() -> None:
    made, store, _ = recorder()
    first, second = Note("Warning", "QuotaExceeded", "one"), Note("Warning", "QuotaExceeded", "two")
    said = [await made.record(regarding(), note) for note in (first, first, second, first)]
    assert said == [True, False, True, True]
    assert await made.record(regarding(uid="u2"), first), "another object"
    assert len(store.list(EVENTS).items) == 4


async def test_an_event_names_its_object_and_keeps_to_the_apis_bounds() -> None:
    made, store, _ = recorder()
    assert await made.record(regarding("n" * 253), Note("Normal", "Ready", "w" * 5000))
    (event,) = store.list(EVENTS).items
    assert event["regarding"]["uid"] == "u1"
    assert (event["type"], event["reason"], len(event["note"])) == ("Normal", "Ready", 1024)
    assert len(event["metadata"]["name"]) <= 253
    assert len(event["reportingInstance"]) == 128


async def test_an_event_about_something_without_a_namespace_lies_in_ours() -> None:
    made, store, _ = recorder()
    assert await made.record(regarding("default", ""), Note("Warning", "InvalidSpec", "words"))
    assert store.list(EVENTS).items[0]["metadata"]["namespace"] == "insource-system"


async def test_one_that_cannot_be_written_is_forgotten() -> None:
    made, store, faults = recorder()
    faults.deny = lambda _: ApiError(403, "Forbidden", "namespace is being terminated")
    assert not await made.record(regarding(), Note("Normal", "Ready", "words"))
    faults.deny = lambda _: None
    assert store.list(EVENTS).items == []
    assert await made.record(regarding(), Note("Normal", "Serving", "words"))
