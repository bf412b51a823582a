"""Our object without the fields that another field manager owns, so that the rest of it can be applied.

A conflict names fields in the notation of Kubernetes' structured-merge-diff: `.spec.size` for a field,
`[model="a",unit="s"]` for the item of a list that is merged by keys, `[="x"]` for one of a set, `[0]` for an index.
Names are not quoted there (`.metadata.labels.app.kubernetes.io/name`), so a path only makes sense beside the object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


class UnknownPathError(ValueError):
    """A path that leads to nothing in the object."""


def without(manifest: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """`manifest` less what lies at `paths`, and less what is empty because of that. It is not changed itself.

    `UnknownPathError` if a path is not understood: then nothing of the object may be taken to be ours.
    """
    rest: Any = manifest
    for path in paths:
        rest = _without(rest, path, path)
    return rest if isinstance(rest, dict) else {}


_GONE = object()


def _without(value: Any, rest: str, whole: str) -> Any:
    if not rest:
        return _GONE
    if isinstance(value, Mapping) and rest.startswith("."):
        return _without_field(value, rest, whole)
    if isinstance(value, list) and rest.startswith("["):
        return _without_item(value, rest, whole)
    raise UnknownPathError(whole)


def _without_field(value: Mapping[str, Any], rest: str, whole: str) -> Any:
    names = [name for name in value if rest == f".{name}" or rest.startswith((f".{name}.", f".{name}["))]
    if not names:
        raise UnknownPathError(whole)
    name = max(names, key=len)
    left = _without(value[name], rest[len(name) + 1 :], whole)
    kept = {**value, name: left} if left is not _GONE else {key: value[key] for key in value if key != name}
    return kept or _GONE


def _without_item(value: list[Any], rest: str, whole: str) -> Any:
    wanted, rest = _item(rest, whole)
    found = [index for index, item in enumerate(value) if _is_meant(item, index, wanted)]
    if len(found) != 1:
        raise UnknownPathError(whole)
    left = _without(value[found[0]], rest, whole)
    # An item of which only its keys remain says nothing; with them it stays, for its other fields are still ours.
    kept = [left if index == found[0] else item for index, item in enumerate(value)]
    return [item for item in kept if item is not _GONE] or _GONE


def _is_meant(item: Any, index: int, wanted: Mapping[str, Any] | int) -> bool:
    if isinstance(wanted, int):
        return index == wanted
    if "" in wanted:
        return bool(item == wanted[""])
    return isinstance(item, Mapping) and all(item.get(key) == value for key, value in wanted.items())


def _item(rest: str, whole: str) -> tuple[Mapping[str, Any] | int, str]:
    """What the brackets at the beginning say, and what follows them."""
    decoder = json.JSONDecoder()
    position, wanted = 1, {}
    try:
        if rest[1].isdigit():
            end = rest.index("]")
            return int(rest[1:end]), rest[end + 1 :]
        while True:
            equals = rest.index("=", position)
            name = rest[position:equals]
            wanted[name], position = decoder.raw_decode(rest, equals + 1)
            if rest[position] == "]":
                return wanted, rest[position + 1 :]
            if rest[position] != ",":
                raise UnknownPathError(whole)
            position += 1
    except (ValueError, IndexError) as error:
        raise UnknownPathError(whole) from error
