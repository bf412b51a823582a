"""The scale subresource: an object seen as autoscaling/v1 Scale. Pure."""

from __future__ import annotations

from typing import Any

from insource.local.selectors import lookup, selector_text
from insource.local.store_errors import ApiError, Object, bad_request
from insource.local.store_kinds import ResourceKind, ScalePaths


def _steps(path: str) -> list[str]:
    return path.strip(".").split(".")


def _paths(kind: ResourceKind) -> ScalePaths:
    if kind.scale is None:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    return kind.scale


def view(kind: ResourceKind, obj: Object) -> Object:
    """Raises ApiError 404 if the kind has no scale."""
    paths = _paths(kind)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": lookup(obj, _steps(paths.status_replicas)) or 0}
    selector = lookup(obj, _steps(paths.selector)) if paths.selector else None
    if selector:
        status["selector"] = selector if isinstance(selector, str) else selector_text(selector)
    replicas = lookup(obj, _steps(paths.replicas))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": replicas} if replicas is not None else {},
        "status": status,
    }


def desired(kind: ResourceKind, sent: Any) -> int:
    """The number of replicas that a Scale asks for. Raises ApiError 400."""
    _paths(kind)
    replicas = lookup(sent, ("spec", "replicas"))
    if replicas is None:
        return 0
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request(f"spec.replicas of a Scale must be an integer, got {replicas!r}")
    return replicas


def with_replicas(kind: ResourceKind, obj: Object, replicas: int) -> Object:
    """A copy of `obj` that asks for `replicas`."""
    changed: Object = {**obj, "metadata": {**obj["metadata"]}}
    place = changed
    *parents, last = _steps(_paths(kind).replicas)
    for name in parents:
        place[name] = {**(place.get(name) or {})}
        place = place[name]
    place[last] = replicas
    return changed
