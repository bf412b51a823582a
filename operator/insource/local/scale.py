"""The scale subresource: an object seen as autoscaling/v1 Scale. Pure."""

from __future__ import annotations

from typing import Any

from insource.local.schema_nodes import compact, json_type
from insource.local.selectors import lookup, selector_text
from insource.local.store_errors import ApiError, Cause, Object, bad_request, invalid, unsupported
from insource.local.store_kinds import ResourceKind, ScalePaths

SCALE = ResourceKind("autoscaling", "v1", "scales", "scale", "Scale")
"""What the subresource answers with; as a kind of its own it is not served."""


def _steps(path: str) -> list[str]:
    return path.strip(".").split(".")


def _paths(kind: ResourceKind) -> ScalePaths:
    if kind.scale is None:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    return kind.scale


def seen(kind: ResourceKind, obj: Object) -> Object:
    """What a GET answers. Raises ApiError 404 if the kind has no scale, 500 if nobody has set the replicas."""
    shown = view(kind, obj)
    if lookup(obj, _steps(_paths(kind).replicas)) is None:
        text = f'the spec replicas field "{_paths(kind).replicas}" does not exist'
        raise ApiError(500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]})
    return shown


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
        "spec": {"replicas": replicas} if replicas else {},  # as Go writes it: no word of zero
        "status": status,
    }


def desired(kind: ResourceKind, sent: Any, *, patched: bool = False) -> int:
    """The number of replicas that a Scale asks for. Raises ApiError 400, for a patch 422."""
    _paths(kind)
    replicas = lookup(sent, ("spec", "replicas"))
    if replicas is None:
        return 0
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        why = f"json: cannot unmarshal {json_type(replicas)} into Go struct field ScaleSpec.spec.replicas of type int32"
        if patched:
            cause = Cause("FieldValueInvalid", f"Invalid value: {compact(compact(sent))}: {why}", "patch")
            raise invalid("", "", "", [cause])
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {why}')
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


def not_by_apply(kind: ResourceKind, name: str) -> ApiError:
    """Of a custom kind a real server fails at it; of a built-in one it can, and we do not."""
    if not kind.custom:
        return unsupported(f"server-side apply of the scale of {kind.plural}")
    why = "request to convert CR to an invalid group/version: autoscaling/v1"
    where = f"(/{name}; autoscaling/v1, Kind=Scale)"
    return ApiError(500, "", f"failed to convert new object {where} to proper version: {why}")
