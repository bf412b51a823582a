"""An object that came past the schema: told with the field's path; what serves stays; it heals; no watch crashes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from insource.api.catalogue import builtin_objects
from insource.kube import resources
from insource.kube.resources import Key, Object, Resource
from tests.sim.edits import model_deployment, vendor
from tests.sim.world import World

_CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")


def loosen(world: World, *kinds: Resource) -> None:
    """The CRD of another release: it takes anything, and has no scale subresource, which would look into the spec."""
    for kind in kinds:
        name = f"{kind.plural}.{kind.group}"
        crd = copy.deepcopy(world.store.get(_CRDS, None, name))
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        crd["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": anything}
        crd["spec"]["versions"][0]["subresources"].pop("scale", None)
        world.store.update(_CRDS, None, name, crd)


def live(world: World, kind: Resource, name: str) -> Object:
    return next(obj for obj in world.objects(kind) if obj["metadata"]["name"] == name)


def told(world: World, kind: Resource = resources.MODEL_DEPLOYMENTS, name: str = "dictation") -> dict[str, Any]:
    """Conditions by type."""
    return {item["type"]: item for item in live(world, kind, name)["status"]["conditions"]}


def children(world: World) -> dict[str, Any]:
    """Everything that serves."""
    kinds = (
        resources.REPLICA_SETS,
        resources.DEPLOYMENTS,
        resources.SERVICES,
        resources.CONTROLLER_REVISIONS,
        resources.CONFIG_MAPS,
    )
    return {
        f"{kind.kind} {obj['metadata']['name']}": (obj["metadata"]["uid"], obj.get("spec"), obj.get("data"))
        for kind in kinds
        for obj in world.objects(kind)
    }


def warnings(world: World, reason: str) -> list[str]:
    return [event["note"] for event in world.objects(resources.EVENTS) if event["reason"] == reason]


async def serving(**spill: Any) -> World:
    """One ModelDeployment that serves, with spill to a Vendor."""
    world = World(0)
    loosen(
        world,
        resources.MODEL_DEPLOYMENTS,
        resources.VENDORS,
        resources.CATALOG_MODELS,
        resources.INFERENCE_RUNTIMES,
        resources.ACCELERATOR_CLASSES,
    )
    world.put(vendor())
    wanted = model_deployment("dictation")
    wanted["spec"]["traffic"]["spill"].update(spill)
    world.put(wanted)
    await world.operator.start()
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    return world


def broken(change: Any) -> Object:
    obj = model_deployment("dictation")
    obj["spec"]["traffic"]["spill"]["dailyLimit"] = "5"
    change(obj["spec"])
    return obj


CASES = [
    (lambda spec: spec.update(backends=[]), "spec.backends: "),
    (lambda spec: spec["backends"][0].pop("name"), "spec.backends[0].name: Field required"),
    (lambda spec: spec.update(traffic="inhouse"), "spec.traffic: "),
    (lambda spec: spec["traffic"].update(primary=7), "spec.traffic.primary: "),
    (lambda spec: spec.update(modality="Smell"), "spec.modality: "),
    # past the schema's cross-field rules only
    (lambda spec: spec["traffic"].update(primary="gone"), 'spec.traffic.primary: "gone" is not'),
    (lambda spec: spec["traffic"].update(requestTimeout="10h"), "spec.traffic.requestTimeout: 10h is not between"),
    (lambda spec: spec["traffic"]["spill"].update(backend="inhouse"), 'spec.traffic.spill.backend: "inhouse" is not'),
    (lambda spec: spec["backends"][0].update(vendor={"name": "v", "model": "m"}), "spec.backends[0]: a backend is"),
    (lambda spec: spec["backends"].append(spec["backends"][0]), 'spec.backends: two backends have the name "inhouse"'),
    (
        lambda spec: spec["backends"].append({"name": "b", "vendor": {"name": "openai", "model": "m"}}),
        'spec.backends: two backends use Vendor "openai"',
    ),
]


@pytest.mark.parametrize(("change", "words"), CASES, ids=[case[1][:40] for case in CASES])
async def test_a_model_deployment_that_does_not_fit_is_stalled_and_goes_on_serving(change: Any, words: str) -> None:
    world = await serving(dailyLimit="5")
    before, traffic = children(world), live(world, resources.MODEL_DEPLOYMENTS, "dictation")["status"]["traffic"]
    world.put(broken(change))
    await world.settle()
    conditions = told(world)
    for type_, status in (("Stalled", "True"), ("Ready", "False")):
        assert (conditions[type_]["status"], conditions[type_]["reason"]) == (status, "InvalidSpec")
        assert conditions[type_]["message"].startswith(words)
        assert conditions[type_]["observedGeneration"] == 2
    status = live(world, resources.MODEL_DEPLOYMENTS, "dictation")["status"]
    assert (status["observedGeneration"], status["traffic"]) == (2, traffic)
    assert warnings(world, "InvalidSpec") == [conditions["Stalled"]["message"]]
    assert children(world) == before
    await world.restart()
    await world.settle()
    assert world.operator.client.writes == [], "a restart with nothing to do wrote"
    assert children(world) == before
    world.put(broken(lambda _: None))
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    assert "Stalled" not in told(world)


async def test_one_that_never_fitted_is_told_too() -> None:
    world = World(0)
    loosen(world, resources.MODEL_DEPLOYMENTS)
    world.put({**model_deployment("dictation"), "spec": "serve"})
    await world.operator.start()
    await world.settle()
    assert told(world)["Stalled"]["message"].startswith("spec: Input should be ")
    assert live(world, resources.MODEL_DEPLOYMENTS, "dictation")["status"]["observedGeneration"] == 1
    assert "apply the CRDs of this one" in told(world)["Stalled"]["message"]


async def test_its_route_and_spending_limit_at_the_vendor_stay_but_a_revoked_permission_counts() -> None:
    world = await serving(dailyLimit="5")
    world.put(broken(lambda spec: spec.update(modality="Smell")))
    await world.settle()

    def route() -> dict[str, Any]:
        routes = live(world, resources.CONFIG_MAPS, "openai-adapter")["data"]["routes.json"]
        return json.loads(routes)["deployments"]["dictation"]

    assert (route()["spill_daily_limit"], route()["allowed"]) == ("5", True)
    private = vendor()
    private["spec"]["allowedDeployments"] = {"names": ["somebody-else"]}
    world.put(private)
    await world.settle()
    assert (route()["spill_daily_limit"], route()["allowed"]) == ("5", False)


async def test_a_vendor_that_does_not_fit_says_so_keeps_its_adapter_and_is_named_by_its_users() -> None:
    world = await serving()
    before, traffic = children(world), live(world, resources.MODEL_DEPLOYMENTS, "dictation")["status"]["traffic"]
    wrong = vendor()
    wrong["spec"].pop("endpoint")
    world.put(wrong)
    await world.settle()
    stalled = told(world, resources.VENDORS, "openai")["Stalled"]
    assert stalled["message"].startswith("spec.endpoint: Field required")
    assert live(world, resources.VENDORS, "openai")["status"]["observedGeneration"] == 2
    assert told(world)["Stalled"]["reason"] == "VendorInvalid"
    assert 'Vendor "openai" is invalid: spec.endpoint: Field required' in told(world)["Stalled"]["message"]
    assert children(world) == before
    assert live(world, resources.MODEL_DEPLOYMENTS, "dictation")["status"]["traffic"] == traffic
    world.put(vendor())
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    assert told(world, resources.VENDORS, "openai")["Ready"]["status"] == "True"


async def test_traffic_does_not_leave_a_vendor_only_because_its_object_does_not_fit() -> None:
    world = await serving()
    world.put(model_deployment("dictation", primary="openai"))
    await world.settle()
    wrong = vendor()
    wrong["spec"]["endpoint"] = "no URL"
    world.put(wrong)
    second = vendor("second")
    world.put(second)
    both = model_deployment("dictation", primary="openai")
    both["spec"]["backends"][1] = {"name": "other", "vendor": {"name": "second", "model": "m"}}
    both["spec"]["backends"].append({"name": "openai", "vendor": {"name": "openai", "model": "whisper-1"}})
    both["spec"]["traffic"]["primary"] = "other"
    world.put(both)
    await world.settle()
    weights = live(world, resources.MODEL_DEPLOYMENTS, "dictation")["status"]["traffic"]["weights"]
    assert [weight["backend"] for weight in weights] == ["openai"]
    assert told(world)["Stalled"]["reason"] == "VendorInvalid"


def builtin(kind: Resource, name: str) -> Object:
    return next(obj for obj in builtin_objects() if (obj["kind"], obj["metadata"]["name"]) == (kind.kind, name))


@pytest.mark.parametrize(
    ("kind", "name", "field"),
    [
        (resources.CATALOG_MODELS, "whisper-tiny-en", "modality"),
        (resources.INFERENCE_RUNTIMES, "faster-whisper-cpu", "image"),
        (resources.ACCELERATOR_CLASSES, "cpu", "pricePerHour"),
    ],
)
async def test_a_reference_that_does_not_fit_is_named_with_its_field_and_heals(
    kind: Resource, name: str, field: str
) -> None:
    world = await serving()
    before = children(world)
    good = builtin(kind, name)
    wrong = copy.deepcopy(good)
    del wrong["spec"][field]
    world.put(wrong)
    await world.settle()
    stalled = told(world)["Stalled"]
    assert stalled["reason"] == f"{kind.kind}Invalid"
    assert f'{kind.kind} "{name}" is invalid: spec.{field}: Field required; correct it' in stalled["message"]
    assert children(world) == before
    world.put(good)
    await world.settle()
    assert told(world)["Ready"]["status"] == "True"
    assert children(world).keys() == before.keys()


async def test_caches_take_whatever_the_api_gives() -> None:
    world = await serving()
    caches = world.operator.controller.caches
    nonsense: list[Any] = [None, [], "x", 7, {"backends": {"a": 1}}, {"sources": None}]
    for resource, cache in caches.by_resource().items():
        if resource.group != resources.VENDORS.group:
            continue
        for version, spec in enumerate(nonsense, start=10**6):
            metadata = {"name": "odd", "namespace": "voice", "resourceVersion": str(version), "uid": "u"}
            cache.observe({"metadata": metadata, "spec": spec})
        assert cache.get(Key("voice", "odd")) is not None
    assert caches.catalogue().unfit_models["odd"].startswith("spec.")
