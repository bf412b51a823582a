"""Pods as a built-in kind: the defaults of their spec, what admission adds on creation, and the checks clients rely on.

Sources: k8s.io/kubernetes, pkg/apis/core/v1/defaults.go, plugin/pkg/admission/defaulttolerationseconds, priority.
"""

from __future__ import annotations

from typing import Any

from insource.local.quantities import parse_quantity
from insource.local.schema_nodes import compact
from insource.local.store_errors import Cause, Object

DEFAULT_GRACE_SECONDS = 30
_FILE_MODE = 0o644
_TOLERATED_S = 300
"""How long a pod may stay on a node that is not ready or cannot be reached, unless it says something else."""


def prepare_pod_spec(spec: Object) -> None:
    """The defaults of a pod's spec, as of a template's."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or []:
            _prepare_container(container)
    for volume in spec.get("volumes") or []:
        _prepare_volume(volume)


def _prepare_container(container: Object) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
        container["imagePullPolicy"] = "IfNotPresent" if tag and tag != "latest" else "Always"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        _prepare_reference(variable.get("valueFrom") or {})
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if container.get(name):
            _prepare_probe(container[name])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _prepare_http_get(handler)


def _prepare_reference(reference: Object) -> None:
    if "fieldRef" in reference:
        reference["fieldRef"].setdefault("apiVersion", "v1")
    if "resourceFieldRef" in reference:
        reference["resourceFieldRef"].setdefault("divisor", "0")


def _prepare_probe(probe: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe[name] = probe.get(name) or value
    _prepare_http_get(probe)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _prepare_http_get(handler: Object) -> None:
    if "httpGet" in handler:
        handler["httpGet"]["scheme"] = handler["httpGet"].get("scheme") or "HTTP"
        handler["httpGet"]["path"] = handler["httpGet"].get("path") or "/"


def _prepare_volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if name in volume:
            volume[name].setdefault("defaultMode", _FILE_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    for source in (volume.get("projected") or {}).get("sources") or [volume]:
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items") or []:
            _prepare_reference(item)


def prepare_pod(obj: Object, old: Object | None) -> None:
    """A pod's own defaults, and on creation what a real server's admission adds."""
    spec = obj.setdefault("spec", {})
    prepare_pod_spec(spec)
    if old is not None:
        return
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or []:
            _request_what_is_limited(container["resources"])
    _tolerate_for_a_while(spec)
    obj["status"] = {"phase": "Pending", **(obj.get("status") or {}), "qosClass": quality_of_service(spec)}


def _request_what_is_limited(resources: Object) -> None:
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _tolerate_for_a_while(spec: Object) -> None:
    tolerations = list(spec.get("tolerations") or ())
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_S}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        if not any(
            each.get("key") in (None, "", key) and each.get("effect") in (None, "", "NoExecute") for each in tolerations
        )
    ]
    spec["tolerations"] = tolerations + added


def quality_of_service(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by what the containers ask for of cpu and memory."""
    asked: list[tuple[Object, Object]] = []
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container.get("resources") or {}
        asked.append((_compute(resources.get("requests")), _compute(resources.get("limits"))))
    if not any(requests or limits for requests, limits in asked):
        return "BestEffort"
    whole = all(len(limits) == 2 and requests == limits for requests, limits in asked)
    return "Guaranteed" if whole else "Burstable"


def _compute(amounts: Any) -> Object:
    read = {name: parse_quantity(str(amount)) for name, amount in (amounts or {}).items() if name in ("cpu", "memory")}
    return {name: amount for name, amount in read.items() if amount}


def check_pod_spec(spec: Object, path: str) -> list[Cause]:
    """Containers there, named once, each with an image."""
    causes = []
    if not spec.get("containers"):
        causes.append(Cause("FieldValueRequired", "Required value", f"{path}.containers"))
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(group) or []):
            where = f"{path}.{group}[{i}]"
            missing = [name for name in ("name", "image") if not container.get(name)]
            causes.extend(Cause("FieldValueRequired", "Required value", f"{where}.{name}") for name in missing)
            if container.get("name") in seen:
                said = f"Duplicate value: {compact(container['name'])}"
                causes.append(Cause("FieldValueDuplicate", said, f"{where}.name"))
            seen.add(container.get("name", ""))
    return causes


_POD_MUTABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName")


def check_pod(obj: Object, old: Object | None) -> list[Cause]:
    if old is None:
        return check_pod_spec(obj["spec"], "spec")

    def frozen(spec: Object) -> Any:
        rest = {key: value for key, value in spec.items() if key not in _POD_MUTABLE}
        for group in ("containers", "initContainers"):
            rest[group] = [{**item, "image": ""} for item in rest.get(group) or []]
        return rest

    rebound = old["spec"].get("nodeName") and obj["spec"].get("nodeName") != old["spec"]["nodeName"]
    if rebound or frozen(obj["spec"]) != frozen(old["spec"]):
        said = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
            "previously negative)"
        )
        return [Cause("FieldValueForbidden", said, "spec")]
    return []
