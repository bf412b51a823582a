"""What a ModelDeployment says about its pods, and a class about where they run, is in what we render; nothing else is.

`tests/operators/test_pod_settings.py` sends the same to API servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from insource.api import conditions as c
from insource.api import meta
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import parse
from insource.api.vendor import VendorSpec
from insource.cli.delivery import delivery_settings
from insource.cli.programs import operator
from insource.domain.build.pod_settings import mirrored
from insource.domain.build.vendor_deployment import build_vendor_deployment
from insource.reconciler.settings import OperatorSettings
from tests.pod_settings import EVERYTHING
from tests.unit.domain_world import SETTINGS, World, spec, vendor_object

Object = dict[str, Any]


def with_pod(pod: Object | None = None, *, class_: str = "nvidia-l4", count: int = 1) -> Object:
    in_house: Object = {"model": "whisper-large-v3-turbo", "accelerator": {"class": class_, "count": count}}
    if pod is not None:
        in_house["pod"] = pod
    return spec(backends=[{"name": "inhouse", "inHouse": in_house}], traffic={"primary": "inhouse"})


def with_class(world: World, **fields: Any) -> World:
    """The class `nvidia-l4` with other fields."""
    before = world.catalogue.classes["nvidia-l4"]
    wanted = {**before.spec.model_dump(mode="json", by_alias=True), **fields}
    obj = {"kind": "AcceleratorClass", "metadata": {"name": "nvidia-l4"}, "spec": wanted}
    classes = {**world.catalogue.classes, "nvidia-l4": parse(obj, AcceleratorClassSpec)}
    world.catalogue = replace(world.catalogue, classes=classes)
    return world


def template(world: World) -> Object:
    world.settle()
    found: Object = world.live["ReplicaSet", world.names("ReplicaSet")[0]]["spec"]["template"]
    return found


def named(items: list[Object], name: str) -> Object:
    (found,) = [item for item in items if item["name"] == name]
    return found


ACCOUNT = {"serviceAccountName": "speech"}


def test_everything_that_is_said_is_rendered() -> None:
    world = World(with_pod(EVERYTHING))
    rendered = template(world)
    labels, pod = rendered["metadata"]["labels"], rendered["spec"]
    own = {key: value for key, value in labels.items() if key.startswith("insource.dev/")}
    assert labels["team"] == "speech"
    assert rendered["metadata"]["annotations"] == {"example.com/note": "by night", meta.ANNOTATION_COUNT: "1"}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("speech", False)
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "nvidia.com/gpu.product": "NVIDIA-L4"}
    assert [item["key"] for item in pod["tolerations"]] == ["nvidia.com/gpu", "spot"]
    affinity = pod["affinity"]
    assert affinity["nodeAffinity"] == EVERYTHING["affinity"]["nodeAffinity"]
    (preferred,) = affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"] == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": own},
    }
    (required,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["labelSelector"] == {"matchLabels": {"app": "cache"}}
    (spread,) = pod["topologySpreadConstraints"]
    assert spread == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": own},
    }
    for volume in EVERYTHING["volumes"]:
        assert named(pod["volumes"], volume["name"]) == volume


def test_the_service_account_is_ours_unless_one_is_named() -> None:
    plain, named_one = (template(World(with_pod(pod)))["spec"] for pod in (None, {"serviceAccountName": "speech"}))
    assert plain["serviceAccountName"] == meta.ADAPTER_SERVICE_ACCOUNT
    parts = plain.keys() - {"containers"}  # the adapter's knows its revision
    assert {part: named_one[part] for part in parts} == {
        **{part: plain[part] for part in parts},
        "serviceAccountName": "speech",
    }, "and nothing else: no token more"


def test_what_is_said_of_the_containers() -> None:
    pod = template(World(with_pod(EVERYTHING)))["spec"]
    (server,), (adapter,) = pod["initContainers"], pod["containers"]
    wanted = EVERYTHING["server"]
    for item in wanted["env"]:
        assert named(server["env"], item["name"]) == item
    assert server["envFrom"] == wanted["envFrom"]
    assert server["args"][-1:] == wanted["extraArgs"]
    assert server["resources"]["requests"]["cpu"] == "2"
    assert server["resources"]["limits"] == {"memory": "12Gi", "nvidia.com/gpu": "1"}
    assert server["volumeMounts"][-4:] == wanted["volumeMounts"]
    assert adapter["resources"] == {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


def test_the_servers_env_takes_the_place_of_the_runtimes() -> None:
    world = World(with_pod({"server": {"env": [{"name": "MODE", "value": "mine"}], "extraArgs": ["--more"]}}))
    before = world.catalogue.runtimes["speaches"]
    fields = before.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    fields |= {"env": [{"name": "MODE", "value": "theirs"}], "args": ["serve"]}
    obj = {"kind": "InferenceRuntime", "metadata": {"name": "speaches"}, "spec": fields}
    runtimes = {**world.catalogue.runtimes, "speaches": parse(obj, InferenceRuntimeSpec)}
    world.catalogue = replace(world.catalogue, runtimes=runtimes)
    (server,) = template(world)["spec"]["initContainers"]
    assert named(server["env"], "MODE")["value"] == "mine"
    assert server["args"] == ["serve", "--more"]


def test_ours_goes_before_what_a_user_says() -> None:
    world = with_class(World(with_pod({"labels": {"kueue.x-k8s.io/queue-name": "mine"}})), queueName="gpus")
    assert template(world)["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def test_a_resource_claim_for_each_accelerator() -> None:
    world = with_class(World(with_pod(count=2)), resourceName="", resourceClaimTemplate="one-l4")
    pod = template(world)["spec"]
    assert pod["resourceClaims"] == [
        {"name": "accelerator-0", "resourceClaimTemplateName": "one-l4"},
        {"name": "accelerator-1", "resourceClaimTemplateName": "one-l4"},
    ]
    (server,) = pod["initContainers"]
    assert server["resources"]["claims"] == [{"name": "accelerator-0"}, {"name": "accelerator-1"}]
    assert not any("/" in name for name in server["resources"].get("limits", {}))


def test_scheduler_and_queue() -> None:
    world = with_class(World(with_pod()), schedulerName="volcano", queueName="gpus")
    rendered = template(world)
    assert rendered["spec"]["schedulerName"] == "volcano"
    assert rendered["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


@pytest.mark.parametrize(
    "fields", [{"schedulerName": "volcano"}, {"queueName": "gpus"}, {"resourceName": "", "resourceClaimTemplate": "x"}]
)
def test_what_a_class_says_of_scheduling_is_part_of_the_revision(fields: Object) -> None:
    plain, other = World(with_pod()), with_class(World(with_pod()), **fields)
    plain.settle()
    other.settle()
    assert plain.names("ReplicaSet") != other.names("ReplicaSet")


def test_pod_settings_are_part_of_the_revision_only_if_there_are_any() -> None:
    names = []
    for pod in (None, {}, {"labels": {"team": "speech"}}, {"server": {"extraArgs": ["-v"]}}, ACCOUNT):
        world = World(with_pod(pod))
        world.settle()
        names.append(world.names("ReplicaSet")[0])
    assert names[0] == names[1], "nothing said, nothing restarted"
    assert len(set(names)) == 4


def test_the_revision_of_those_who_use_none_of_it_is_that_of_earlier_releases() -> None:
    world = World(with_pod(count=2))
    world.settle()
    assert world.names("ReplicaSet") == ["dictation-inhouse-nvidia-l4-ddfc1c7071"]


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (
            {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100"}},
            'backend "inhouse": pod.nodeSelector wants "nvidia.com/gpu.product: NVIDIA-H100", AcceleratorClass '
            '"nvidia-l4" wants "nvidia.com/gpu.product: NVIDIA-L4"; take it out, or choose another class',
        ),
        (
            {"server": {"resources": {"limits": {"nvidia.com/gpu": "4"}}}},
            'backend "inhouse": pod.server.resources names "nvidia.com/gpu", which AcceleratorClass "nvidia-l4" '
            "asks for; set accelerator.count instead",
        ),
    ],
    ids=["node-selector", "resources"],
)
def test_a_conflict_with_the_class_is_told_and_what_serves_stays(pod: Object, words: str) -> None:
    world = World(with_pod()).serve()
    before = world.names("ReplicaSet")
    world.edit(with_pod(pod))
    world.settle()
    assert (world.condition(c.STALLED)["reason"], world.condition(c.STALLED)["message"]) == ("PodConflict", words)
    assert world.names("ReplicaSet") == before
    world.edit(with_pod())
    world.settle()
    assert world.is_ready()


@pytest.mark.parametrize(
    ("image", "at_the_mirror"),
    [
        ("ghcr.io/speaches-ai/speaches:0.8", "mirror.example/hub/speaches-ai/speaches:0.8"),
        ("localhost:5000/a/b@sha256:00", "mirror.example/hub/a/b@sha256:00"),
        ("localhost/a", "mirror.example/hub/a"),
        ("vllm/vllm-openai:v1", "mirror.example/hub/vllm/vllm-openai:v1"),
        ("nginx", "mirror.example/hub/library/nginx"),
        ("mirror.example/hub/a:1", "mirror.example/hub/a:1"),
        (SETTINGS.image, SETTINGS.image),
    ],
)
def test_images_at_a_mirror(image: str, at_the_mirror: str) -> None:
    assert mirrored(image, replace(SETTINGS, image_registry="mirror.example/hub/")) == at_the_mirror
    assert mirrored(image, SETTINGS) == image


def test_the_installations_registry_and_secrets_come_into_new_templates_only() -> None:
    world = World(with_pod()).serve()
    before = template(world)
    world.settings = replace(SETTINGS, image_registry="mirror.example", image_pull_secrets=("all",))
    assert template(world) == before, "a stored template stays as it is"
    world.edit(with_pod({"imagePullSecrets": [{"name": "registry"}, {"name": "all"}]}))
    world.settle()
    (new,) = [obj for (kind, _), obj in world.live.items() if kind == "ReplicaSet" and _is_new(obj)]
    pod: Mapping[str, Any] = new["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "all"}, {"name": "registry"}]
    assert pod["initContainers"][0]["image"].startswith("mirror.example/")
    assert pod["containers"][0]["image"] == SETTINGS.image


def _is_new(obj: Object) -> bool:
    return "imagePullSecrets" in obj["spec"]["template"]["spec"]


def test_a_vendors_adapter_gets_the_installations_secrets_too() -> None:
    vendor = parse(vendor_object(), VendorSpec)
    assert "imagePullSecrets" not in build_vendor_deployment(vendor, SETTINGS)["spec"]["template"]["spec"]
    settings = replace(SETTINGS, image_pull_secrets=("all", "more"))
    pod = build_vendor_deployment(vendor, settings)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "all"}, {"name": "more"}]


def operators_settings(*flags: str) -> OperatorSettings:
    needed = ["--gateway-master-file", __file__, "--ledger-url", "http://l", "--image", "i:1"]
    given = operator.make_context("operator", [*needed, *flags]).params
    return OperatorSettings(delivery=delivery_settings(given), **given)


def test_the_operators_flags() -> None:
    flags = ["--image-registry", "mirror.example", "--image-pull-secret", "all", "--image-pull-secret", "more"]
    settings = operators_settings(*flags)
    assert (settings.image_registry, settings.image_pull_secrets) == ("mirror.example", ("all", "more"))
    settings = operators_settings()
    assert (settings.image_registry, settings.image_pull_secrets) == ("", ())
