"""A backend's `pod` settings and its class's scheduling, put into a rendered pod template.

What we render goes before what a user says; references were checked before (`api.pod_rules`, `references`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.inference_runtime import Resources
from insource.api.pod import Affinity, PodSettings, PodTerm, ServerSettings, SpreadConstraint
from insource.api.toleration import Toleration
from insource.domain.snapshot import Settings

CLAIM = "accelerator"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def claims_of(class_: AcceleratorClassSpec, count: int) -> list[str]:
    """Names of a pod's resource claims: one for each accelerator."""
    return [f"{CLAIM}-{number}" for number in range(count)] if class_.resource_claim_template else []


def place(spec: dict[str, Any], class_: AcceleratorClassSpec, pod: PodSettings, count: int) -> None:
    """Where the pod may run, by its class and by its owner's own wishes."""
    node_selector = {**pod.node_selector, **class_.node_selector}
    if node_selector:
        spec["nodeSelector"] = node_selector
    tolerations = [_toleration(item) for item in (*class_.tolerations, *pod.tolerations)]
    if tolerations:
        spec["tolerations"] = tolerations
    if class_.runtime_class_name:
        spec["runtimeClassName"] = class_.runtime_class_name
    if class_.scheduler_name:
        spec["schedulerName"] = class_.scheduler_name
    claims = claims_of(class_, count)
    if claims:
        template = class_.resource_claim_template
        spec["resourceClaims"] = [{"name": name, "resourceClaimTemplateName": template} for name in claims]


def settle(template: dict[str, Any], pod: PodSettings, settings: Settings, own: Mapping[str, str]) -> None:
    """All that is the pod's, not a container's. `own`: the labels that the revision's pods have in common."""
    metadata, spec = template["metadata"], template["spec"]
    metadata["labels"] = {**pod.labels, **metadata["labels"]}
    metadata["annotations"] = {**pod.annotations, **metadata["annotations"]}
    secrets = [*settings.image_pull_secrets, *(item.name for item in pod.image_pull_secrets)]
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(secrets)]
    if pod.service_account_name:
        spec["serviceAccountName"] = pod.service_account_name
    if pod.priority_class_name:
        spec["priorityClassName"] = pod.priority_class_name
    if pod.affinity is not None:
        spec["affinity"] = _affinity(pod.affinity, own)
    if pod.topology_spread_constraints:
        spec["topologySpreadConstraints"] = [_spread(item, own) for item in pod.topology_spread_constraints]
    spec["volumes"] = [*spec["volumes"], *(_plain(item) for item in pod.volumes)]


def settle_server(container: dict[str, Any], server: ServerSettings) -> None:
    """Environment, resources, mounts and arguments over what the runtime says."""
    names = {item.name for item in server.env}
    kept = [item for item in container["env"] if item["name"] not in names]
    container["env"] = [*kept, *(_plain(item) for item in server.env)]
    if server.env_from:
        container["envFrom"] = [_plain(item) for item in server.env_from]
    container["volumeMounts"] = [*container["volumeMounts"], *(_plain(item) for item in server.volume_mounts)]
    if server.extra_args:
        container["args"] = [*container.get("args", ()), *server.extra_args]
    set_resources(container, server.resources)


def set_resources(container: dict[str, Any], wanted: Resources | None) -> None:
    """Each named amount in the place of what is there."""
    if wanted is None:
        return
    before = container.get("resources") or {}
    merged = {
        "requests": {**before.get("requests", {}), **wanted.requests},
        "limits": {**before.get("limits", {}), **wanted.limits},
    }
    resources = {**before, **{key: value for key, value in merged.items() if value}}
    if resources:
        container["resources"] = resources


def mirrored(image: str, settings: Settings) -> str:
    """The image at the installation's mirror: the registry's host replaced, the path kept. Our own stays as it is."""
    prefix = settings.image_registry.rstrip("/")
    if not prefix or image == settings.image or image.startswith(f"{prefix}/"):
        return image
    first, slash, rest = image.partition("/")
    has_host = slash and ("." in first or ":" in first or first == "localhost")
    if has_host:
        return f"{prefix}/{rest}"
    return f"{prefix}/{image}" if slash else f"{prefix}/library/{image}"


def _plain(model: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return dumped


def _toleration(item: Toleration) -> dict[str, Any]:
    return item.model_dump(mode="json", exclude_defaults=True)


def _affinity(affinity: Affinity, own: Mapping[str, str]) -> dict[str, Any]:
    rendered = _plain(affinity)
    for key, pods in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        if pods is None:
            continue
        rendered[key] = {}
        if pods.required:
            rendered[key]["requiredDuringSchedulingIgnoredDuringExecution"] = [_term(t, own) for t in pods.required]
        if pods.preferred:
            rendered[key]["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": item.weight, "podAffinityTerm": _term(item.pod_affinity_term, own)}
                for item in pods.preferred
            ]
    return rendered


def _term(term: PodTerm, own: Mapping[str, str]) -> dict[str, Any]:
    return _selecting(_plain(term), own)


def _spread(item: SpreadConstraint, own: Mapping[str, str]) -> dict[str, Any]:
    # Required in a pod, so not left out where it is our default.
    required = {"maxSkew": item.max_skew, "whenUnsatisfiable": item.when_unsatisfiable}
    return _selecting({**_plain(item), **required}, own)


def _selecting(rendered: dict[str, Any], own: Mapping[str, str]) -> dict[str, Any]:
    """With a selector in any case: without one Kubernetes takes no pod at all."""
    return {**rendered, "labelSelector": rendered.get("labelSelector") or {"matchLabels": dict(own)}}
