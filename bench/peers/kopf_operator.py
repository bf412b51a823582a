"""A plain kopf operator written the usual way: stateful handlers, the synchronous kubernetes client, three children."""

# mypy: disable-error-code="arg-type,no-untyped-call"

from __future__ import annotations

from typing import Any

import kopf
import kubernetes


@kopf.on.startup()
def startup(**_: Any) -> None:
    kubernetes.config.load_kube_config()


def deployment(name: str, spec: Any) -> dict[str, Any]:
    server = {
        "name": "server",
        "image": "insource/insource",
        "args": [f"--model={spec['backends'][0]['inHouse']['model']}"],
        "ports": [{"containerPort": 8000, "name": "http"}],
        "env": [{"name": "SLOTS", "value": str(spec["backends"][0]["inHouse"].get("slots", 1))}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
    }
    labels = {"model": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [server]}},
        },
    }


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"model": name}},
        "spec": {"selector": {"model": name}, "ports": [{"port": 80, "targetPort": "http"}]},
    }


def config_map(name: str, spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"model": name}},
        "data": {"model": spec["backends"][0]["inHouse"]["model"]},
    }


@kopf.on.create("insource.dev", "v1alpha1", "modeldeployments")
def create(spec: Any, name: str, namespace: str, patch: Any, **_: Any) -> None:
    d, s, c = deployment(name, spec), service(name), config_map(name, spec)
    kopf.adopt([d, s, c])
    kubernetes.client.AppsV1Api().create_namespaced_deployment(namespace, d)
    kubernetes.client.CoreV1Api().create_namespaced_service(namespace, s)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, c)
    patch.status["primary"] = name


@kopf.on.update("insource.dev", "v1alpha1", "modeldeployments")
def update(spec: Any, name: str, namespace: str, patch: Any, **_: Any) -> None:
    d, s, c = deployment(name, spec), service(name), config_map(name, spec)
    kopf.adopt([d, s, c])
    kubernetes.client.AppsV1Api().patch_namespaced_deployment(name, namespace, d)
    kubernetes.client.CoreV1Api().patch_namespaced_service(name, namespace, s)
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, c)
    patch.status["primary"] = name
