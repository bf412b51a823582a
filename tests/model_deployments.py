"""A ModelDeployment with nothing but one model of our own, for tests on API servers."""

from __future__ import annotations

from typing import Any

from insource.kube.resources import MODEL_DEPLOYMENTS

Object = dict[str, Any]


def model_deployment(
    name: str, *, class_: str = "nvidia-l4", count: int = 1, replicas: int | None = None, **in_house: Any
) -> Object:
    """`in_house`: more fields of its backend; `replicas`: None leaves them to others."""
    backend = {"model": "whisper-large-v3-turbo", "accelerator": {"class": class_, "count": count}, **in_house}
    spec: Object = {
        "modality": "Transcription",
        "backends": [{"name": "inhouse", "inHouse": backend}],
        "traffic": {"primary": "inhouse"},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": MODEL_DEPLOYMENTS.api_version,
        "kind": MODEL_DEPLOYMENTS.kind,
        "metadata": {"name": name},
        "spec": spec,
    }
