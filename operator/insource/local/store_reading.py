"""Lists in pages and watches from a version, over the store's state. Changes nothing."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from insource.local.selectors import Test
from insource.local.store_errors import ApiError, Object, bad_request, expired
from insource.local.store_kinds import ResourceKind
from insource.local.store_state import Change, State
from insource.local.watch import Watch, WatchEvent


@dataclass(frozen=True)
class Page:
    """`items` in (namespace, name) order; `continue_` is empty on the last page."""

    items: list[Object]
    resource_version: str
    continue_: str = ""
    remaining: int | None = None


def read_page(
    state: State,
    kind: ResourceKind,
    namespace: str | None,
    test: Test | None,
    limit: int,
    continue_: str,
    exact_version: int | None = None,
) -> Page:
    """One page of the objects that pass `test`. Raises ApiError 410 for too old a token, 400 for a bad one."""
    version, start = state.resource_version, ""
    if continue_:
        version, start = _read_token(continue_)
        try:
            objects = state.snapshot(kind.ref, namespace, version)
        except ApiError as error:
            raise ApiError(410, "Expired", error.message, metadata={"continue": _token(-1, start)}) from error
        objects = [obj for obj in objects if _place(obj) >= start]
    elif exact_version is not None and exact_version != version:
        version = exact_version
        try:
            objects = state.snapshot(kind.ref, namespace, version)
        except ApiError as error:
            raise expired("The resourceVersion for the provided list is too old.") from error
    else:
        objects = list(state.objects(kind.ref, namespace))
    items = objects if test is None else [obj for obj in objects if test(obj)]
    if limit <= 0 or len(items) <= limit:
        return Page(items, str(version))
    token = _token(version, _place(items[limit - 1]) + "\0")
    return Page(items[:limit], str(version), token, len(items) - limit if test is None else None)


def start_watch(
    state: State,
    kind: ResourceKind,
    namespace: str | None,
    test: Test | None,
    resource_version: str,
    *,
    initial_events: bool,
) -> Watch:
    """An open watch as `Store.watch` describes it; closed, with one ERROR event, if the version is too old."""
    fresh = initial_events or resource_version in ("", "0")
    changes: list[Change] = []
    if not fresh:
        try:
            changes = list(state.changes_after(_version(resource_version)))
        except ApiError as error:
            if error.code != 410:
                raise
            failed = Watch(namespace, test, lambda _: None)
            failed.put(WatchEvent("ERROR", error.status()))
            failed.close()
            return failed
    watch = state.open_watch(kind.ref, namespace, test)
    if fresh:
        for obj in state.objects(kind.ref, namespace):
            watch.offer("ADDED", None, obj, {})
    if initial_events:
        watch.put(bookmark(state, kind, initial_events_end=True))
    for change in changes:
        if change.key[0] == kind.ref:
            watch.offer(change.type, change.old, change.new, {})
    return watch


def bookmark(state: State, kind: ResourceKind, *, initial_events_end: bool = False) -> WatchEvent:
    """The present resourceVersion as a BOOKMARK event."""
    metadata: Object = {"resourceVersion": str(state.resource_version)}
    if initial_events_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return WatchEvent("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})


def _version(text: str) -> int:
    if not text.isdigit():
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, "", f'resourceVersion: Invalid value: "{text}": {why}')
    return int(text)


def _place(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _token(version: int, start: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("utf-8", "replace")
        said = json.loads(text)
        version, start = int(said["rv"]), str(said["start"])
    except json.JSONDecodeError as error:
        why = f"invalid character '{error.doc[error.pos]}' looking for beginning of value" if error.doc else "empty"
        raise bad_request(f"invalid continue token: continue key is not valid: {why}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    if version < 0:
        raise expired("The provided continue parameter is too old to display a consistent list result.")
    return version, start
