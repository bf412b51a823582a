"""What an API request means: its path, its query, its body. Knows nothing of the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from insource.local import apiserver_protobuf as protobuf
from insource.local.store_errors import ApiError, Cause, bad_request, invalid

PATCH_TYPES = {
    "application/merge-patch+json": "merge",
    "application/json-patch+json": "json",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


class _Loader(yaml.CSafeLoader):
    """YAML as the API server reads it: version 1.1, so `y` and `n` are booleans; timestamps stay text."""

    bool_values = {**yaml.CSafeLoader.bool_values, "y": True, "n": False}


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


@dataclass(frozen=True)
class Target:
    """What a path names; `name` and `subresource` may be empty, `namespace` None means all."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> Target | None:
    """`/api/v1/...` and `/apis/G/V/...` that name a resource; None for anything else."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    return Target(group, version, rest[0], namespace, *rest[1:])


def read_body(raw: bytes, content_type: str, validation: str, kind: str) -> Any:
    """A request body as JSON data. A missing Content-Type is JSON. Raises ApiError 400, 415."""
    media = content_type.partition(";")[0].strip().lower() or "application/json"
    if media == "application/vnd.kubernetes.protobuf":
        return protobuf.decode(raw)
    if "yaml" in media:
        return _read_yaml(raw)
    if media == "application/json" or media.endswith("+json"):
        if validation == "Strict":
            return _read_strict(raw, kind)
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise bad_request(f"the request body is not JSON: {error}") from error
    raise ApiError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format ({media}) - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )


def _read_yaml(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        # Through JSON, which turns a boolean key (`y: 1`) into text, as the API server does.
        return json.loads(json.dumps(yaml.load(raw, Loader=_Loader)))
    except (yaml.YAMLError, TypeError) as error:
        raise bad_request(f"error decoding YAML: {error}") from error


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its names came twice."""

    twice: tuple[str, ...] = ()


def _paired(items: list[tuple[str, Any]]) -> _Pairs:
    found = _Pairs(items)
    if len(found) != len(items):
        names = [name for name, _ in items]
        found.twice = tuple(name for name in found if names.count(name) > 1)
    return found


def _doubled(value: Any, path: str) -> Iterator[str]:
    """Paths of the names that came twice, `spec.color`, `spec.ports[0].port`."""
    if isinstance(value, _Pairs):
        inside = f"{path}." if path else ""
        yield from (inside + name for name in value.twice)
        for name, item in value.items():
            yield from _doubled(item, inside + name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _doubled(item, f"{path}[{i}]")


def _read_strict(raw: bytes, kind: str) -> Any:
    try:
        body = json.loads(raw, object_pairs_hook=_paired)
    except ValueError as error:
        raise bad_request(f"the request body is not JSON: {error}") from error
    twice = list(_doubled(body, ""))
    if twice:
        said = ", ".join(f'duplicate field "{path}"' for path in twice)
        version = str(body.get("apiVersion") or "").rpartition("/")[2]
        where = f'{kind} in version "{version}" cannot be handled as a {kind}'
        raise bad_request(f"{where}: strict decoding error: {said}")
    return body


def is_dry_run(query: Mapping[str, str]) -> bool:
    """Raises ApiError 422 for anything but `All`."""
    value = query.get("dryRun", "")
    if value in ("", "All"):
        return value == "All"
    cause = Cause("FieldValueNotSupported", f'Unsupported value: ["{value}"]: supported values: "All"', "dryRun")
    raise invalid("CreateOptions", "meta.k8s.io", "", [cause])


def field_manager(query: Mapping[str, str], user_agent: str) -> str:
    return query.get("fieldManager") or user_agent.partition("/")[0] or "unknown"
