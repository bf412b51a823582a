"""From an admitted write to a committed change: what create, update, patch and apply do once they know the object.

Works on state and admission only; what follows from a change (collection, subscribers) is the store's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from insource.local import managed_fields, scale
from insource.local.builtin import finalized
from insource.local.crds import CRD_REF, established, kind_of
from insource.local.store_admission import Admission, Guard
from insource.local.store_errors import ApiError, Object, conflict, not_found
from insource.local.store_kinds import ResourceKind
from insource.local.store_requests import (
    after_patch,
    apply_config,
    check_namespace,
    namespace_of,
    uid_or_version_gone,
)
from insource.local.store_state import Key, State


@dataclass(frozen=True)
class Write:
    """How a change of an object was asked for."""

    manager: str
    """Who writes, for metadata.managedFields."""
    subresource: str = ""
    validation: str = "Ignore"
    """Of unknown fields: `Strict`, `Warn` or `Ignore`."""
    patched: bool = True
    """By PATCH, not by PUT: the wording of refusals differs."""
    dry_run: bool = False
    quoted: str = ""
    """What a refusal shows of a patch, if it is not the whole object."""
    scale: str = ""
    """`scale` for a change of the object itself that came by that subresource: so its owner is noted."""
    guard: Guard | None = None
    """Whether the writer may do that to this very object."""


@dataclass
class Writing:
    """The writes. `after`: called when a change was committed, to work off what follows from it."""

    state: State
    admission: Admission
    after: Callable[[], None]

    def created(self, kind: ResourceKind, key: Key, new: Object, *, dry_run: bool) -> Object:
        """Stores a new object that admission has completed. Raises ApiError."""
        if kind.ref == CRD_REF:
            kind_of(new)  # refuses before anything is stored
            new["status"] = established(new, self.admission.now())
        if dry_run:
            return new
        self.state.commit(key, None, new)
        if kind.ref == CRD_REF:
            self.state.kinds.add(kind_of(new))
        self.after()
        return new

    def changed(self, kind: ResourceKind, old: Object, sent: Object, write: Write) -> Object:
        """The successor of `old` by an ordinary write. Raises ApiError."""
        sent.setdefault("kind", kind.kind)
        new = self.admission.changed(
            kind,
            sent,
            old,
            write.subresource,
            write.validation,
            write.guard,
            patched=write.patched,
            quoted=write.quoted,
        )
        owned_by = write.scale or write.subresource
        self.admission.owned(kind, old, new, sent["metadata"], write.manager, owned_by)
        return self._committed(kind, old, new, dry_run=write.dry_run)

    def scaled(self, kind: ResourceKind, old: Object, body: Object, write: Write) -> Object:
        """The successor of `old` by a Scale. Raises ApiError."""
        metadata = body.get("metadata") if isinstance(body, dict) else None
        self.admission.check_precondition(kind, metadata or {}, old, patched=True)
        sent = scale.with_replicas(kind, old, scale.desired(kind, body, patched=write.patched))
        return self.changed(kind, old, sent, Write(write.manager, scale="scale", dry_run=write.dry_run))

    def patched_scale(self, kind: ResourceKind, old: Object, patch: Any, form: str, write: Write) -> Object:
        """The successor of `old` by a patch of its Scale. Raises ApiError."""
        return self.scaled(kind, old, after_patch(scale.view(kind, old), patch, form), write)

    def finalized(self, kind: ResourceKind, old: Object, sent: Object, write: Write) -> Object:
        """A Namespace with the finalizers of `sent`; without any it goes, if it is being deleted."""
        return self._committed(kind, old, finalized(old, sent), dry_run=write.dry_run)

    def applied(
        self, kind: ResourceKind, namespace: str | None, name: str, patch: Any, write: Write, *, force: bool
    ) -> Object:
        """Server-side apply: creates or changes. Raises ApiError, 409 on ownership conflicts without `force`."""
        config, sent = apply_config(kind, patch, name, write.subresource)
        space = namespace_of(kind, sent, namespace)
        key: Key = (kind.ref, space, name)
        live = self.state.find(key)
        if live is None:
            return self._applied_first(kind, key, config, sent, write, force=force)
        self.admission.check_precondition(kind, sent, live, patched=True)
        entries = live["metadata"].get("managedFields") or []
        now = self.admission.now()
        merged, entries = managed_fields.apply(
            live, config, entries, kind.schema, write.manager, write.subresource, now, force=force
        )
        if merged is live:
            return live
        new = self.admission.changed(kind, merged, live, write.subresource, "Ignore", write.guard, patched=True)
        if entries:
            new["metadata"]["managedFields"] = entries
        return self._committed(kind, live, new, dry_run=write.dry_run)

    def _applied_first(
        self, kind: ResourceKind, key: Key, config: Object, sent: Object, write: Write, *, force: bool
    ) -> Object:
        name = key[2]
        if write.subresource:
            raise not_found(kind.plural, kind.group, name)
        if sent.get("uid") or sent.get("resourceVersion"):
            raise conflict(kind.plural, kind.group, name, uid_or_version_gone(sent))
        check_namespace(self.state, kind, key[1], name)
        config.setdefault("kind", kind.kind)
        new = self.admission.created(kind, config, name, key[1], "Ignore", write.guard)
        bare: Object = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {}}
        now = self.admission.now()
        entries = managed_fields.apply(bare, config, [], kind.schema, write.manager, "", now, force=force)[1]
        if entries:
            new["metadata"]["managedFields"] = entries
        return self.created(kind, key, new, dry_run=write.dry_run)

    def _committed(self, kind: ResourceKind, old: Object, new: Object, *, dry_run: bool) -> Object:
        defined = None
        if kind.ref == CRD_REF and new.get("spec") != old.get("spec"):
            defined = kind_of(new, old)
            new["status"] = established(new, self.admission.now())
        if new == old:
            return old
        if dry_run:
            return new
        metadata = new["metadata"]
        key: Key = (kind.ref, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])
        self.state.commit(key, old, new)
        if defined is not None:
            self.state.kinds.add(defined)
        self.after()
        return new


def not_by_strategic_merge() -> ApiError:
    """Custom kinds have no strategic merge."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )
