"""`kubectl get`: objects as rows of a meta.k8s.io/v1 Table. Pure; the present time is handed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from insource.local.selectors import lookup
from insource.local.store_errors import Object
from insource.local.store_kinds import ResourceKind
from insource.local.table_cells import CELLS, Cells, Columns, age, created

_STEP = re.compile(r"\.?([A-Za-z0-9_-]+)|\[(\d+|\*)\]|\['([^']*)'\]|\[\?\(@\.([\w.-]+)\s*==\s*[\"']([^\"']*)[\"']\)\]")


def json_path(obj: Any, path: str) -> Any:
    """The first value at a printer column's path (fields, indexes, `[?(@.type=="Ready")]`), or None."""
    values = [obj]
    for match in _STEP.finditer(path.replace("\\.", "\0")):
        name, index, quoted, key, wanted = match.groups()
        following: list[Any] = []
        for value in values:
            if name is not None or quoted is not None:
                field = (name or quoted).replace("\0", ".")
                if isinstance(value, dict) and field in value:
                    following.append(value[field])
            elif index == "*":
                following.extend(value if isinstance(value, list) else [])
            elif index is not None:
                following.extend(value[int(index) : int(index) + 1] if isinstance(value, list) else [])
            elif isinstance(value, list):
                following.extend(
                    item for item in value if isinstance(item, dict) and str(lookup(item, key.split("."))) == wanted
                )
        values = following
    return values[0] if values else None


def _plan(kind: ResourceKind) -> tuple[Columns, Cells]:
    known = CELLS.get(kind.ref)
    if known is not None:
        return known
    columns: Columns = [("Name", "string", 0)]
    declared = kind.printer_columns
    if not declared:
        return [*columns, ("Age", "date", 0)], lambda o, now: [o["metadata"]["name"], created(o, now)]
    columns += [(column.name, column.type, column.priority) for column in declared]

    def cells(obj: Object, now: datetime) -> list[Any]:
        row: list[Any] = [obj["metadata"]["name"]]
        for column in declared:
            value = json_path(obj, column.json_path)
            if value is not None and column.type == "date":
                value = age(value, now)
            elif value is not None and column.type == "string" and not isinstance(value, str):
                value = str(value).lower() if isinstance(value, bool) else str(value)
            row.append(value)
        return row

    return columns, cells


def partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def table(
    kind: ResourceKind,
    objects: Iterable[Object],
    metadata: Object,
    include: str,
    now: datetime,
    *,
    headed: bool = True,
) -> Object:
    """A Table. `include`: what each row carries of its object: None, Metadata (default) or Object."""
    columns, cells = _plan(kind)
    shown: dict[str, Callable[[Object], Object | None]] = {"None": lambda _: None, "Object": lambda obj: obj}
    carried = shown.get(include, partial)
    definitions = [
        {"name": name, "type": form, "format": "name" if name == "Name" else "", "description": "", "priority": level}
        for name, form, level in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions if headed else None,
        "rows": [{"cells": cells(obj, now), "object": carried(obj)} for obj in objects],
    }
