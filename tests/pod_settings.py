"""A `pod` with everything that its schema has, for tests of its rendering and of API servers."""

from __future__ import annotations

from typing import Any

EVERYTHING: dict[str, Any] = {
    "labels": {"team": "speech"},
    "annotations": {"example.com/note": "by night"},
    "serviceAccountName": "speech",
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
                ]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 10,
                    "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]},
                }
            ],
        },
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "cache"}}}
            ]
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
            ]
        },
    },
    "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}],
    "volumes": [
        {"name": "settings", "configMap": {"name": "server-settings", "optional": True}},
        {"name": "licence", "secret": {"secretName": "licence", "optional": True}},
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
    ],
    "server": {
        "env": [
            {"name": "LOG_LEVEL", "value": "debug"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token", "optional": True}}},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "modes", "key": "mode", "optional": True}}},
        ],
        "envFrom": [
            {"prefix": "X_", "configMapRef": {"name": "more", "optional": True}},
            {"secretRef": {"name": "secrets", "optional": True}},
        ],
        "resources": {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "12Gi"}},
        "volumeMounts": [
            {"name": "settings", "mountPath": "/etc/server", "readOnly": True},
            {"name": "licence", "mountPath": "/etc/licence/key", "subPath": "key"},
            {"name": "scratch", "mountPath": "/dev/shm"},
            {"name": "data", "mountPath": "/data"},
        ],
        "extraArgs": ["--verbose"],
    },
    "adapter": {"resources": {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}},
}
