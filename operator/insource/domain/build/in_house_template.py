"""The pod template of an in-house revision: the server as native sidecar, the adapter as main container."""

from __future__ import annotations

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
from insource.domain.names import digest, revision_hash
from insource.domain.references import InHouseTarget
from insource.domain.snapshot import ModelDeployment, Settings

RENDERER = 1
"""Stored beside each template; raise it with every change of what this file renders."""
CACHE_DIR = "/var/cache/insource"


def revision_of(deployment: ModelDeployment, target: InHouseTarget) -> str:
    """The revision's hash: of what decides how the backend serves, not of who rendered it."""
    how = [
        _referred(target.source, target.runtime, target.class_),
        target.count,
        target.slots,
        target.startup_timeout_s,
        *serving_part(target),
    ]
    return revision_hash(deployment.namespace, deployment.name, target.backend, [target.model.name, *how])


@lru_cache(maxsize=512)
def _referred(source: Source, runtime: Resource[InferenceRuntimeSpec], class_: Resource[AcceleratorClassSpec]) -> str:
    """The part of a revision that is the same for all who refer to the same objects. By identity, hence the cache."""
    scheduling = {"resource_name", "node_selector", "tolerations", "runtime_class_name"}
    return digest(
        [
            source.model_dump(mode="json", exclude={"profiles", "files"}),
            [runtime.name, runtime.spec.model_dump(mode="json", exclude={"slots", "model_delivery"})],
            [class_.name, class_.spec.model_dump(mode="json", include=scheduling)],
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
        "initContainers": [_server(target)],
        "containers": [_adapter(deployment, target, settings, revision, request_timeout_s)],
        "volumes": [*adapter_volumes(), {"name": "cache", "emptyDir": {}}],
    }
    if class_.node_selector:
        spec["nodeSelector"] = dict(class_.node_selector)
    if class_.tolerations:
        spec["tolerations"] = [item.model_dump(mode="json", exclude_defaults=True) for item in class_.tolerations]
    if class_.runtime_class_name:
        spec["runtimeClassName"] = class_.runtime_class_name
    return {
        "metadata": {
            "labels": {meta.LABEL_MANAGED_BY: meta.MANAGED_BY, **labels_of(deployment, target, revision)},
            "annotations": {meta.ANNOTATION_COUNT: str(target.count)},
        },
        "spec": deliver(spec, target, settings),
    }


def _server(target: InHouseTarget) -> dict[str, Any]:
    runtime = target.runtime.spec
    health = {"httpGet": {"path": runtime.health_path, "port": runtime.port}}
    period_s = 1 if target.startup_timeout_s <= 600 else 5
    container: dict[str, Any] = {
        "name": "server",
        "image": runtime.image,
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
        },
        # A busy server may answer late; one that says nothing for a minute is hung, and is restarted.
        "livenessProbe": {**health, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "cache", "mountPath": CACHE_DIR}],
    }
    if runtime.command:
        container["command"] = list(runtime.command)
    if runtime.args:
        container["args"] = list(runtime.args)
    resources = _resources(target)
    if resources:
        container["resources"] = resources
    return container


def _resources(target: InHouseTarget) -> dict[str, Any]:
    wanted = target.runtime.spec.resources
    requests = dict(wanted.requests) if wanted else {}
    limits = dict(wanted.limits) if wanted else {}
    name = target.class_.spec.resource_name
    if name:
        limits[name] = str(target.count)
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


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
    return adapter_container(settings, environment, [])


def _model_id(target: InHouseTarget) -> str:
    """The URI without its scheme: `openai/whisper-large-v3-turbo` for a Hugging Face repository."""
    return target.source.uri.partition("://")[2]


def _request_model(target: InHouseTarget) -> str:
    wanted = target.runtime.spec.request_model
    return wanted.replace("$(MODEL_NAME)", target.model.name).replace("$(MODEL_ID)", _model_id(target))
