"""From what a client sent to what is stored: identity, pruning, defaults, validation, generation, ownership.

One call per write; never stores anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from insource.env import Env
from insource.local import labels, managed_fields
from insource.local.builtin_types import struct_of
from insource.local.go_objects import decoded, written
from insource.local.schema import admit, copied
from insource.local.schema_nodes import compact
from insource.local.schema_validation import SKIPPED_RULES, validate
from insource.local.store_errors import ApiError, Cause, Object, UndecodableError, bad_request, conflict, invalid
from insource.local.store_kinds import ResourceKind

_SERVER_METADATA = (
    "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip
_NOT_SPEC = ("metadata", "status", "apiVersion", "kind")
FieldValidation = str
"""`Strict`, `Warn` or `Ignore`."""
Guard = Callable[[Object, Object | None], None]
"""(what is asked for, defaults filled in; what is there): raises ApiError if the writer may not do that."""


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes times: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Admission:
    """The rules every write passes."""

    env: Env
    warnings: list[str] = field(default_factory=list)
    """Unknown fields of the last write, in the words of the Warning header."""

    def now(self) -> str:
        return timestamp(self.env.clock.now())

    def created(
        self, kind: ResourceKind, obj: Object, name: str, namespace: str, validation: str, guard: Guard | None = None
    ) -> Object:
        """A new object, complete but for managedFields and resourceVersion."""
        metadata = {k: v for k, v in obj["metadata"].items() if k not in (*_SERVER_METADATA, "managedFields")}
        metadata.pop("selfLink", None)
        metadata["name"] = name
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = self.env.ids.uuid()
        metadata["creationTimestamp"] = self.now()
        if kind.generation != "none":
            metadata["generation"] = 1
        shaped = {**obj, "metadata": metadata}
        if kind.status_subresource and kind.custom:
            shaped.pop("status", None)
        return self._shaped(kind, shaped, None, validation, obj, guard, patched=False)

    def changed(
        self,
        kind: ResourceKind,
        obj: Object,
        old: Object,
        subresource: str,
        validation: str,
        guard: Guard | None = None,
        *,
        patched: bool,
        quoted: str = "",
    ) -> Object:
        """The successor of `old`, complete but for managedFields and resourceVersion.

        `quoted`: what a refusal shows of a patch, if it is not the whole object.
        """
        before = old["metadata"]
        self._check_identity(kind, obj, old)
        if subresource == "status":
            metadata = {k: v for k, v in before.items() if k != "managedFields"}
            if not kind.custom:  # built-in kinds also take labels and annotations here, as nodes and pods rely on
                for part in ("labels", "annotations"):
                    if part in obj["metadata"]:
                        metadata[part] = obj["metadata"][part]
            shaped = {**old, "metadata": metadata}
            shaped.pop("status", None)
            if obj.get("status") is not None:
                shaped["status"] = obj["status"]
        else:
            metadata = {k: v for k, v in obj["metadata"].items() if k not in (*_SERVER_METADATA, "managedFields")}
            metadata.update({k: before[k] for k in (*_SERVER_METADATA, "resourceVersion") if k in before})
            metadata["name"] = before["name"]
            if "namespace" in before:
                metadata["namespace"] = before["namespace"]
            for part in ("labels", "annotations", "finalizers", "ownerReferences"):
                if part in metadata and not metadata[part]:
                    del metadata[part]
            shaped = {**obj, "metadata": metadata}
            if kind.status_subresource:
                shaped.pop("status", None)
                if "status" in old:
                    shaped["status"] = old["status"]
        new = self._shaped(kind, shaped, old, validation, obj, guard, patched=patched, quoted=quoted)
        if before.get("deletionTimestamp"):
            self._check_finalizers(kind, new, old)
        if subresource != "status" and _generation_rises(kind, old, new):
            new["metadata"]["generation"] = before.get("generation", 1) + 1
        return new

    def _shaped(
        self,
        kind: ResourceKind,
        obj: Object,
        old: Object | None,
        validation: str,
        sent: Object,
        guard: Guard | None,
        *,
        patched: bool,
        quoted: str = "",
    ) -> Object:
        unknown: list[str] = []
        said = str(obj.get("kind") or kind.kind)
        new: Object
        if kind.custom:
            whole = {"apiVersion": kind.api_version, **obj}
            new = admit(whole, kind.schema, "", unknown, defaulting=said == kind.kind)
        else:
            try:
                new = decoded(obj, old, struct_of(kind.group, kind.kind), unknown)
            except UndecodableError as error:
                raise _undecodable(kind, str(error), quoted or compact(sent), patched=patched) from error
        new["apiVersion"] = kind.api_version
        # JSON is read from top to bottom; what has been patched is compared with its type by name.
        named = sorted(unknown) if kind.custom or patched else unknown
        self._report(kind, quoted or sent, named, validation, patched=patched)
        if kind.prepare is not None:
            kind.prepare(new, old)
        if not kind.custom:
            new = written(new, old, struct_of(kind.group, kind.kind))
        if guard is not None:
            guard({**new, "metadata": sent["metadata"]}, old)
        causes = self._metadata_causes(kind, new, old)
        if kind.check is not None:
            causes += kind.check(new, old)
        if kind.custom:
            if said != kind.kind:
                causes.append(Cause("FieldValueInvalid", f'Invalid value: "{said}": must be {kind.kind}', "kind"))
            causes += validate(new, old, kind.schema, "")
            skipped = SKIPPED_RULES in causes
            if skipped:
                causes.remove(SKIPPED_RULES)
            causes += _scale_causes(kind, new)
            if skipped or (causes and causes[0].reason == "FieldValueRequired" and kind.schema.ruled):
                causes.append(SKIPPED_RULES)
        if causes:
            raise invalid(said, kind.group, new["metadata"].get("name", ""), causes)
        return new

    def _report(
        self, kind: ResourceKind, sent: Object | str, unknown: list[str], validation: str, *, patched: bool
    ) -> None:
        self.warnings = []
        if not unknown or validation == "Ignore":
            return
        texts = [f'unknown field "{path}"' for path in unknown]
        if validation != "Strict":
            self.warnings = texts
            return
        said = "strict decoding error: " + ", ".join(texts)
        raise _undecodable(kind, said, sent if isinstance(sent, str) else compact(sent), patched=patched)

    def _metadata_causes(self, kind: ResourceKind, new: Object, old: Object | None) -> list[Cause]:
        metadata = new["metadata"]
        causes = []
        if old is None:
            name = metadata.get("name", "")
            if not name:
                text = "Required value: name or generateName is required"
                causes.append(Cause("FieldValueRequired", text, "metadata.name"))
            else:
                for why in kind.name_faults(name):
                    text = f"Invalid value: {compact(name)}: {why}"
                    causes.append(Cause("FieldValueInvalid", text, "metadata.name"))
        for part in ("labels", "annotations"):
            values = metadata.get(part)
            if not values or (old is not None and values == old["metadata"].get(part)):
                continue
            for key, value in values.items():
                if not isinstance(value, str):
                    raise bad_request(f"metadata.{part}.{key} must be a string, got {compact(value)}")
                fault = labels.wrong_key(key if part == "labels" else key.lower())
                if fault is not None:
                    text = f"Invalid value: {compact(key)}: {fault}"
                    causes.append(Cause("FieldValueInvalid", text, f"metadata.{part}"))
                if part == "labels" and not labels.is_value(value):
                    text = f"Invalid value: {compact(value)}: {labels.VALUE_RULE}"
                    causes.append(Cause("FieldValueInvalid", text, "metadata.labels"))
        return causes

    def _check_identity(self, kind: ResourceKind, obj: Object, old: Object) -> None:
        sent, before = obj["metadata"], old["metadata"]
        for name in ("name", "namespace"):
            if sent.get(name) and sent[name] != before.get(name):
                if name == "name":
                    raise bad_request(
                        f"the name of the object ({sent[name]}) does not match the name on the URL ({before[name]})"
                    )
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        check_type(kind, obj)

    def check_precondition(self, kind: ResourceKind, sent: Object, old: Object, *, patched: bool) -> None:
        """A resourceVersion or uid in the body must be the present one."""
        before = old["metadata"]
        uid, version = sent.get("uid"), sent.get("resourceVersion")
        if uid and uid != before["uid"]:
            if patched:
                cause = Cause("FieldValueInvalid", f"Invalid value: {compact(uid)}: field is immutable", "metadata.uid")
                raise invalid(kind.kind, kind.group, before["name"], _as_often(kind, cause))
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
            raise conflict(kind.plural, kind.group, before["name"], _storage_error(kind, before, why))
        if version and version != "0" and version != before["resourceVersion"]:
            raise conflict(kind.plural, kind.group, before["name"])
        if not patched and kind.custom and (not version or version == "0"):
            text = "Invalid value: 0: must be specified for an update"
            cause = Cause("FieldValueInvalid", text, "metadata.resourceVersion")
            raise invalid(kind.plural, kind.group, before["name"], [cause])

    def _check_finalizers(self, kind: ResourceKind, new: Object, old: Object) -> None:
        had = old["metadata"].get("finalizers") or []
        added = [name for name in new["metadata"].get("finalizers") or [] if name not in had]
        if added:
            named = "[]string{" + ", ".join(compact(name) for name in added) + "}"
            text = (
                "Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers {named}"
            )
            cause = Cause("FieldValueForbidden", text, "metadata.finalizers")
            raise invalid(kind.kind, kind.group, old["metadata"]["name"], _as_often(kind, cause))

    def owned(
        self, kind: ResourceKind, old: Object | None, new: Object, sent: Object, manager: str, subresource: str
    ) -> None:
        """Fills in managedFields after an ordinary write. `sent` is the body's metadata."""
        given = sent.get("managedFields") if old is not None else None
        if given is not None and (not given or given == [{}]):
            return
        entries: Sequence[Object]
        if given is not None:
            entries = given
        elif old is not None:
            entries = old["metadata"].get("managedFields") or []
        else:
            entries = []
        if old is not None and not entries:
            return  # untracked until the next apply
        written = new
        if old is None and kind.custom and kind.status_subresource:  # its default is nobody's
            written = {key: value for key, value in new.items() if key != "status"}
        result = managed_fields.after_update(old, written, list(entries), kind.schema, manager, subresource, self.now())
        if result:
            new["metadata"]["managedFields"] = result


def _undecodable(kind: ResourceKind, why: str, quoted: str, *, patched: bool) -> ApiError:
    """400; for a patch 422, which quotes it."""
    if patched:
        cause = Cause("FieldValueInvalid", f"Invalid value: {compact(quoted)}: {why}", "patch")
        return invalid("", "", "", [cause])
    return bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')


def _as_often(kind: ResourceKind, cause: Cause) -> list[Cause]:
    """The API server checks a custom kind's metadata in two places, and names the cause in both."""
    return [cause, cause] if kind.custom else [cause]


def _storage_error(kind: ResourceKind, metadata: Object, why: str) -> str:
    """As it reaches a client from the storage, key and all."""
    place = (kind.group if kind.custom else "", kind.plural, metadata.get("namespace", ""), metadata["name"])
    key = "/registry/" + "/".join(filter(None, place))
    return f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}"


def check_type(kind: ResourceKind, obj: Object) -> None:
    """apiVersion and kind of a body, where given, must be those of the URL."""
    version = obj.get("apiVersion")
    if version and version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    said = obj.get("kind")
    if said and said != kind.kind and not kind.custom:
        raise bad_request(f"{said} in version {kind.version!r} cannot be handled as a {kind.kind}")


def _generation_rises(kind: ResourceKind, old: Object, new: Object) -> bool:
    if kind.generation == "none":
        return False
    for name in old.keys() | new.keys():
        if name not in _NOT_SPEC and old.get(name) != new.get(name):
            return True
    if kind.generation == "spec+annotations":
        return bool(old["metadata"].get("annotations") != new["metadata"].get("annotations"))
    return False


def _scale_causes(kind: ResourceKind, obj: Object) -> list[Cause]:
    if kind.scale is None:
        return []
    path = kind.scale.replicas
    value: object = obj
    for name in path.strip(".").split("."):
        if value is not None and not isinstance(value, dict):
            found = f"{_as_go(value)} is of the type {_go_type(value)}"
            why = f"{path} accessor error: {found}, expected map[string]interface{{}}"
            return [Cause("FieldValueInvalid", f"Invalid value: 0: {why}", path)]
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, int) and value < 0:
        return [Cause("FieldValueInvalid", f"Invalid value: {value}: should be a non-negative integer", path)]
    if value is not None and type(value) is not int:
        why = f"{path} accessor error: {_as_go(value)} is of the type {_go_type(value)}, expected int64"
        return [Cause("FieldValueInvalid", f"Invalid value: 0: {why}", path)]
    return []


def _go_type(value: object) -> str:
    names = {str: "string", bool: "bool", int: "int64", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}")


def _as_go(value: object) -> str:
    """As Go's `%v` shows it."""
    if isinstance(value, list):
        return f"[{' '.join(map(_as_go, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_as_go(value[key])}' for key in sorted(value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def checked_shape(obj: object) -> Object:
    """A private shallow copy of a body with a metadata object. Raises ApiError 400 for anything else."""
    if not isinstance(obj, dict):
        raise bad_request("the request body is not an object")
    metadata = obj.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    return {**obj, "metadata": copied(metadata or {})}


def missing_manager() -> ApiError:
    cause = Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
    return invalid("PatchOptions", "meta.k8s.io", "", [cause])
