"""What kinds of object exist: the registry that built-in kinds and CRDs enter, and how a kind is looked up.

Knows nothing of objects, only of their descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from insource.local.schema_nodes import Node
from insource.local.store_errors import ApiError, Cause, Object

KindRef = tuple[str, str]
"""(group, plural): `("", "pods")`, `("apps", "deployments")`, `("insource.dev", "modeldeployments")`."""

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def subdomain_fault(name: str) -> str:
    """Why this is no lowercase RFC 1123 subdomain; "" if it is one."""
    return "" if len(name) <= 253 and _SUBDOMAIN.match(name) else _SUBDOMAIN_RULE


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def label_faults(name: str) -> list[str]:
    """Why this is no lowercase RFC 1123 label."""
    return ([] if len(name) <= 63 else ["must be no more than 63 bytes"]) + (
        [] if _LABEL.match(name) else [_LABEL_RULE]
    )


def path_name_faults(name: str) -> list[str]:
    """Why this cannot be one segment of a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{sign}'" for sign in "/%" if sign in name]


@dataclass(frozen=True)
class PrinterColumn:
    """One column of `kubectl get`; `json_path` as in a CRD (`.spec.color`)."""

    name: str
    type: str
    json_path: str
    priority: int = 0
    description: str = ""


@dataclass(frozen=True)
class ScalePaths:
    """Where a kind keeps what the scale subresource shows."""

    replicas: str
    status_replicas: str
    selector: str = ""


@dataclass(frozen=True, eq=False)
class ResourceKind:
    """One served kind in one version."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status_subresource: bool = False
    schema: Node = field(default_factory=Node.open)
    """What is pruned, defaulted, validated and how lists merge."""
    printer_columns: tuple[PrinterColumn, ...] = ()
    scale: ScalePaths | None = None
    selectable_fields: tuple[str, ...] = ()
    """Field selectors beyond metadata.name and metadata.namespace, such as `spec.nodeName`."""
    custom: bool = False
    """True for a kind that a CRD defines: pruned, strictly validated, no strategic merge."""
    generation: str = "none"
    """What raises metadata.generation: `none`, `spec` (not metadata, status), `spec+annotations` (Deployments)."""
    list_kind: str = ""
    names: Literal["subdomain", "label", "path"] = "subdomain"
    """What metadata.name may be: a lowercase RFC 1123 subdomain or label, or any one segment of a path."""
    verbs: tuple[str, ...] = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    subresources: tuple[str, ...] = ()
    """Further subresources, beyond status and scale, for discovery: `log`, `token`."""
    openapi: Object | None = None
    """A CRD's openAPIV3Schema as it was given."""
    prepare: Callable[[Object, Object | None], None] | None = None
    """Built-in kinds: fills defaults into a private copy; gets the old object or None."""
    check: Callable[[Object, Object | None], list[Cause]] | None = None
    """Built-in kinds: what is wrong with an object."""

    def name_faults(self, name: str) -> list[str]:
        """Why an object of this kind cannot have this name."""
        if self.names == "path":
            return path_name_faults(name)
        if self.names == "label":
            return label_faults(name)
        fault = subdomain_fault(name)
        return [fault] if fault else []

    @property
    def ref(self) -> KindRef:
        return (self.group, self.plural)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class Kinds:
    """All served kinds, by (group, plural) and by (group, Kind)."""

    def __init__(self) -> None:
        self._by_ref: dict[KindRef, ResourceKind] = {}
        self._by_kind: dict[tuple[str, str], ResourceKind] = {}

    def add(self, kind: ResourceKind) -> None:
        self._by_ref[kind.ref] = kind
        self._by_kind[(kind.group, kind.kind)] = kind

    def remove(self, ref: KindRef) -> None:
        kind = self._by_ref.pop(ref, None)
        if kind is not None:
            self._by_kind.pop((kind.group, kind.kind), None)

    def find(self, ref: KindRef) -> ResourceKind | None:
        return self._by_ref.get(ref)

    def resolve(self, kind: KindRef | ResourceKind) -> ResourceKind:
        """The present description of a kind. Raises ApiError 404 if it is not served."""
        ref = kind.ref if isinstance(kind, ResourceKind) else kind
        found = self._by_ref.get(ref)
        if found is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return found

    def of_object(self, api_version: str, kind: str) -> ResourceKind | None:
        """The kind that an object's own `apiVersion` and `kind` name, in whatever version it is served."""
        group = api_version.rpartition("/")[0]
        return self._by_kind.get((group, kind))

    def __iter__(self) -> Iterator[ResourceKind]:
        return iter(list(self._by_ref.values()))
