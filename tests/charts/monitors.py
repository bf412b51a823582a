"""What a Prometheus of the Prometheus operator would scrape of what the chart renders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.charts.helm import Object, containers

KINDS = {"PodMonitor": "podmonitors", "ServiceMonitor": "servicemonitors"}
WAYS = {
    "pods": ("podMonitors.enabled=true",),
    "services": ("serviceMonitors.enabled=true", "serviceMonitors.labels.release=prometheus"),
    "both": ("podMonitors.enabled=true", "serviceMonitors.enabled=true", "podMonitors.interval=1m"),
}
"""Name -> values."""
ADAPTERS = {"app.kubernetes.io/managed-by": "insource"}
Target = tuple[str, int]
"""(component, port of the pod)."""


def of_chart(found: list[Object]) -> list[Object]:
    """The monitors, but for the adapters'."""
    return [each for each in monitors(found) if each["spec"]["selector"]["matchLabels"] != ADAPTERS]


def monitors(found: list[Object]) -> list[Object]:
    return [each for each in found if each["kind"] in KINDS]


def scraped(monitor: Object, found: list[Object]) -> list[Target]:
    """All that one monitor selects, once for each way to it."""
    wanted = monitor["spec"]["selector"]["matchLabels"]
    if monitor["kind"] == "PodMonitor":
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        return [
            (each["metadata"]["labels"]["app.kubernetes.io/component"], port)
            for each in _pods(found)
            if wanted.items() <= each["metadata"]["labels"].items()
            for port in [_port(each, endpoint["port"])]
            if port
        ]
    (endpoint,) = monitor["spec"]["endpoints"]
    return [
        target
        for service in found
        if service["kind"] == "Service" and wanted.items() <= service["metadata"]["labels"].items()
        for port in service["spec"]["ports"]
        if port["name"] == endpoint["port"]
        for target in _behind(service["spec"]["selector"], port["targetPort"], found)
    ]


def _behind(selector: Mapping[str, str], port: str, found: list[Object]) -> list[Target]:
    chosen = [each for each in _pods(found) if selector.items() <= each["metadata"]["labels"].items()]
    return [(each["metadata"]["labels"]["app.kubernetes.io/component"], _port(each, port)) for each in chosen]


def _pods(found: list[Object]) -> list[dict[str, Any]]:
    return [each["spec"]["template"] for each in found if each["kind"] == "Deployment"]


def _port(template: Mapping[str, Any], name: str) -> int:
    """Of that name, or 0."""
    pod = {"kind": "Pod", "spec": template["spec"]}
    ports = [port for each in containers(pod) for port in each.get("ports", ())]
    return next((port["containerPort"] for port in ports if port["name"] == name), 0)
