"""What people do to the cluster in a simulation: each returns an edit for `World.run`."""

from __future__ import annotations

from typing import Any

from insource.kube.resources import CATALOG_MODELS, MODEL_DEPLOYMENTS, PRICE_BOOKS, Resource
from tests.sim.world import Edit, World


def model_deployment(
    name: str, primary: str = "inhouse", model: str = "whisper-tiny-en", **in_house: Any
) -> dict[str, Any]:
    """A ModelDeployment in `voice` with an in-house backend, and a vendor for spill (or as the primary)."""
    traffic: dict[str, Any] = {"primary": primary}
    if primary == "inhouse":
        traffic["spill"] = {"backend": "openai"}
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "voice"},
        "spec": {
            "modality": "Transcription",
            "backends": [
                {"name": "inhouse", "inHouse": {"model": model, **in_house}},
                {"name": "openai", "vendor": {"name": "openai", "model": "whisper-1"}},
            ],
            "traffic": traffic,
        },
    }


def vendor(name: str = "openai") -> dict[str, Any]:
    """A Vendor in `voice`."""
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "Vendor",
        "metadata": {"name": name, "namespace": "voice"},
        "spec": {
            "dialect": "OpenAI",
            "endpoint": "https://api.openai.com/v1",
            "credentials": {"secretRef": {"name": "openai-key", "key": "key"}},
        },
    }


def put(obj: dict[str, Any]) -> Edit:
    """Apply an object."""
    return lambda world: world.put(obj)


def remove(name: str, kind: Resource = MODEL_DEPLOYMENTS, namespace: str = "voice") -> Edit:
    """Delete an object."""
    return lambda world: world.remove(kind, name, namespace)


def named(name: str, **wanted: Any) -> dict[str, Any]:
    """A ModelDeployment that claims a name which another claims, too. Note: the first by name must be the older one,
    for in the same second the name decides."""
    obj = model_deployment(name, **wanted)
    obj["spec"]["servedNames"] = ["whisper-1"]
    return obj


def history() -> list[Edit]:
    """An eventful day: late references, edits, a move to the vendor and back, a deletion, a re-creation."""
    return [
        put(named("dictation")),
        put(vendor()),
        put(named("late", model="not-there-yet")),
        put(model_deployment("doomed")),
        put(named("dictation", slots=2)),
        put({**_own_model("not-there-yet")}),
        put(named("dictation", primary="openai")),
        remove("doomed"),
        put(named("dictation", slots=3)),
        put(model_deployment("again")),
        remove("again"),
        remove("default", PRICE_BOOKS, ""),
        remove("whisper-tiny-en", CATALOG_MODELS, ""),
        put(model_deployment("again", slots=4)),
    ]


def _own_model(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "CatalogModel",
        "metadata": {"name": name},
        "spec": {
            "modality": "Transcription",
            "publisher": "us",
            "sources": [{"runtime": "faster-whisper-cpu", "uri": "package://none"}],
        },
    }


__all__ = ["World", "history", "model_deployment", "put", "remove", "vendor"]
