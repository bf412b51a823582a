"""The API server refuses one of our objects: its owner says which, why and what to do; what serves stays; it heals."""

from __future__ import annotations

from typing import Any

import pytest

from insource.kube import resources
from insource.kube.client import ApiError
from insource.kube.resources import Resource
from insource.reconciler.reconcile import Work
from insource.reconciler.refusals import RETRY_AT_MOST_S, refusal_of
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

QUOTA = ApiError(
    403, "Forbidden", 'deployments.apps "x" is forbidden: exceeded quota: few, used: count/deployments.apps=1'
)
POLICY = ApiError(403, "Forbidden", 'admission webhook "policy.example" denied the request: no registry but ours')
INVALID = ApiError(422, "Invalid", 'ReplicaSet.apps "x" is invalid: spec.template.spec.priority: Invalid value')
MALFORMED = ApiError(400, "BadRequest", "ReplicaSet in version v1 cannot be handled: unknown field spec.foo")


def deny(world: World, error: ApiError | None, start: str = "apply ReplicaSet voice/dictation") -> None:
    """From now on the API server refuses whatever write begins so."""
    world.faults.deny = lambda what: error if what.startswith(start) else None


def told(world: World, kind: Resource = resources.MODEL_DEPLOYMENTS, name: str = "dictation") -> dict[str, Any]:
    """Conditions by type."""
    obj = next(obj for obj in world.objects(kind) if obj["metadata"]["name"] == name)
    return {item["type"]: item for item in obj["status"]["conditions"]}


def warnings(world: World, reason: str) -> list[str]:
    return [event["note"] for event in world.objects(resources.EVENTS) if event["reason"] == reason]


async def started() -> World:
    world = World(0)
    world.put(vendor())
    await world.operator.start()
    return world


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (QUOTA, "QuotaExceeded", "raise the quota of this namespace"),
        (POLICY, "NotPermitted", "allow it"),
        (INVALID, "NotAccepted", "correct what it is made from"),
        (MALFORMED, "NotAccepted", "correct what it is made from"),
    ],
)
async def test_a_refused_child_is_told_by_name_with_the_servers_words_and_heals(
    error: ApiError, reason: str, advice: str
) -> None:
    world = await started()
    deny(world, error)
    world.put(model_deployment("dictation"))
    await world.settle()
    conditions = told(world)
    for type_, status in (("Ready", "False"), ("Stalled", "True")):
        assert (conditions[type_]["status"], conditions[type_]["reason"]) == (status, reason)
        assert 'the API server refused ReplicaSet "dictation-inhouse-cpu-' in conditions[type_]["message"]
        assert error.message in conditions[type_]["message"]
        assert advice in conditions[type_]["message"]
        assert conditions[type_]["observedGeneration"] == 1
    assert "Reconciling" not in conditions
    assert warnings(world, reason) == [conditions["Stalled"]["message"]]
    deny(world, None)
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    assert "Stalled" not in told(world)


async def test_a_refused_new_revision_leaves_alone_what_serves() -> None:
    world = await started()
    world.put(model_deployment("dictation"))
    await world.settle()
    before = next(iter(world.objects(resources.MODEL_DEPLOYMENTS)))["status"]["traffic"]
    serving = {obj["metadata"]["name"]: obj["spec"] for obj in world.objects(resources.REPLICA_SETS)}
    deny(world, POLICY)
    world.put(model_deployment("dictation", slots=7))
    await world.settle()
    assert told(world)["Stalled"]["reason"] == "NotPermitted"
    assert told(world)["Stalled"]["observedGeneration"] == 2
    assert next(iter(world.objects(resources.MODEL_DEPLOYMENTS)))["status"]["traffic"] == before
    assert {obj["metadata"]["name"]: obj["spec"] for obj in world.objects(resources.REPLICA_SETS)} == serving
    deny(world, None)
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    after = next(iter(world.objects(resources.MODEL_DEPLOYMENTS)))["status"]["traffic"]
    assert after["weights"] != before["weights"]


async def test_a_quota_is_also_why_nothing_is_schedulable() -> None:
    world = await started()
    deny(world, QUOTA)
    world.put(model_deployment("dictation"))
    await world.settle()
    schedulable = told(world)["Schedulable"]
    assert (schedulable["status"], schedulable["message"].startswith('class "cpu": ')) == ("False", True)
    assert "exceeded quota: few" in schedulable["message"]


async def test_the_same_refusal_again_writes_nothing_and_is_tried_at_least_each_minute() -> None:
    world = await started()
    deny(world, INVALID)
    world.put(model_deployment("dictation"))
    await world.settle()
    version, work = world.store.resource_version, Work("deployment", "voice", "dictation")
    queue, asked = world.operator.controller.queue, world.faults.deny
    tries: list[str] = []

    def count(what: str) -> ApiError | None:
        tries.append(what)
        return asked(what)

    world.faults.deny = count
    for _ in range(12):
        due = queue.next_due()
        assert due is not None
        assert due - world.clock.time <= RETRY_AT_MOST_S
        world.clock.time = due
        assert await world.operator.work()
    assert queue.failures(work) > 10
    assert len(tries) == 12
    assert world.store.resource_version == version


async def test_what_is_only_away_or_behind_is_no_refusal() -> None:
    manifest = {"kind": "Service", "metadata": {"name": "s"}}
    for status in (0, 401, 404, 409, 429, 500, 503):
        assert refusal_of(manifest, ApiError(status, "", "")) is None
    going = 'services "s" is forbidden: unable to create new content in namespace n because it is being terminated'
    assert refusal_of(manifest, ApiError(403, "Forbidden", going)) is None
    long = refusal_of(manifest, ApiError(422, "Invalid", "x" * 5000, 7.0))
    assert long is not None
    assert len(long.problem.message) < 1024
    assert long.problem.message.endswith("tried again by itself")
    assert long.retry_after_s == 7.0


async def test_a_refused_vendor_adapter_is_told_by_the_vendor() -> None:
    world = await started()
    deny(world, POLICY, "apply Deployment voice/openai-adapter")
    await world.settle()
    conditions = told(world, resources.VENDORS, "openai")
    assert (conditions["Stalled"]["status"], conditions["Stalled"]["reason"]) == ("True", "NotPermitted")
    assert "no registry but ours" in conditions["Ready"]["message"]
    assert warnings(world, "NotPermitted") == [conditions["Stalled"]["message"]]
    deny(world, None)
    await world.settle()
    assert told(world, resources.VENDORS, "openai")["Ready"]["status"] == "True"


async def test_what_every_adapter_of_a_namespace_needs_is_told_by_all_that_live_there() -> None:
    world = await started()
    world.put(model_deployment("dictation"))
    deny(world, POLICY, "apply ServiceAccount voice/insource-adapter")
    await world.settle()
    for kind, name in ((resources.MODEL_DEPLOYMENTS, "dictation"), (resources.VENDORS, "openai")):
        stalled = told(world, kind, name)["Stalled"]
        assert stalled["reason"] == "NotPermitted"
        assert 'ServiceAccount "insource-adapter"' in stalled["message"]
    deny(world, None)
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    assert "Stalled" not in told(world, resources.VENDORS, "openai")


async def test_a_quota_that_only_the_retired_revision_fills_frees_itself() -> None:
    """What nobody uses any more is deleted though the new revision is refused: otherwise it would stand in the way."""
    world = await started()
    world.put(model_deployment("dictation"))
    await world.settle()

    def few(what: str) -> ApiError | None:
        ours = [obj for obj in world.objects(resources.REPLICA_SETS) if "dictation" in obj["metadata"]["name"]]
        return QUOTA if what.startswith("apply ReplicaSet voice/dictation") and len(ours) >= 2 else None

    world.faults.deny = few
    for slots in (5, 6):
        world.put(model_deployment("dictation", slots=slots))
        await world.operator.relist(resources.MODEL_DEPLOYMENTS)
        while await world.operator.work():
            pass
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    assert [obj["metadata"]["labels"]["insource.dev/deployment"] for obj in world.objects(resources.REPLICA_SETS)
            if "dictation" in obj["metadata"]["name"]] == ["dictation"]  # fmt: skip


async def test_an_old_revision_that_may_not_be_deleted_is_an_event_and_goes_when_it_may() -> None:
    world = await started()
    world.put(model_deployment("dictation"))
    await world.settle()
    forbidden = ApiError(403, "Forbidden", 'deployments.apps is forbidden: User "operator" cannot delete resource')
    deny(world, forbidden, "delete ReplicaSet voice/dictation")
    world.put(model_deployment("dictation", slots=7))
    await world.settle()
    assert len(_owned(world)) == 2
    assert told(world)["Ready"]["status"] == "True"  # what serves is the new one
    (note,) = warnings(world, "DeletionRefused")
    assert 'refused to delete ReplicaSet "dictation-inhouse-cpu-' in note
    assert forbidden.message in note
    assert "allow it" in note
    deny(world, None)
    await world.settle()
    assert len(_owned(world)) == 1


def _owned(world: World) -> list[str]:
    names = [obj["metadata"]["name"] for obj in world.objects(resources.REPLICA_SETS)]
    return [name for name in names if name.startswith("dictation-inhouse")]
