"""What the applier writes, and what it does not: creation, repeats, races, refusals, a lead that is lost."""

from __future__ import annotations

from typing import Any

import pytest

from insource.kube import resources
from insource.kube.applier import Applier, NotLeadingError
from insource.kube.cache import Cache
from insource.kube.client import ApiError
from insource.kube.packed import Packed
from insource.kube.resources import Key, Object
from insource.local.store import Store
from tests.sim.store_client import Faults, StoreClient
from tests.sim.virtual import virtual_env

KEY = Key("voice", "m")
SERVICES = ("", "services")


def service(port: int = 80, namespace: str = "voice") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "m", "namespace": namespace, "labels": {"a": "b"}},
        "spec": {"ports": [{"port": port}], "selector": {"a": "b"}},
    }


class Bench:
    """An applier over a store, with a cache that hears of nothing unless told."""

    def __init__(self) -> None:
        env, _ = virtual_env(1)
        self.store = Store(env)
        self.store.create(("", "namespaces"), {"metadata": {"name": "voice"}}, None)
        self.faults = Faults(env.rng)
        self.client = StoreClient(self.store, self.faults)
        self.cache: Cache[Packed] = Cache(Packed, again=lambda obj, old: Packed(obj).inherit(old))
        self.leads = True
        self.counted: list[str] = []
        self.applier = Applier(
            self.client,
            {resources.SERVICES: self.cache},
            field_manager="insource",
            may_write=lambda: self.leads,
            on_write=self.counted.append,
        )

    @property
    def live(self) -> Object:
        return self.store.get(SERVICES, "voice", "m")

    def hear(self) -> None:
        """The watch brings the object as it is now."""
        self.cache.observe(self.live)


async def test_what_is_missing_is_created_and_read_back_at_once() -> None:
    bench = Bench()
    assert await bench.applier.apply(service())
    assert bench.live["spec"]["ports"][0]["port"] == 80
    held = bench.cache.get(KEY)
    assert held is not None
    assert held.wanted
    assert bench.live["metadata"]["managedFields"][0]["manager"] == "insource"
    assert (bench.applier.writes, bench.counted) == ({"Service": 1}, ["Service"])


async def test_the_same_again_writes_nothing_before_and_after_its_event() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    assert not await bench.applier.apply(service())
    bench.hear()
    assert not await bench.applier.apply(service())
    assert bench.counted == ["Service"]


async def test_another_wish_or_somebody_elses_edit_is_written() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    assert await bench.applier.apply(service(81))
    assert bench.live["spec"]["ports"][0]["port"] == 81
    edited = {**bench.live, "spec": {**bench.live["spec"], "selector": {"a": "else"}}}
    bench.store.update(SERVICES, "voice", "m", edited, field_manager="somebody")
    bench.hear()
    assert await bench.applier.apply(service(81))
    assert bench.live["spec"]["selector"] == {"a": "b"}, "our children are ours: by force"


async def test_fields_of_others_stay() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    labelled = {**bench.live, "metadata": {**bench.live["metadata"], "labels": {"a": "b", "theirs": "x"}}}
    bench.store.update(SERVICES, "voice", "m", labelled, field_manager="somebody")
    bench.hear()
    await bench.applier.apply(service(82))
    assert bench.live["metadata"]["labels"] == {"a": "b", "theirs": "x"}


@pytest.mark.parametrize(("status", "reason"), [(409, "Conflict"), (429, "TooManyRequests"), (503, ""), (403, "")])
async def test_a_write_that_fails_comes_through_leaves_no_trace_and_goes_through_next_time(
    status: int, reason: str
) -> None:
    bench = Bench()
    refusal = ApiError(status, reason, "no", 3.0)
    bench.faults.deny = lambda _: refusal
    with pytest.raises(ApiError) as caught:
        await bench.applier.apply(service())
    assert caught.value is refusal
    assert bench.cache.get(KEY) is None
    assert bench.counted == []
    bench.faults.deny = lambda _: None
    assert await bench.applier.apply(service())


async def test_a_delete_that_meets_a_conflict_has_deleted_nothing_and_says_so() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    uid = bench.live["metadata"]["uid"]
    refusal = ApiError(409, "Conflict", "no")
    bench.faults.deny = lambda _: refusal
    with pytest.raises(ApiError) as caught:
        await bench.applier.delete(resources.SERVICES, KEY, uid)
    assert caught.value is refusal
    bench.faults.deny = lambda _: None
    with pytest.raises(ApiError):
        await bench.applier.delete(resources.SERVICES, KEY, "another's uid")
    assert await bench.applier.delete(resources.SERVICES, KEY, uid)


async def test_a_namespace_that_is_not_there_is_404() -> None:
    bench = Bench()
    with pytest.raises(ApiError) as caught:
        await bench.applier.apply(service(namespace="nowhere"))
    assert caught.value.status == 404
    assert bench.cache.get(Key("nowhere", "m")) is None


async def test_a_write_whose_answer_was_lost_is_repeated_and_changes_nothing() -> None:
    bench = Bench()
    bench.faults.lose_answer = 1.0
    with pytest.raises(ApiError):
        await bench.applier.apply(service())
    bench.faults.lose_answer = 0.0
    version = bench.live["metadata"]["resourceVersion"]
    assert await bench.applier.apply(service()), "nobody told us that it went through"
    assert bench.live["metadata"]["resourceVersion"] == version


async def test_whoever_does_not_lead_writes_nothing_but_may_look() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    bench.leads = False
    assert not await bench.applier.apply(service()), "nothing to write is no write"
    cache: Cache[Any] = Cache(lambda obj: obj)
    with pytest.raises(NotLeadingError):
        await bench.applier.apply(service(81))
    with pytest.raises(NotLeadingError):
        await bench.applier.delete(resources.SERVICES, KEY, bench.live["metadata"]["uid"])
    with pytest.raises(NotLeadingError):
        await bench.applier.write_status(resources.SERVICES, KEY, {"a": 1}, cache)
    assert bench.live["spec"]["ports"][0]["port"] == 80
    assert bench.client.writes == ["apply Service voice/m"]


async def test_only_the_object_that_was_meant_is_deleted() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    uid = bench.live["metadata"]["uid"]
    with pytest.raises(ApiError, match="does not match the UID"):
        await bench.applier.delete(resources.SERVICES, KEY, "somebody-else")
    assert bench.live["metadata"]["uid"] == uid
    assert await bench.applier.delete(resources.SERVICES, KEY, uid)
    assert bench.store.find(SERVICES, "voice", "m") is None
    assert not await bench.applier.delete(resources.SERVICES, Key("voice", "never"), "u"), "it is gone for all we know"


async def test_what_was_deleted_and_came_back_is_applied_anew() -> None:
    bench = Bench()
    await bench.applier.apply(service())
    gone = bench.live
    bench.store.delete(SERVICES, "voice", "m")
    version = str(bench.store.resource_version)
    bench.cache.observe_deleted({**gone, "metadata": {**gone["metadata"], "resourceVersion": version}})
    assert await bench.applier.apply(service())
    assert bench.live["metadata"]["uid"] != gone["metadata"]["uid"]
