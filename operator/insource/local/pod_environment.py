"""What a container's program is started with: environment, arguments and paths, from the pod's own words.

Pure: objects that are referred to come through a `Lookup`. It must not know of processes or of the disk.
Rules of `$(NAME)`: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

Lookup = Callable[[str, str], Mapping[str, Any] | None]
"""(`Secret` or `ConfigMap`, name) -> the object in the pod's namespace, or None."""


class ReferenceMissingError(Exception):
    """Something that the pod refers to is not there (yet); the message says what, in the kubelet's words."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; an unknown name stays as it is written, `$$(NAME)` becomes `$(NAME)`."""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) >= 0:
            name = text[at + 2 : end]
            out.append(values.get(name, f"$({name})"))
            at = end + 1
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)


def environment(pod: Mapping[str, Any], container: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    """The container's variables, `envFrom` first, then `env` in order, each seeing those before it.

    `pod` must already carry `status.podIP`.
    Raises `ReferenceMissingError` for a missing object or key that is not optional.
    """
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        values.update(_all_keys(source, lookup))
    for entry in container.get("env") or ():
        name = entry["name"]
        if source := entry.get("valueFrom"):
            value = _value_from(pod, container, source, lookup)
            if value is not None:
                values[name] = value
        else:
            values[name] = expand(entry.get("value") or "", values)
    return values


def _all_keys(source: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    kind, reference = _reference(source, "secretRef", "configMapRef")
    held = lookup(kind, reference["name"])
    if held is None:
        if reference.get("optional"):
            return {}
        raise ReferenceMissingError(f'{kind.lower()} "{reference["name"]}" not found')
    prefix = source.get("prefix") or ""
    return {prefix + key: value.decode("utf-8", "replace") for key, value in contents(held).items()}


def _reference(source: Mapping[str, Any], secret: str, config_map: str) -> tuple[str, Mapping[str, Any]]:
    return ("Secret", source[secret]) if secret in source else ("ConfigMap", source[config_map])


def _value_from(
    pod: Mapping[str, Any], container: Mapping[str, Any], source: Mapping[str, Any], lookup: Lookup
) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"])
    kind, reference = _reference(source, "secretKeyRef", "configMapKeyRef")
    held = lookup(kind, reference["name"])
    value = contents(held).get(reference["key"]) if held is not None else None
    if value is not None:
        return value.decode("utf-8", "replace")
    if reference.get("optional"):
        return None
    if held is None:
        raise ReferenceMissingError(f'{kind.lower()} "{reference["name"]}" not found')
    namespace = pod["metadata"]["namespace"]
    raise ReferenceMissingError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")


def contents(held: Mapping[str, Any]) -> dict[str, bytes]:
    """Key -> bytes of a Secret or a ConfigMap."""
    found: dict[str, bytes] = {}
    if held.get("kind") == "Secret":
        for key, value in (held.get("data") or {}).items():
            found[key] = base64.b64decode(value)
        return found
    for key, value in (held.get("data") or {}).items():
        found[key] = value.encode()
    for key, value in (held.get("binaryData") or {}).items():
        found[key] = base64.b64decode(value)
    return found


_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


def field_value(pod: Mapping[str, Any], path: str) -> str:
    """The text at a downward-API field path. Raises `ReferenceMissingError` for an unknown path."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if subscript := _SUBSCRIPT.match(path):
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(pairs.items()))
    simple = {
        "metadata.name": metadata.get("name"),
        "metadata.namespace": metadata.get("namespace"),
        "metadata.uid": metadata.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": status.get("hostIP"),
    }
    if path not in simple:
        raise ReferenceMissingError(f'fieldPath "{path}" is not one that the embedded node offers')
    return str(simple[path] or "")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def resource_value(container: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """The text of `limits.cpu` and its like: whole cores or bytes unless a divisor says otherwise, rounded up."""
    from insource.local.quantities import parse_quantity

    table, _, name = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    held = (resources.get(table) or {}).get(name) or (resources.get("limits") or {}).get(name) or "0"
    divisor = parse_quantity(str(reference.get("divisor") or "1")) or 1
    return str(int(-(-parse_quantity(str(held)) // divisor)))


def rewrite_paths(text: str, mounts: Mapping[str, str]) -> str:
    """Replace every mount path in `text` by the folder that stands for it; the longest mount path wins.

    A path is only recognised whole: `/data` is found in `--dir=/data/x` and `file:///data`, not in `/database` or `http://data`.
    """
    if not mounts or "/" not in text:
        return text
    paths = sorted((path.rstrip("/") for path in mounts if path.rstrip("/")), key=len, reverse=True)
    folders = {path.rstrip("/"): folder for path, folder in mounts.items()}
    pattern = "|".join(re.escape(path) for path in paths)
    found = re.compile(rf"(?:(?<![\w.\-/])|(?<=file://))(?:{pattern})(?![\w.\-])")
    return found.sub(lambda match: folders[match[0]], text)
