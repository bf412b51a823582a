"""What a write asks for, and whether it may be asked: namespaces, subresources, patches. Stores nothing."""

from __future__ import annotations

from typing import Any

from insource.local.patches import json_patch, merge_patch, strategic_merge
from insource.local.schema_nodes import json_type
from insource.local.store_admission import check_type, checked_shape
from insource.local.store_deletion import NAMESPACES
from insource.local.store_errors import ApiError, Cause, Object, bad_request, forbidden, not_found, unsupported
from insource.local.store_kinds import ResourceKind
from insource.local.store_state import State
from insource.local.typed_patches import fits, misfits


def apply_config(kind: ResourceKind, patch: Any, name: str, subresource: str) -> tuple[Object, Object]:
    """(the part of a server-side apply's body that counts, the body's metadata). Raises ApiError 400, 500."""
    config = checked_shape(patch)
    check_type(kind, config)
    sent = config["metadata"]
    if sent.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if sent.get("name", name) != name:
        raise bad_request(f"the name of the object ({sent['name']}) does not match the name on the URL ({name})")
    check_typed(kind, config, name)
    if subresource == "status":
        config = {k: v for k, v in config.items() if k in ("apiVersion", "kind", "status")}
        config["metadata"] = {}
    elif kind.status_subresource:
        config.pop("status", None)
    return config, sent


def namespace_of(kind: ResourceKind, metadata: Object, namespace: str | None) -> str:
    """Where an object belongs, by its own words and the URL's. Raises ApiError 400 if they differ or say nothing."""
    if not kind.namespaced:
        metadata.pop("namespace", None)
        return ""
    said = metadata.get("namespace")
    if said and namespace and said != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    space = namespace or said
    if not space:
        raise bad_request(f"{kind.plural} live in namespaces: name one")
    return str(space)


def check_namespace(state: State, kind: ResourceKind, namespace: str, name: str) -> None:
    """Raises ApiError 404 for a namespace that does not exist, 403 for one that is being terminated."""
    if not kind.namespaced:
        return
    found = state.find((NAMESPACES, "", namespace))
    if found is None:
        raise not_found("namespaces", "", namespace)
    if found["metadata"].get("deletionTimestamp"):
        text = f"namespace {namespace} is being terminated"
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = Cause("NamespaceTerminating", text, "metadata.namespace")
        raise forbidden(kind.plural, kind.group, name, why, [cause])


def after_patch(value: Object, patch: Any, patch_type: str) -> Any:
    """`value` with a JSON, merge or strategic merge patch. Raises ApiError 400 and 422 for a bad one."""
    if patch_type == "json":
        return json_patch(value, patch)
    if not isinstance(patch, dict):
        said = {"integer": "number", "boolean": "bool"}.get(json_type(patch), json_type(patch))
        why = f"json: cannot unmarshal {said} into Go value of type map[string]interface {{}}"
        raise bad_request(why if patch_type == "strategic" else f"error decoding patch: {why}")
    if patch_type == "merge":
        return merge_patch(value, patch)
    if patch_type == "strategic":
        return strategic_merge(value, patch)
    raise unsupported(f"patches of type {patch_type!r}")


def check_subresource(kind: ResourceKind, subresource: str) -> None:
    if subresource == "status" and not kind.status_subresource:
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    if subresource not in ("", "status"):
        raise unsupported(f"the subresource {subresource!r} of {kind.plural}")


def check_typed(kind: ResourceKind, config: Object, name: str) -> None:
    """Raises ApiError 500 for an applied object that has a field or a value which its kind does not."""
    # A custom kind's metadata is described to clients only.
    judged = {name: value for name, value in config.items() if not kind.custom or name != "metadata"}
    wrong = [] if fits(judged, kind.schema) else misfits(judged, kind.schema)
    if wrong:
        space = config["metadata"].get("namespace", "")
        where = f"{space}/{name}; {kind.group}/{kind.version}, Kind={kind.kind}"
        said = wrong[0] if len(wrong) == 1 else "\n  ".join(["errors:", *wrong])
        raise ApiError(500, "", f"failed to create typed patch object ({where}): {said}")


def uid_or_version_gone(sent: Object) -> str:
    if sent.get("uid"):
        return f"uid mismatch: the provided object specified uid {sent['uid']}, and no existing object was found"
    return "the object has been modified; please apply your changes to the latest version and try again"
