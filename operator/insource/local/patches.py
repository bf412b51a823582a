"""JSON merge patch, JSON patch and strategic merge patch: pure functions from an object to a new one."""

from __future__ import annotations

from typing import Any

from insource.local.builtin_schemas import MERGE_KEYS, MERGED_SETS
from insource.local.schema import copied
from insource.local.schema_nodes import json_type
from insource.local.store_errors import ApiError, Object, bad_request, unsupported


def merge_patch(value: Any, patch: Any) -> Any:
    """RFC 7386. The answer may share parts with both arguments."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), item)
    return merged


def _refused() -> ApiError:
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request")


def _undecodable(value: Any, wanted: str) -> ApiError:
    said = {"integer": "number", "boolean": "bool"}.get(json_type(value), json_type(value))
    return bad_request(f"error decoding patch: json: cannot unmarshal {said} into Go value of type {wanted}")


def json_patch(value: Any, operations: Any) -> Any:
    """RFC 6902. Raises ApiError 422 for a failed test or a missing path, 400 for something that is no patch."""
    if not isinstance(operations, list):
        raise _undecodable(operations, "[]handlers.jsonPatchOp")
    for item in operations:
        if not isinstance(item, dict):
            raise _undecodable(item, "handlers.jsonPatchOp")
    document = copied(value)
    for operation in operations:
        document = _operate(document, operation)
    return document


def _operate(document: Any, operation: Object) -> Any:
    verb, path = operation.get("op"), _pointer(operation.get("path"))
    value = operation.get("value")  # none is null, as for the real server
    if verb == "test":
        if _at(document, path) != value:
            raise _refused()
        return document
    if verb == "remove":
        return _remove(document, path)
    if verb == "replace":
        _at(document, path)
        return _add(_remove(document, path), path, copied(value)) if path else value
    if verb == "add":
        return _add(document, path, copied(value))
    if verb in ("move", "copy"):
        source = _pointer(operation.get("from"))
        item = copied(_at(document, source))
        return _add(_remove(document, source) if verb == "move" else document, path, item)
    raise _refused()


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise bad_request(f"not a JSON pointer: {text!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _index(step: str, limit: int) -> int:
    if not step.isdigit() or int(step) > limit:
        raise _refused()
    return int(step)


def _at(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list):
            document = document[_index(step, len(document) - 1)]
        else:
            raise _refused()
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise _refused()
    container = _at(document, path[:-1])
    _at(container, path[-1:])
    del container[path[-1] if isinstance(container, dict) else int(path[-1])]
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    container = _at(document, path[:-1])
    if isinstance(container, dict):
        container[path[-1]] = value
    elif isinstance(container, list):
        position = len(container) if path[-1] == "-" else _index(path[-1], len(container))
        container.insert(position, value)
    else:
        raise _refused()
    return document


def merge_key(name: str, items: list[Any]) -> str | None:
    """The field that identifies items of a built-in kind's list, or None for a list that is replaced."""
    if name == "ports":
        first = next((item for item in items if isinstance(item, dict)), {})
        if "containerPort" in first:
            return "containerPort"
        return "port" if "port" in first else None
    keys = MERGE_KEYS.get(name)
    return keys[0] if keys else None


def strategic_merge(value: Any, patch: Any) -> Any:
    """Kubernetes' strategic merge, with the built-in kinds' merge keys and its `$` directives."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: item for name, item in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type: {directive}")
    merged = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if name.startswith("$"):
            _directive(merged, name, item)
    for name, item in patch.items():
        if name.startswith("$"):
            continue
        if item is None:
            merged.pop(name, None)
        elif isinstance(item, list):
            merged[name] = _merge_list(name, merged.get(name) or [], item, patch.get(f"$setElementOrder/{name}"))
        elif isinstance(item, dict):
            merged[name] = strategic_merge(merged.get(name), item)
        else:
            merged[name] = item
    for name, order in patch.items():
        listed = name.removeprefix("$setElementOrder/")
        if listed != name and listed not in patch and listed in merged:
            merged[listed] = _ordered(listed, merged[listed], order)
    return merged


def without_orders(patch: Any) -> Any:
    """A strategic merge patch without the lists whose order it states: what is left of it once it has been merged."""
    if not isinstance(patch, dict):
        return patch
    ordered = {name.partition("/")[2] for name in patch if name.startswith("$setElementOrder/")}
    return {
        name: without_orders(item)
        for name, item in patch.items()
        if name not in ordered and not name.startswith("$setElementOrder/")
    }


def _directive(merged: Object, name: str, item: Any) -> None:
    if name.startswith("$deleteFromPrimitiveList/"):
        listed = name.partition("/")[2]
        merged[listed] = [value for value in merged.get(listed) or [] if value not in item]
    elif name == "$retainKeys":
        for key in [key for key in merged if key not in item]:
            del merged[key]
    elif name != "$patch" and not name.startswith("$setElementOrder/"):
        raise unsupported(f"the strategic merge directive {name!r}")


def _merge_list(name: str, live: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    if name in MERGED_SETS:
        return live + [item for item in patch if item not in live]
    key = merge_key(name, live + patch)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
    if key is None:
        return patch
    untouched = list(live)
    touched: list[Any] = []
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        position = next((i for i, old in enumerate(untouched) if old.get(key) == item[key]), None)
        old = untouched.pop(position) if position is not None else None
        if item.get("$patch") == "delete":
            continue
        touched.append(strategic_merge(old, item))
    # As the real server: patched items come first unless the patch states an order.
    merged = touched + untouched
    return _ordered(name, merged, order) if order is not None else merged


def _ordered(name: str, items: list[Any], order: list[Any]) -> list[Any]:
    key = merge_key(name, items)

    def place(item: Any) -> int:
        for i, wanted in enumerate(order):
            if wanted == item if key is None else isinstance(wanted, dict) and wanted.get(key) == item.get(key):
                return i
        return len(order)

    return sorted(items, key=place)
