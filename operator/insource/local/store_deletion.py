"""How objects go: finalizers, grace periods, owner references, CRDs with their objects.

What is in a namespace goes with it by a controller (`namespaces`). Works on the state only; consequences are worked
off in order by `consequences`, called for each committed change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from insource.local.builtin_pods import DEFAULT_GRACE_SECONDS
from insource.local.crds import CRD_REF
from insource.local.schema_nodes import compact
from insource.local.store_admission import Admission, timestamp
from insource.local.store_errors import Cause, Object, bad_request, conflict, forbidden, invalid, not_found
from insource.local.store_kinds import ResourceKind
from insource.local.store_state import Change, Key, State

PODS = ("", "pods")
NAMESPACES = ("", "namespaces")
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass
class Deletion:
    """The rules of deletion."""

    state: State
    admission: Admission

    def delete(
        self,
        kind: ResourceKind,
        key: Key,
        *,
        propagation: str,
        preconditions: Mapping[str, str] | None,
        grace_period_seconds: int | None,
        dry_run: bool,
    ) -> Object | None:
        """The object if it stays, else None. Raises ApiError 404, 409 (preconditions), 400."""
        obj = self.state.find(key)
        if obj is None:
            raise not_found(kind.plural, kind.group, key[2])
        _check_preconditions(kind, obj, preconditions or {})
        if key[0] == NAMESPACES and key[2] in _IMMORTAL:
            raise forbidden(kind.plural, "", key[2], "this namespace may not be deleted")
        if propagation not in ("", "Background", "Foreground", "Orphan"):
            text = f'Unsupported value: {compact(propagation)}: supported values: "Background", "Foreground", "Orphan"'
            causes = [Cause("FieldValueNotSupported", text, "propagationPolicy")]
            raise invalid("DeleteOptions", "meta.k8s.io", "", causes)
        if grace_period_seconds is not None and grace_period_seconds < 0:
            raise bad_request("gracePeriodSeconds must not be negative")
        doomed = self._doomed(key, obj, propagation, grace_period_seconds)
        if dry_run:
            return None if _may_go(doomed) else doomed
        if doomed is obj:
            return obj
        if _may_go(doomed):
            # What goes at once was never marked: its last state is the one that it had.
            self.state.remove(key, doomed if obj["metadata"].get("deletionTimestamp") else obj)
            return None
        self.state.commit(key, obj, doomed)
        return doomed

    def _doomed(self, key: Key, obj: Object, propagation: str, asked: int | None) -> Object:
        """The object with its deletion marked; the very same object if it was marked so before."""
        before = obj["metadata"]
        grace = _grace(key, obj, asked)
        finalizers = list(before.get("finalizers") or [])
        wanted = _FINALIZERS.get(propagation)
        if wanted and wanted not in finalizers:
            finalizers = [name for name in finalizers if name not in _FINALIZERS.values()] + [wanted]
        if before.get("deletionTimestamp"):
            shorter = grace < before.get("deletionGracePeriodSeconds", 0)
            if not shorter and finalizers == (before.get("finalizers") or []):
                return {**obj} if _may_go(obj) else obj
        metadata = {**before}
        if not before.get("deletionTimestamp") or grace < before.get("deletionGracePeriodSeconds", 0):
            moment = self.admission.env.clock.now() + timedelta(seconds=grace)
            metadata["deletionTimestamp"] = timestamp(moment)
            if key[0] != NAMESPACES:
                metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in before and not before.get("deletionTimestamp"):
                metadata["generation"] = before["generation"] + 1
        if finalizers:
            metadata["finalizers"] = finalizers
        doomed = {**obj, "metadata": metadata}
        if key[0] == NAMESPACES:
            doomed["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return doomed

    def _settle(self, key: Key) -> None:
        """Removes an object whose deletion nothing holds up any more."""
        obj = self.state.find(key)
        if obj is not None and obj["metadata"].get("deletionTimestamp") and _may_go(obj):
            self.state.remove(key, obj)

    def consequences(self, change: Change) -> None:
        """What follows from one change: garbage collection, waiting owners, the objects of a kind that is gone."""
        key, new = change.key, change.new
        if change.type == "DELETED":
            self._collect_dependents_of(new)
            for reference in new["metadata"].get("ownerReferences") or ():
                self._release_waiting_owner(reference["uid"])
            if key[0] == CRD_REF:
                self._forget_kind(new)
            return
        metadata = new["metadata"]
        if metadata.get("deletionTimestamp"):
            self._follow_deletion(key, new)
            self._settle(key)
        if metadata.get("ownerReferences") and not metadata.get("deletionTimestamp"):
            before = change.old["metadata"].get("ownerReferences") if change.old is not None else None
            if metadata["ownerReferences"] != before:
                self._collect(key)

    def resume(self) -> None:
        """Works off deletions that a crash, or a disk that was full, has interrupted."""
        for key, obj in list(self.state.everything()):
            if self.state.kinds.find(key[0]) is None:
                self.state.remove(key, obj)
            elif obj["metadata"].get("deletionTimestamp"):
                self._follow_deletion(key, obj)
                self._settle(key)
            elif obj["metadata"].get("ownerReferences"):
                self._collect(key)

    def _follow_deletion(self, key: Key, obj: Object) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        uid = obj["metadata"]["uid"]
        if "orphan" in finalizers:
            for dependent in self.state.dependents(uid):
                self._drop_owner(dependent, uid)
            self._drop_finalizer(key, "orphan")
        elif "foregroundDeletion" in finalizers:
            for dependent in self.state.dependents(uid):
                self._delete(dependent, "Foreground")
            self._release_waiting_owner(uid)
        if key[0] == CRD_REF:
            self._delete_instances(obj)

    def _delete_instances(self, crd: Object) -> None:
        spec = crd["spec"]
        ref = (spec["group"], spec["names"]["plural"])
        for obj in list(self.state.objects(ref, None)):
            self._delete((ref, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), "Background")

    def _forget_kind(self, crd: Object) -> None:
        spec = crd["spec"]
        ref = (spec["group"], spec["names"]["plural"])
        self.state.kinds.remove(ref)
        for obj in list(self.state.objects(ref, None)):
            self.state.remove((ref, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]), obj)
        self.state.close_watches(ref)

    def _delete(self, key: Key, propagation: str) -> None:
        obj = self.state.find(key)
        kind = self.state.kinds.find(key[0])
        if obj is None or kind is None or obj["metadata"].get("deletionTimestamp"):
            return
        self.delete(kind, key, propagation=propagation, preconditions=None, grace_period_seconds=None, dry_run=False)

    def _collect_dependents_of(self, owner: Object) -> None:
        for dependent in self.state.dependents(owner["metadata"]["uid"]):
            self._collect(dependent)

    def _collect(self, key: Key) -> None:
        """Deletes an object none of whose owners exists; drops references to owners that are gone."""
        obj = self.state.find(key)
        if obj is None:
            return
        owners = [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]
        absent = [uid for uid in owners if self.state.by_uid(uid) is None]
        if not absent:
            return
        if len(absent) == len(owners):
            self._delete(key, "Background")
        else:
            for uid in absent:
                self._drop_owner(key, uid)

    def _drop_owner(self, key: Key, uid: str) -> None:
        obj = self.state.find(key)
        if obj is None:
            return
        kept = [item for item in obj["metadata"].get("ownerReferences") or () if item["uid"] != uid]
        metadata = {name: value for name, value in obj["metadata"].items() if name != "ownerReferences"}
        if kept:
            metadata["ownerReferences"] = kept
        self.state.commit(key, obj, {**obj, "metadata": metadata})

    def _drop_finalizer(self, key: Key, finalizer: str) -> None:
        obj = self.state.find(key)
        if obj is None or finalizer not in (obj["metadata"].get("finalizers") or ()):
            return
        kept = [name for name in obj["metadata"]["finalizers"] if name != finalizer]
        metadata = {name: value for name, value in obj["metadata"].items() if name != "finalizers"}
        if kept:
            metadata["finalizers"] = kept
        self.state.commit(key, obj, {**obj, "metadata": metadata})
        self._settle(key)

    def _release_waiting_owner(self, uid: str) -> None:
        key = self.state.by_uid(uid)
        owner = self.state.find(key) if key is not None else None
        if key is None or owner is None:
            return
        if "foregroundDeletion" not in (owner["metadata"].get("finalizers") or ()):
            return
        for dependent in self.state.dependents(uid):
            obj = self.state.find(dependent)
            references = obj["metadata"].get("ownerReferences") or () if obj is not None else ()
            if any(item["uid"] == uid and item.get("blockOwnerDeletion") for item in references):
                return
        self._drop_finalizer(key, "foregroundDeletion")


def _grace(key: Key, obj: Object, asked: int | None) -> int:
    """Seconds that an object may still live: only a pod that runs on a node gets any."""
    if key[0] != PODS:
        return 0
    spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if asked is not None:
        return asked
    return int(spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS))


def _may_go(doomed: Object) -> bool:
    metadata = doomed["metadata"]
    if metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"):
        return False
    return not (doomed.get("kind") == "Namespace" and (doomed.get("spec") or {}).get("finalizers"))


def _check_preconditions(kind: ResourceKind, obj: Object, preconditions: Mapping[str, str]) -> None:
    metadata = obj["metadata"]
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if uid and uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind.kind, kind.group, metadata["name"], why)
    if version and version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified"
        )
        raise conflict(kind.kind, kind.group, metadata["name"], why)
