"""The objects of `bench.embedded_api`: like what the operator is given and writes, and as large."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def model_deployment(number: int, slots: int = 4) -> Body:
    """In-house primary, a vendor to spill to."""
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": f"m{number:05d}"},
        "spec": {
            "modality": "Transcription",
            "backends": [
                {"name": "inhouse", "inHouse": {"model": "whisper-tiny-en", "slots": slots}},
                {"name": "openai", "vendor": {"name": "openai", "model": "whisper-1"}},
            ],
            "traffic": {"primary": "inhouse", "spill": {"backend": "openai", "dailyLimit": "5"}},
        },
    }


def _container(name: str, image: str, variables: int) -> Body:
    plain: list[Body] = [{"name": f"VARIABLE_{index}", "value": f"value-{index}"} for index in range(variables)]
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return {
        "name": name,
        "image": image,
        "args": ["insource", name],
        "env": [address, *plain],
        "ports": [{"name": "serve", "containerPort": 8101}, {"name": "rescue", "containerPort": 8102}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8100}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8100}},
        "volumeMounts": [{"name": "wal", "mountPath": "/wal"}, {"name": "tokens", "mountPath": "/t", "readOnly": True}],
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
    }


def deployment(number: int, image: str) -> Body:
    """No replicas, a sidecar and a main container, 30 variables in all, two volumes."""
    name = f"d{number:05d}"
    labels = {"insource.dev/deployment": name}
    spec = {
        "serviceAccountName": "insource-adapter",
        "terminationGracePeriodSeconds": 150,
        "initContainers": [{**_container("server", image, 6), "restartPolicy": "Always"}],
        "containers": [_container("adapter", image, 22)],
        "volumes": [{"name": "wal", "emptyDir": {}}, {"name": "tokens", "configMap": {"name": "t", "optional": True}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
