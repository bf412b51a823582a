"""How objects, lists and events are written for a client: plain, as a Table, as metadata only, or as YAML. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import yaml

from insource.local.store import Page, WatchEvent
from insource.local.store_errors import ApiError, Object, unsupported
from insource.local.store_kinds import ResourceKind
from insource.local.tables import partial, table


@dataclass(frozen=True)
class Form:
    """What the client accepts."""

    as_table: bool = False
    as_partial: bool = False
    as_yaml: bool = False
    include: str = "Metadata"

    @property
    def media(self) -> str:
        return "application/yaml" if self.as_yaml else "application/json"


PROTOBUF = "application/vnd.kubernetes.protobuf"
_MEDIA = f"application/json, application/yaml, {PROTOBUF}"


def accepted(accept: str, include: str, *, custom: bool) -> Form:
    """Raises ApiError 406 if nothing that the API server writes is acceptable, 501 for protobuf, which we do not."""
    known = False
    for choice in (accept or "*/*").split(","):
        media, *parameters = (part.strip() for part in choice.split(";"))
        wanted = dict(part.partition("=")[::2] for part in parameters)
        known = known or media in ("application/json", "application/yaml", PROTOBUF)
        if media in ("application/json", "*/*", "application/*"):
            shape = wanted.get("as", "")
            if shape and wanted.get("v") not in (None, "v1"):
                continue
            if shape in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
                return Form(shape == "Table", shape.startswith("Partial"), include=include or "Metadata")
        elif media == "application/yaml" and not wanted.get("as"):
            return Form(as_yaml=True)
    if not custom and is_protobuf_only(accept):
        raise unsupported(f"answers in {PROTOBUF}: accept application/json, too")
    if known or custom:
        raise ApiError(406, "NotAcceptable", f"only the following media types are accepted: {_MEDIA}", None)
    streams = f"application/json;stream=watch, {PROTOBUF};stream=watch"
    message = f"406: Not Acceptable\n\nAvailable representations: {_MEDIA}, {streams}"
    raise ApiError(406, "NotAcceptable", message)


def is_protobuf_only(accept: str) -> bool:
    return bool(accept) and all(choice.partition(";")[0].strip() == PROTOBUF for choice in accept.split(","))


def dump(value: Any, form: Form | None = None) -> bytes:
    if form is not None and form.as_yaml:
        return yaml.safe_dump(value, sort_keys=True).encode()
    return orjson.dumps(value)


def one(kind: ResourceKind, obj: Object, form: Form, now: datetime) -> Object:
    if form.as_table:
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return table(kind, [obj], metadata, form.include, now)
    return partial(obj) if form.as_partial else obj


def many(kind: ResourceKind, page: Page, form: Form, now: datetime) -> Object:
    metadata: Object = {"resourceVersion": page.resource_version}
    if page.continue_ or kind.custom:
        metadata["continue"] = page.continue_
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    if form.as_table:
        return table(kind, page.items, metadata, form.include, now)
    if form.as_partial:
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": [partial(obj) for obj in page.items],
        }
    return {
        "kind": kind.list_kind or f"{kind.kind}List",
        "apiVersion": kind.api_version,
        "metadata": metadata,
        "items": page.items,
    }


def event_writer(kind: ResourceKind, form: Form, now: Callable[[], datetime]) -> Callable[[WatchEvent], bytes]:
    """Writes watch events, one line each; only the first Table has column definitions."""
    headed = True

    def write(event: WatchEvent) -> bytes:
        nonlocal headed
        if not form.as_table and not form.as_partial:
            return event.line
        obj = event.object
        if event.type == "BOOKMARK":
            if form.as_table:
                obj = table(kind, [], obj["metadata"], form.include, now(), headed=headed)
                headed = False
            elif form.as_partial:
                obj = partial(obj)
        elif event.type != "ERROR":
            if form.as_table:
                metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
                obj = table(kind, [obj], metadata, form.include, now(), headed=headed)
                headed = False
            elif form.as_partial:
                obj = partial(obj)
        return orjson.dumps({"type": event.type, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)

    return write
