"""A store with one custom kind, Widget, that has every schema feature worth testing; shared by the local_* tests."""

from __future__ import annotations

from typing import Any

from insource.env import system_env
from insource.local.store import ApiError, Store

NAMESPACES = ("", "namespaces")
CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
WIDGETS = ("demo.insource.dev", "widgets")
API_VERSION = "demo.insource.dev/v1alpha1"


def _list_of(list_type: str) -> dict[str, Any]:
    return {"type": "array", "x-kubernetes-list-type": list_type, "items": {"type": "string"}}


def widget_crd() -> dict[str, Any]:
    port = {
        "type": "object",
        "required": ["port"],
        "properties": {
            "port": {"type": "integer"},
            "protocol": {"type": "string", "default": "TCP"},
            "label": {"type": "string"},
        },
    }
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": port,
    }
    rules = [
        {
            "rule": "self.replicas <= self.maxReplicas",
            "message": "replicas must not exceed maxReplicas",
            "fieldPath": ".replicas",
        },
        {"rule": "!has(oldSelf.note) || has(self.note)", "message": "note cannot be removed once set"},
    ]
    spec = {
        "type": "object",
        "required": ["color"],
        "x-kubernetes-validations": rules,
        "properties": {
            "color": {"type": "string", "enum": ["red", "green", "blue"]},
            "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "maxReplicas": {"type": "integer", "default": 5},
            "note": {"type": "string", "maxLength": 20},
            "tags": _list_of("set"),
            "atoms": _list_of("atomic"),
            "ports": ports,
            "opts": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    condition = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
    }
    status = {
        "type": "object",
        "properties": {
            "replicas": {"type": "integer"},
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": condition,
            },
        },
    }
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "schema": {
            "openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}}
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.demo.insource.dev"},
        "spec": {
            "group": "demo.insource.dev",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "shortNames": ["wd"]},
            "versions": [version],
        },
    }


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"color": "red", **spec},
    }


def widget_store(history: int = 10_000) -> Store:
    """With namespace `ns` and the Widget CRD."""
    store = Store(system_env(), history)
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    store.create(CRDS, widget_crd())
    return store


def apply(store: Store, manager: str, obj: dict[str, Any], **options: Any) -> dict[str, Any]:
    return store.patch(WIDGETS, "ns", obj["metadata"]["name"], obj, "apply", field_manager=manager, **options)


def refusal(call: Any, *args: Any, **kwargs: Any) -> ApiError:
    """The ApiError that a call raises."""
    try:
        call(*args, **kwargs)
    except ApiError as error:
        return error
    raise AssertionError("nothing was refused")
