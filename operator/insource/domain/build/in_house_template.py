"""The pod template of an in-house revision: the server as native sidecar, the adapter as main container."""

from __future__ import annotations

import posixpath
from functools import lru_cache
from typing import Any

from insource.api import meta
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import Source
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import Resource
from insource.domain.build.delivery import deliver, serving_part
from insource.domain.build.pod import (
    CONTAINER_SECURITY,
    GRACE_BEYOND_REQUEST_S,
    adapter_container,
    adapter_environment,
    adapter_volumes,
    downward,
    pod_base,
    variable,
)
from insource.domain.build.pod_settings import (
    QUEUE_LABEL,
    claims_of,
    mirrored,
    place,
    set_resources,
    settle,
    settle_server,
)
from insource.domain.names import digest, revision_hash
from insource.domain.references import NO_SETTINGS, InHouseTarget
from insource.domain.snapshot import ModelDeployment, Settings

RENDERER = 3
"""Stored beside each template; raise it with every change of what this file renders."""
CACHE_DIR = "/var/cache/insource"
SHM = "shm"
SHM_DIR = "/dev/shm"
UNHEALTHY_SERVER_GRACE_S = 30
"""A server that its probe gave up on ends in this time, for what it may still have in hand. With the pod's own grace,
which is for the longest request, a hung one would keep its accelerator for minutes and serve nobody.
"""


def revision_of(deployment: ModelDeployment, target: InHouseTarget) -> str:
    """The revision's hash: of what decides how the backend serves, not of who rendered it."""
    how: list[Any] = [
        _referred(target.source, target.runtime, target.class_),
        target.count,
        target.slots,
        target.startup_timeout_s,
        *serving_part(target),
    ]
    if target.pod != NO_SETTINGS:  # only then: a release must not restart those who do not use it
        how.append(target.pod.model_dump(mode="json", exclude_defaults=True))
    return revision_hash(deployment.namespace, deployment.name, target.backend, [target.model.name, *how])


@lru_cache(maxsize=512)
def _referred(source: Source, runtime: Resource[InferenceRuntimeSpec], class_: Resource[AcceleratorClassSpec]) -> str:
    """The part of a revision that is the same for all who refer to the same objects. By identity, hence the cache."""
    scheduling = {"resource_name", "node_selector", "tolerations", "runtime_class_name"}
    newer = {"resource_claim_template", "scheduler_name", "queue_name"}
    place = class_.spec.model_dump(mode="json", include=scheduling)
    # The newer ones only where they are used: a release must not restart the others.
    used = runtime.spec.model_dump(mode="json", include={"shm", "run_as_user"}, exclude_defaults=True)
    if class_.name in runtime.spec.accelerator_images:
        used["image"] = runtime.spec.accelerator_images[class_.name]
    older = runtime.spec.model_dump(
        mode="json", exclude={"slots", "model_delivery", "accelerator_images", "shm", "run_as_user"}
    )
    return digest(
        [
            source.model_dump(mode="json", exclude={"profiles", "files"}),
            [runtime.name, older, *([used] if used else ())],
            [class_.name, {**place, **class_.spec.model_dump(mode="json", include=newer, exclude_defaults=True)}],
        ]
    )


def labels_of(deployment: ModelDeployment, target: InHouseTarget, revision: str) -> dict[str, str]:
    """Labels of ReplicaSet, pods and Service (hence EndpointSlices)."""
    return {
        meta.LABEL_DEPLOYMENT: deployment.name,
        meta.LABEL_BACKEND: target.backend,
        meta.LABEL_REVISION: revision,
        meta.LABEL_CLASS: target.class_.name,
        meta.LABEL_MODALITY: str(deployment.spec.modality),
    }


def render_template(
    deployment: ModelDeployment,
    target: InHouseTarget,
    settings: Settings,
    *,
    revision: str,
    request_timeout_s: int,
) -> dict[str, Any]:
    """The template as it is stored in the ControllerRevision and applied from there ever after."""
    class_ = target.class_.spec
    spec: dict[str, Any] = {
        **pod_base(request_timeout_s + GRACE_BEYOND_REQUEST_S),
        "initContainers": [_server(target, settings)],
        "containers": [_adapter(deployment, target, settings, revision, request_timeout_s)],
        "volumes": [*adapter_volumes(), {"name": "cache", "emptyDir": {}}],
    }
    if shm := _shm(target):
        spec["volumes"].append({"name": SHM, "emptyDir": {"medium": "Memory", "sizeLimit": shm}})
    place(spec, class_, target.pod, target.count)
    own = labels_of(deployment, target, revision)
    template: dict[str, Any] = {
        "metadata": {
            "labels": {meta.LABEL_MANAGED_BY: meta.MANAGED_BY, **own},
            "annotations": {meta.ANNOTATION_COUNT: str(target.count)},
        },
        "spec": deliver(spec, target, settings),
    }
    if class_.queue_name:
        template["metadata"]["labels"][QUEUE_LABEL] = class_.queue_name
    settle(template, target.pod, settings, own)
    return template


def _server(target: InHouseTarget, settings: Settings) -> dict[str, Any]:
    runtime = target.runtime.spec
    health = {"httpGet": {"path": runtime.health_path, "port": runtime.port}}
    period_s = 1 if target.startup_timeout_s <= 600 else 5
    container: dict[str, Any] = {
        "name": "server",
        "image": mirrored(runtime.accelerator_images.get(target.class_.name, runtime.image), settings),
        "restartPolicy": "Always",
        "env": [
            downward("POD_IP", "status.podIP"),
            variable("PORT", str(runtime.port)),
            variable("MODEL_NAME", target.model.name),
            variable("MODEL_ID", _model_id(target)),
            variable("MODEL_URI", target.source.uri),
            variable("MODEL_REVISION", target.source.revision),
            variable("MODEL_SHA256", target.source.sha256 or ""),
            variable("SLOTS", str(target.slots)),
            variable("ACCELERATOR_COUNT", str(target.count)),
            variable("CACHE_DIR", CACHE_DIR),
            *(variable(item.name, item.value) for item in runtime.env),
        ],
        "ports": [{"name": "server", "containerPort": runtime.port}],
        "startupProbe": {
            **health,
            "periodSeconds": period_s,
            "timeoutSeconds": 5,
            "failureThreshold": max(1, target.startup_timeout_s // period_s),
            "terminationGracePeriodSeconds": UNHEALTHY_SERVER_GRACE_S,
        },
        # A busy server may answer late; one that says nothing for a minute is hung, and is restarted.
        "livenessProbe": {
            **health,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
            "terminationGracePeriodSeconds": UNHEALTHY_SERVER_GRACE_S,
        },
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "cache", "mountPath": CACHE_DIR}],
    }
    if runtime.run_as_user is not None:
        container["securityContext"] = {**CONTAINER_SECURITY, "runAsUser": runtime.run_as_user}
    if _shm(target):
        container["volumeMounts"].append({"name": SHM, "mountPath": SHM_DIR})
    if runtime.command:
        container["command"] = list(runtime.command)
    if runtime.args:
        container["args"] = list(runtime.args)
    resources = _resources(target)
    if resources:
        container["resources"] = resources
    if target.pod.server is not None:
        settle_server(container, target.pod.server)
    return container


def _shm(target: InHouseTarget) -> str:
    """The size of our own `/dev/shm`; empty: there is none, or the backend's owner mounts another there."""
    server = target.pod.server
    theirs = {posixpath.normpath(mount.mount_path) for mount in server.volume_mounts} if server is not None else ()
    return target.runtime.spec.shm or "" if SHM_DIR not in theirs else ""


def _resources(target: InHouseTarget) -> dict[str, Any]:
    wanted = target.runtime.spec.resources
    requests = dict(wanted.requests) if wanted else {}
    limits = dict(wanted.limits) if wanted else {}
    name = target.class_.spec.resource_name
    if name:
        limits[name] = str(target.count)
    claims = [{"name": claim} for claim in claims_of(target.class_.spec, target.count)]
    return {key: value for key, value in (("requests", requests), ("limits", limits), ("claims", claims)) if value}


def _adapter(
    deployment: ModelDeployment, target: InHouseTarget, settings: Settings, revision: str, request_timeout_s: int
) -> dict[str, Any]:
    runtime = target.runtime.spec
    server = f"http://$(POD_IP):{runtime.port}"
    environment = [
        *adapter_environment(settings, namespace=deployment.namespace, kind="inHouse", drain_grace_s=request_timeout_s),
        variable("INSOURCE_DEPLOYMENT", deployment.name),
        variable("INSOURCE_BACKEND", target.backend),
        variable("INSOURCE_REVISION", revision),
        variable("INSOURCE_MODALITY", str(deployment.spec.modality)),
        variable("INSOURCE_MODEL", target.model.name),
        variable("INSOURCE_SERVER_URL", server + runtime.api_prefix),
        variable("INSOURCE_SERVER_HEALTH_URL", server + runtime.health_path),
        variable("INSOURCE_REQUEST_MODEL", _request_model(target)),
        variable("INSOURCE_SLOTS", str(target.slots)),
        variable("INSOURCE_REQUEST_TIMEOUT_S", str(request_timeout_s)),
    ]
    container = adapter_container(settings, environment, [])
    if target.pod.adapter is not None:
        set_resources(container, target.pod.adapter.resources)
    return container


def _model_id(target: InHouseTarget) -> str:
    """The URI without its scheme: `openai/whisper-large-v3-turbo` for a Hugging Face repository."""
    return target.source.uri.partition("://")[2]


def _request_model(target: InHouseTarget) -> str:
    wanted = target.runtime.spec.request_model
    return wanted.replace("$(MODEL_NAME)", target.model.name).replace("$(MODEL_ID)", _model_id(target))
