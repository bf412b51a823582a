"""Who owns which field of an object: metadata.managedFields after an apply or an ordinary write. Pure."""

from __future__ import annotations

import json

from insource.local import ssa
from insource.local.schema_nodes import Node
from insource.local.ssa import Fields
from insource.local.store_errors import ApiError, Cause, Object

KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_OWNED_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def body(obj: Object) -> Object:
    """The part of an object whose fields can be owned."""
    kept = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = obj.get("metadata") or {}
    owned = {name: metadata[name] for name in _OWNED_METADATA if metadata.get(name) is not None}
    if owned:
        kept["metadata"] = owned
    return kept


def _entry(manager: str, operation: str, api_version: str, fields: Fields, now: str, subresource: str) -> Object:
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _is(entry: Object, manager: str, operation: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and entry.get("subresource", "") == subresource
    )


def _sorted(entries: list[Object]) -> list[Object]:
    return sorted(entries, key=lambda e: (e["operation"] != "Apply", e.get("time", ""), e["manager"]))


def _with(entry: Object, fields: Fields, now: str) -> Object:
    return entry if entry["fieldsV1"] == fields else {**entry, "fieldsV1": fields, "time": now}


def after_update(
    old: Object | None, new: Object, entries: list[Object], node: Node, manager: str, subresource: str, now: str
) -> list[Object]:
    """managedFields after an ordinary write: its changes belong to `manager`, and to nobody else any more."""
    if old is None:
        changed: Fields = ssa.everything(body(new), node)
        removed: Fields = {}
    else:
        changed, removed = ssa.compare(body(old), body(new), node)
    if not changed and not removed:
        return entries
    gone = ssa.union(changed, removed) if changed and removed else (changed or removed)
    result = []
    mine: Object | None = None
    for entry in entries:
        if mine is None and _is(entry, manager, "Update", subresource):
            mine = entry
            continue
        rest = ssa.subtract(entry["fieldsV1"], gone)
        if rest is not None:
            result.append(_with(entry, rest, entry.get("time", now)))
    owned: Fields | None = mine["fieldsV1"] if mine is not None else None
    if changed:
        owned = ssa.union(owned, changed) if owned else changed
    if owned and removed:
        owned = ssa.subtract(owned, removed)
    if owned:
        api_version = str(new["apiVersion"])
        result.append(
            _with(mine, owned, now) if mine else _entry(manager, "Update", api_version, owned, now, subresource)
        )
    return _sorted(result)


def apply(
    live: Object,
    config: Object,
    entries: list[Object],
    node: Node,
    manager: str,
    subresource: str,
    now: str,
    *,
    force: bool,
) -> tuple[Object, list[Object]]:
    """`live` with `config` applied by `manager`, and the managedFields after it. Raises ApiError 409 on conflicts.

    Answers `live` itself if this manager has applied the very same before and it still holds.
    """
    wanted = body(config)
    present = body(live)
    owned = ssa.leaves(wanted, node) if wanted else None
    merged = ssa.merge(present, wanted, node)
    unchanged = merged == present
    changed = {} if unchanged else ssa.compare(present, merged, node)[0]
    if not entries and present:
        before = ssa.everything(present, node)
        entries = [_entry("before-first-apply", "Update", str(live["apiVersion"]), before, now, "")]
    mine = next((entry for entry in entries if _is(entry, manager, "Apply", subresource)), None)
    if unchanged and mine is not None and mine["fieldsV1"] == owned:
        return live, entries
    others = [entry for entry in entries if entry is not mine]
    if changed:
        allowed = _applied_by_kubectl(live, node) if manager == KUBECTL else None
        others = _without_conflicts(others, changed, allowed, force=force, now=now)
    if mine is not None and mine["fieldsV1"] != owned:
        dropped = ssa.subtract(mine["fieldsV1"], owned) if owned is not None else mine["fieldsV1"]
        if dropped is not None:
            everybody: Fields | None = owned
            for entry in others:
                fields = entry["fieldsV1"]
                everybody = fields if everybody is None else ssa.union(everybody, fields)
            merged = ssa.drop(merged, dropped, everybody, node)
    if owned is not None:
        api_version = str(config.get("apiVersion") or live["apiVersion"])
        entry = _with(mine, owned, now) if mine else _entry(manager, "Apply", api_version, owned, now, subresource)
        others = _sorted([*others, entry])
    return _rebuilt(live, merged), others


def _rebuilt(live: Object, merged: Object) -> Object:
    metadata = {name: value for name, value in live["metadata"].items() if name not in _OWNED_METADATA}
    metadata.update(merged.get("metadata") or {})
    return {**merged, "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata}


def _applied_by_kubectl(live: Object, node: Node) -> Fields | None:
    """What a client-side `kubectl apply` has set and nobody has changed: a server-side one may take it over.

    Source: k8s.io/apimachinery, pkg/util/managedfields/internal/lastappliedmanager.go.
    """
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        said = body(json.loads(text or ""))
    except (ValueError, AttributeError):
        return None
    if not said:
        return None
    changed, removed = ssa.compare(said, body(live), node)
    kept: Fields | None = ssa.leaves(said, node)
    for gone in (changed, removed):
        kept = ssa.subtract(kept, gone) if kept is not None and gone else kept
    return kept


def _without_conflicts(
    entries: list[Object], changed: Fields, allowed: Fields | None, *, force: bool, now: str
) -> list[Object]:
    """The entries without what is `changed`. Raises ApiError 409 if that is somebody's, and is not `allowed`."""
    kept, conflicts = [], []
    for entry in entries:
        shared = ssa.intersect(entry["fieldsV1"], changed)
        if shared is None:
            kept.append(entry)
            continue
        disputed = ssa.subtract(shared, allowed) if allowed is not None else shared
        if disputed is not None:
            conflicts.append((entry, disputed))
        rest = ssa.subtract(entry["fieldsV1"], shared)
        if rest is not None:
            kept.append(_with(entry, rest, entry.get("time", now)))
    if conflicts and not force:
        raise _conflict(conflicts)
    return kept


def _conflict(conflicts: list[tuple[Object, Fields]]) -> ApiError:
    causes: list[Cause] = []
    by_manager: dict[str, list[str]] = {}
    for entry, shared in sorted(conflicts, key=lambda pair: pair[0]["manager"]):
        who = f'"{entry["manager"]}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        if entry["operation"] == "Update":
            who += f" using {entry['apiVersion']}"
        for path in sorted(ssa.paths(shared)):
            causes.append(Cause("FieldManagerConflict", f"conflict with {who}", path))
            by_manager.setdefault(who, []).append(path)
    details = {"causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]}
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        listed = "\n".join(
            f"conflicts with {who}:\n" + "\n".join(f"- {path}" for path in found) for who, found in by_manager.items()
        )
        message = f"Apply failed with {len(causes)} conflicts: {listed}"
    return ApiError(409, "Conflict", message, details)
