"""Field ownership: sets of fields in Kubernetes' FieldsV1 form, merging, comparing, and dropping what nobody owns.

A set is the FieldsV1 JSON itself: `{"f:spec": {"f:color": {}}}`. An empty dict, or one with `.`, is a member; any
other is only the way to its members. Pure; knows nothing of storage or managers.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from insource.local.schema_nodes import OPEN, Node, compact

Fields = dict[str, Any]
DOT: Fields = {".": {}}


def is_member(fields: Fields) -> bool:
    return not fields or "." in fields


def union(a: Fields, b: Fields) -> Fields:
    if a is b or not b:
        return a if (not a or "." in a or a is b) else {".": {}, **a}
    if not a:
        return b if "." in b else {".": {}, **b}
    merged = dict(a)
    for key, child in b.items():
        mine = merged.get(key)
        merged[key] = child if mine is None else union(mine, child)
    return merged


def subtract(a: Fields, b: Fields) -> Fields | None:
    """`a` without the members of `b`; None if nothing is left."""
    if not a:
        return None if is_member(b) else a
    left: Fields = {}
    for key, child in a.items():
        if key == ".":
            if not is_member(b):
                left[key] = child
            continue
        other = b.get(key)
        rest = child if other is None else subtract(child, other)
        if rest is not None:
            left[key] = rest
    if not left:
        return None
    return {} if left == DOT else left


def intersect(a: Fields, b: Fields) -> Fields | None:
    """The members of both; None if there are none."""
    if is_member(a) and is_member(b):
        common: Fields = {".": {}}
    else:
        common = {}
    for key, child in a.items():
        other = b.get(key) if key != "." else None
        if other is not None:
            shared = intersect(child, other)
            if shared is not None:
                common[key] = shared
    if not common:
        return None
    return {} if common == DOT else common


def item_key(node: Node, item: Any) -> str:
    """How a list item is named in a set: by its keys in a map list, by its value in a set list."""
    if node.list_type == "map" and isinstance(item, dict):
        key = node.key_of(item)
        if all(type(value) is str or type(value) is int for _, value in key):
            return _written_key(key)
        return "k:" + compact(dict(key))
    return "v:" + compact(item)


@lru_cache(maxsize=65_536)
def _written_key(key: tuple[tuple[str, str | int], ...]) -> str:
    # Only for text and integers: 1, 1.0 and True would share a place in the cache.
    return "k:" + compact(dict(key))


def _granular(value: Any, node: Node) -> bool:
    if isinstance(value, dict):
        return not node.atomic
    return isinstance(value, list) and node.list_type != "atomic"


def leaves(value: Any, node: Node) -> Fields:
    """What applying `value` owns: leaves, and the items of map lists as such; never the containers."""
    if not value or not _granular(value, node):
        return {}
    if isinstance(value, dict):
        return {"f:" + name: leaves(item, node.child(name)) for name, item in value.items()}
    items = node.items or OPEN
    if node.list_type == "map":
        if items.atomic:
            return {item_key(node, item): {} for item in value}
        return {item_key(node, item): {".": {}, **leaves(item, items)} for item in value}
    return {item_key(node, item): {} for item in value}


def everything(value: Any, node: Node) -> Fields:
    """What creating `value` by an ordinary write owns: leaves and containers."""
    if not value or not _granular(value, node):
        return {}
    if isinstance(value, dict):
        inside = {"f:" + name: everything(item, node.child(name)) for name, item in value.items()}
        return inside if node.struct else {".": {}, **inside}
    items = node.items or OPEN
    return {".": {}, **{item_key(node, item): everything(item, items) for item in value}}


def compare(old: Any, new: Any, node: Node) -> tuple[Fields, Fields]:
    """(added or modified, removed) fields from `old` to `new`, both empty dicts if nothing differs below this root."""
    changed: Fields = {}
    removed: Fields = {}
    if isinstance(old, dict) and isinstance(new, dict):
        for name, item in new.items():
            before = old.get(name)
            if before is item or (before is not None and before == item):
                continue
            child = node.child(name)
            if name not in old:
                changed["f:" + name] = everything(item, child)
            else:
                _compare_child("f:" + name, before, item, child, changed, removed)
        for name, before in old.items():
            if name not in new:
                removed["f:" + name] = everything(before, node.child(name))
        return changed, removed
    items = node.items or OPEN
    olds = {item_key(node, item): item for item in old}
    news = {item_key(node, item): item for item in new}
    for key, item in news.items():
        if key not in olds:
            changed[key] = everything(item, items)
        elif olds[key] != item:
            _compare_child(key, olds[key], item, items, changed, removed)
    for key, before in olds.items():
        if key not in news:
            removed[key] = everything(before, items)
    return changed, removed


def _compare_child(key: str, old: Any, new: Any, node: Node, changed: Fields, removed: Fields) -> None:
    same_shape = type(old) is type(new) and _granular(old, node) and old and new
    if not same_shape:
        changed[key] = everything(new, node)
        if isinstance(old, dict | list) and old and _granular(old, node):
            gone = {k: v for k, v in everything(old, node).items() if k != "."}
            if gone:
                removed[key] = gone
        return
    below_changed, below_removed = compare(old, new, node)
    if below_changed:
        changed[key] = below_changed
    if below_removed:
        removed[key] = below_removed


def merge(live: Any, applied: Any, node: Node) -> Any:
    """`live` with `applied` laid over it: objects by field, map lists by key, set lists by union, the rest replaced."""
    if live == applied and type(live) is type(applied):
        return live
    if isinstance(live, dict) and isinstance(applied, dict) and not node.atomic:
        merged = dict(live)
        for name, item in applied.items():
            merged[name] = merge(merged[name], item, node.child(name)) if name in merged else item
        return merged
    if isinstance(live, list) and isinstance(applied, list) and node.list_type != "atomic":
        items = node.items or OPEN
        by_key = {item_key(node, item): item for item in live}
        for item in applied:
            key = item_key(node, item)
            by_key[key] = merge(by_key[key], item, items) if key in by_key else item
        return list(by_key.values())
    return applied


def drop(value: Any, dropped: Fields, owned: Fields | None, node: Node) -> Any:
    """`value` without the members of `dropped` that `owned` (everybody's fields) does not hold.

    A container goes only when nobody owns it or anything below it. A declared field then goes whole, with what
    nobody owned in it (defaults), as the real server's structured-merge-diff does; a map's value or a list's item
    that was never owned itself goes only when it is left empty.
    """
    if isinstance(value, dict):
        kept = dict(value)
        for key, below in dropped.items():
            name = key[2:]
            if key == "." or name not in kept:
                continue
            _drop_child(kept, name, below, (owned or {}).get(key), node.child(name), declared=name in node.properties)
        return kept
    if isinstance(value, list):
        items = node.items or OPEN
        by_key: dict[str, Any] = {item_key(node, item): item for item in value}
        for key, below in dropped.items():
            if key != "." and key in by_key:
                _drop_child(by_key, key, below, (owned or {}).get(key), items, declared=False)
        return list(by_key.values())
    return value


def _drop_child(
    container: dict[str, Any], key: str, below: Fields, owned: Fields | None, node: Node, *, declared: bool
) -> None:
    if owned is None and (declared or is_member(below)):
        del container[key]
        return
    if any(name != "." for name in below):
        container[key] = drop(container[key], below, owned, node)
        if owned is None and not container[key]:
            del container[key]


def paths(fields: Fields, prefix: str = "") -> list[str]:
    """The members as the paths of conflict messages: `.spec.ports[port=80,protocol="TCP"].label`."""

    found: list[str] = []
    if is_member(fields):
        found.append(prefix)
    for key, below in fields.items():
        if key == ".":
            continue
        found.extend(paths(below, prefix + path_of(key)))
    return found


def path_of(key: str) -> str:
    """One step of a path: `.color`, `[port=80,protocol="TCP"]`, `[="x"]`."""
    if key.startswith("f:"):
        return "." + key[2:]
    if key.startswith("k:"):
        return "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(key[2:]).items()) + "]"
    return "[=" + key[2:] + "]"
