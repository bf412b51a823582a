"""Two candidates over one Lease: never two leaders, whatever hangs; a released Lease is taken at once."""

from __future__ import annotations

import asyncio
from typing import Any

from insource.kube.client import ApiError
from insource.kube.lease import Election, LeaseElector, LeaseTimes, micro_time
from tests.sim.virtual import VirtualClock, virtual_env


class OneLease:
    """Just what the elector calls, with a switch for an API that is down."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False
        self.writes = 0

    async def get(self, resource: Any, name: str, namespace: str = "") -> dict[str, Any]:
        self._answering()
        if self.lease is None:
            raise ApiError(404, "NotFound", name)
        return {**self.lease, "spec": dict(self.lease["spec"])}

    async def create(self, resource: Any, obj: dict[str, Any]) -> dict[str, Any]:
        self._answering()
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "")
        return self._store(obj["spec"])

    async def merge_patch(
        self, resource: Any, name: str, namespace: str, patch: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        self._answering()
        if self.lease is None:
            raise ApiError(404, "NotFound", name)
        if patch["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "")
        return self._store({**self.lease["spec"], **patch["spec"]})

    def _store(self, spec: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease

    def _answering(self) -> None:
        if self.down:
            raise ApiError(0, "Timeout", "")


def candidates(count: int) -> tuple[OneLease, VirtualClock, list[LeaseElector]]:
    env, clock = virtual_env(1)
    api = OneLease()
    electors = [
        LeaseElector(api, env, namespace="n", name="l", identity=f"c{i}", on_lead=lambda: None)  # type: ignore[arg-type]
        for i in range(count)
    ]
    return api, clock, electors


async def test_the_first_leads_and_the_second_waits() -> None:
    api, clock, (one, two) = candidates(2)
    for _ in range(10):
        await one.attempt()
        await two.attempt()
        assert (one.leads(), two.leads()) == (True, False)
        clock.time += 2
    assert api.writes == 10


async def test_a_leader_that_cannot_renew_stops_before_anybody_can_take_over() -> None:
    api, clock, (one, two) = candidates(2)
    await one.attempt()
    await two.attempt()
    took_over = False
    for _ in range(100):
        clock.time += 0.1
        api.down = True
        await one.attempt()
        api.down = False
        await two.attempt()
        assert not (one.leads() and two.leads())
        took_over = took_over or two.leads()
    assert took_over


async def test_a_released_lease_is_taken_by_the_next_attempt() -> None:
    api, _clock, (one, two) = candidates(2)
    await one.attempt()
    await two.attempt()
    assert not two.leads()
    await one.release()
    assert not one.leads()
    await two.attempt()
    assert two.leads()
    assert api.lease is not None
    assert api.lease["spec"]["leaseTransitions"] == 1


async def test_whoever_finds_its_renewal_refused_does_not_lead_any_more() -> None:
    _api, clock, (one, two) = candidates(2)
    await one.attempt()
    await two.attempt()
    clock.time += 7
    await two.attempt()
    assert two.leads()
    await one.attempt()
    assert not one.leads()


async def test_a_renewal_that_comes_late_begins_to_lead_anew() -> None:
    """What was turned away in the gap is looked at again."""
    env, clock = virtual_env(1)
    begun: list[float] = []

    class Slow(OneLease):
        async def merge_patch(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            answer = await super().merge_patch(*arguments, **options)
            clock.time += 5.0 if self.writes == 3 else 0.0
            return answer

    api = Slow()
    elector = LeaseElector(
        api,  # type: ignore[arg-type]
        env,
        namespace="n",
        name="l",
        identity="me",
        on_lead=lambda: begun.append(clock.time),
    )
    running = asyncio.ensure_future(elector.run())
    async with asyncio.timeout(60):
        while api.writes < 6:  # noqa: ASYNC110
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(begun) > 1
    assert begun[1] - begun[0] > 5.0


async def test_run_releases_when_it_is_cancelled() -> None:
    api, _clock, (one, _) = candidates(2)
    running = asyncio.ensure_future(one.run())
    async with asyncio.timeout(60):
        while not one.leads():  # noqa: ASYNC110
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert api.lease is not None
    assert api.lease["spec"]["holderIdentity"] == ""


async def test_a_lease_that_is_deleted_is_not_taken_while_its_holder_may_lead() -> None:
    api, clock, (one, two) = candidates(2)
    await one.attempt()
    await two.attempt()
    clock.time += 2
    await one.attempt()
    api.lease = None
    for _ in range(80):
        clock.time += 0.1
        await two.attempt()
        assert not (one.leads() and two.leads())
    assert two.leads(), "the holder never came back"


async def test_who_held_a_deleted_lease_makes_it_anew() -> None:
    api, clock, (one, two) = candidates(2)
    await one.attempt()
    await two.attempt()
    api.lease = None
    clock.time += 2
    await two.attempt()
    await one.attempt()
    assert not one.leads(), "its renewal was refused"
    await one.attempt()
    await two.attempt()
    assert (one.leads(), two.leads()) == (True, False)


async def test_who_was_deposed_waits_before_it_makes_a_deleted_lease_anew() -> None:
    api, clock, (one, two) = candidates(2)
    await one.attempt()
    await two.attempt()
    clock.time += 7
    await two.attempt()
    assert two.leads()
    api.lease = None
    for _ in range(80):
        await one.attempt()
        assert not (one.leads() and two.leads())
        clock.time += 0.1
    assert one.leads()


async def test_the_first_lease_of_all_is_made_at_once() -> None:
    _api, _clock, (one, _) = candidates(2)
    await one.attempt()
    assert one.leads()


def test_leading_is_counted_from_before_the_write_was_sent() -> None:
    election = Election("me", LeaseTimes(lease_s=6, margin_s=0.5)).wrote("1", sent_at=10.0, now=14.0)
    assert election.leads(15.4)
    assert not election.leads(15.5)


def test_micro_time_has_six_digits_even_for_a_whole_second() -> None:
    env, _ = virtual_env(1)
    assert micro_time(env.clock.now()).endswith(".000000Z")
