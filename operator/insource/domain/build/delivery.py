"""What model delivery adds to an in-house pod: a volume with the weights, and for a download the init container."""

from __future__ import annotations

from typing import Any

from insource.domain.build.pod import CONTAINER_SECURITY, variable
from insource.domain.build.pod_settings import mirrored
from insource.domain.delivery import (
    PRELOADED,
    cache_folder,
    claim_and_path,
    image_reference,
    model_file,
    uses_model_file,
    wanted_files,
)
from insource.domain.pod_troubles import FETCH_CONTAINER
from insource.domain.references import InHouseTarget
from insource.domain.snapshot import Settings
from insource.wire.delivery import FILES_VARIABLE, WANTED_FILES

MODEL_DIR = "/var/lib/insource/model"
CACHE_DIR = "/var/lib/insource/models"
"""Where the download sees the whole of a cache."""
CREDENTIALS_DIR = "/var/run/insource/source-credentials"
CA_DIR = "/var/run/insource/download-ca"
TERMINATION_MESSAGE = "/dev/termination-log"


def serving_part(target: InHouseTarget) -> list[Any]:
    """What of the delivery decides how the backend serves: nothing, unless it is used. Part of the revision's hash."""
    if target.runtime.spec.model_delivery == PRELOADED:
        return []
    used: list[Any] = [target.runtime.spec.model_delivery]
    if target.source.files:
        used.append([item.model_dump(mode="json") for item in target.source.files])
    if target.credentials_secret:
        used.append({"sourceCredentials": target.credentials_secret})
    if target.cache_claim:
        used.append({"modelCache": target.cache_claim})
    return used


def deliver(spec: dict[str, Any], target: InHouseTarget, settings: Settings) -> dict[str, Any]:
    """The pod's spec with its model's delivery; the same one if there is none to render. Its server stands first."""
    way = target.runtime.spec.model_delivery
    if way == PRELOADED:
        return spec
    mount: dict[str, Any] = {"name": "model", "mountPath": MODEL_DIR, "readOnly": True}
    volumes, before = [_model_volume(target, settings)], []
    if way == "Download":
        before.append(_fetch(target, settings))
        volumes += _download_volumes(target, settings)
    if way == "Mount":
        path = claim_and_path(target.source)[1]
        mount |= {"subPath": path} if path else {}
    if target.cache_claim:
        mount |= {"subPath": cache_folder(target.source)}
    server, *others = spec["initContainers"]
    # Before the runtime's own variables, which may refer to them.
    where = [variable("MODEL_DIR", MODEL_DIR)]
    if uses_model_file(target.runtime.spec):
        where.append(variable("MODEL_FILE", f"{MODEL_DIR}/{model_file(target.source)}"))
    server = {
        **server,
        "env": [server["env"][0], *where, *server["env"][1:]],
        "volumeMounts": [*server["volumeMounts"], mount],
    }
    return {**spec, "initContainers": [*before, server, *others], "volumes": [*spec["volumes"], *volumes]}


def _model_volume(target: InHouseTarget, settings: Settings) -> dict[str, Any]:
    way, source = target.runtime.spec.model_delivery, target.source
    if way == "Mount":
        return {"name": "model", "persistentVolumeClaim": {"claimName": claim_and_path(source)[0], "readOnly": True}}
    if way == "ImageVolume":
        return {
            "name": "model",
            "image": {"reference": mirrored(image_reference(source), settings), "pullPolicy": "IfNotPresent"},
        }
    if target.cache_claim:
        return {"name": "model", "persistentVolumeClaim": {"claimName": target.cache_claim}}
    return {"name": "model", "emptyDir": {}}


def _fetch(target: InHouseTarget, settings: Settings) -> dict[str, Any]:
    delivery = settings.delivery
    files = WANTED_FILES.dump_json(wanted_files(target.source, delivery.hf_endpoint), exclude_none=True).decode()
    into = f"{CACHE_DIR}/{cache_folder(target.source)}" if target.cache_claim else MODEL_DIR
    arguments = ["--into", into, "--limit", str(target.startup_timeout_s), "--message-file", TERMINATION_MESSAGE]
    mounts: list[dict[str, Any]] = [
        {"name": "model", "mountPath": CACHE_DIR if target.cache_claim else MODEL_DIR},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    for cidr in delivery.cidrs:
        arguments += ["--allow", cidr]
    if target.credentials_secret:
        arguments += ["--credentials-dir", CREDENTIALS_DIR, "--credentials-secret", target.credentials_secret]
        mounts.append({"name": "source-credentials", "mountPath": CREDENTIALS_DIR, "readOnly": True})
    if delivery.ca_config_map:
        arguments += ["--ca-dir", CA_DIR]
        mounts.append({"name": "download-ca", "mountPath": CA_DIR, "readOnly": True})
    environment = [variable(FILES_VARIABLE, files)]
    if delivery.proxy:
        environment += [variable("HTTPS_PROXY", delivery.proxy), variable("NO_PROXY", ",".join(delivery.no_proxy))]
    return {
        "name": FETCH_CONTAINER,
        "image": settings.image,
        "command": ["insource", "fetch"],
        "args": arguments,
        "env": environment,
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {**CONTAINER_SECURITY, "readOnlyRootFilesystem": True},
        "terminationMessagePath": TERMINATION_MESSAGE,
        "volumeMounts": mounts,
    }


def _download_volumes(target: InHouseTarget, settings: Settings) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = []
    # Optional, both: the download says by name what is missing, where a mount would only make the pod hang.
    if target.credentials_secret:
        secret = {"secretName": target.credentials_secret, "optional": True}
        volumes.append({"name": "source-credentials", "secret": secret})
    if settings.delivery.ca_config_map:
        volumes.append(
            {"name": "download-ca", "configMap": {"name": settings.delivery.ca_config_map, "optional": True}}
        )
    return volumes
