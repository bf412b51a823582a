"""Kubernetes API semantics in memory: what the embedded API server, the controllers and the simulation all use.

Single-threaded and synchronous; knows nothing of HTTP, files or controllers.

Objects that the store returns are **shared and read-only**: copy (`copy.deepcopy`) before changing one. The store
never changes an object in place either, so one that you hold stays as it was. What you pass in is copied.
"""

from __future__ import annotations

from builtins import list as List  # noqa: N812  (the method `list` hides it inside the class)
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from insource.env import Env
from insource.local import scale
from insource.local.builtin import builtin_kinds
from insource.local.patches import without_orders
from insource.local.selectors import Test, both, field_test, label_test
from insource.local.store_admission import Admission, Guard, check_type, checked_shape, missing_manager
from insource.local.store_deletion import NAMESPACES, Deletion
from insource.local.store_errors import ApiError, Object, already_exists, bad_request, not_found
from insource.local.store_kinds import KindRef, Kinds, ResourceKind
from insource.local.store_reading import Page, bookmark, read_page, start_watch
from insource.local.store_requests import after_patch, check_namespace, check_subresource, namespace_of
from insource.local.store_state import Key, State, Subscriber
from insource.local.store_writing import Write, Writing, not_by_strategic_merge
from insource.local.typed_patches import printed
from insource.local.watch import Watch, WatchEvent

__all__ = ["ApiError", "KindRef", "Page", "Store", "Watch", "WatchEvent"]

PatchType = Literal["merge", "json", "strategic", "apply"]


class Store:
    """The API server's state and rules. `history`: number of changes that a watch may start back from before 410."""

    def __init__(self, env: Env, history: int = 10_000) -> None:
        self.state = State(history)
        self.admission = Admission(env)
        self.env = env
        self._deletion = Deletion(self.state, self.admission)
        self._writing = Writing(self.state, self.admission, self._work)
        self._subscribers: dict[int, Subscriber] = {}
        self._working = False
        self._unfinished = False
        for kind in builtin_kinds():
            self.state.kinds.add(kind)

    @property
    def kinds(self) -> Kinds:
        """Registry: `find((group, plural))`, `of_object(apiVersion, kind)`, iteration over ResourceKind."""
        return self.state.kinds

    @property
    def resource_version(self) -> int:
        return self.state.resource_version

    @property
    def warnings(self) -> List[str]:
        """Of the last write: unknown fields, in the words of the Warning header."""
        return self.admission.warnings

    # --- reading

    def find(self, kind: KindRef | ResourceKind, namespace: str | None, name: str) -> Object | None:
        """Like get, None instead of 404."""
        return self.state.find(self.state.key(self.kinds.resolve(kind), namespace, name))

    def get(self, kind: KindRef | ResourceKind, namespace: str | None, name: str) -> Object:
        """Raises ApiError 404 NotFound."""
        found = self.kinds.resolve(kind)
        obj = self.state.find(self.state.key(found, namespace, name))
        if obj is None:
            raise not_found(found.plural, found.group, name)
        return obj

    def list(
        self,
        kind: KindRef | ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        exact_version: int | None = None,
    ) -> Page:
        """All namespaces if `namespace` is None. Raises 410 for too old a token or version, 400 for a bad selector."""
        found = self.kinds.resolve(kind)
        test = self._test(found, label_selector, field_selector)
        return read_page(self.state, found, namespace, test, limit, continue_, exact_version)

    def owned_by(self, uid: str) -> List[Object]:
        """Objects with an owner reference to `uid`, of any kind, by an index."""
        found = (self.state.find(key) for key in self.state.dependents(uid))
        return [obj for obj in found if obj is not None]

    def in_namespace(self, namespace: str) -> List[tuple[ResourceKind, Object]]:
        """Everything in a namespace, of any kind, by an index."""
        found = [(self.kinds.find(key[0]), self.state.find(key)) for key in self.state.in_namespace(namespace)]
        return [(kind, obj) for kind, obj in found if kind is not None and obj is not None]

    def _test(self, kind: ResourceKind, label_selector: str, field_selector: str) -> Test | None:
        fields = field_test(field_selector, kind.selectable_fields, kind.custom) if field_selector else None
        return both(label_test(label_selector) if label_selector else None, fields)

    # --- watching

    def watch(
        self,
        kind: KindRef | ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        initial_events: bool = False,
    ) -> Watch:
        """`resource_version` "" or "0": current objects first as ADDED, then changes; "N": changes after N.

        Too old a version: a closed watch whose one event is ERROR with a 410 Status. `initial_events` (WatchList):
        current objects first, whatever the version, then a BOOKMARK with `k8s.io/initial-events-end`.
        """
        found = self.kinds.resolve(kind)
        test = self._test(found, label_selector, field_selector)
        return start_watch(self.state, found, namespace, test, resource_version, initial_events=initial_events)

    def bookmark(self, kind: ResourceKind) -> WatchEvent:
        """The present resourceVersion as a BOOKMARK event."""
        return bookmark(self.state, kind)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """`callback(event_type, kind, object)` after each committed change, in order, in the writer's call.

        It may write to the store: those changes are delivered after the present ones. Answers a function that ends
        the subscription. A callback must not raise: what it raises reaches the writer.
        """
        number = max(self._subscribers, default=0) + 1
        self._subscribers[number] = callback
        return lambda: self._subscribers.pop(number, None) and None

    def close(self) -> None:
        """Ends all watches."""
        self.state.close_watches()

    # --- writing

    def create(
        self,
        kind: KindRef | ResourceKind,
        obj: Object,
        namespace: str | None = None,
        *,
        field_manager: str = "unknown",
        field_validation: str = "Warn",
        dry_run: bool = False,
        guard: Guard | None = None,
    ) -> Object:
        """409 AlreadyExists, 404 missing namespace, 403 terminating namespace, 422 Invalid, 400."""
        found = self.kinds.resolve(kind)
        sent = checked_shape(obj)
        check_type(found, sent)
        space = namespace_of(found, sent["metadata"], namespace)
        metadata = sent["metadata"]
        if metadata.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        name = metadata.get("name") or ""
        if not name and metadata.get("generateName"):
            name = str(metadata["generateName"])[:58] + self.env.ids.suffix()
        key: Key = (found.ref, space, name)
        check_namespace(self.state, found, space, name)
        sent.setdefault("kind", found.kind)
        new = self.admission.created(found, sent, name, space, field_validation, guard)
        present = self.state.find(key)
        if present is not None:
            terminating = bool(present["metadata"].get("deletionTimestamp"))
            raise already_exists(found.plural, found.group, name, terminating=terminating)
        self.admission.owned(found, None, new, {}, field_manager, "")
        return self._writing.created(found, key, new, dry_run=dry_run)

    def update(
        self,
        kind: KindRef | ResourceKind,
        namespace: str | None,
        name: str,
        obj: Object,
        *,
        subresource: str = "",
        field_manager: str = "unknown",
        field_validation: str = "Warn",
        dry_run: bool = False,
        guard: Guard | None = None,
    ) -> Object:
        """PUT; a metadata.resourceVersion in `obj` that is stale raises 409 Conflict (a custom kind needs one)."""
        found = self.kinds.resolve(kind)
        sent = checked_shape(obj)
        write = Write(field_manager, subresource, field_validation, patched=False, dry_run=dry_run, guard=guard)
        if subresource == "scale":
            return self._writing.scaled(found, self.get(found, namespace, name), sent, write)
        if subresource == "finalize" and found.ref == NAMESPACES:
            return self._writing.finalized(found, self.get(found, None, name), sent, write)
        check_subresource(found, subresource)
        if sent["metadata"].get("name", name) != name:
            raise bad_request(
                f"the name of the object ({sent['metadata']['name']}) does not match the name on the URL ({name})"
            )
        old = self.get(found, namespace, name)
        return self._writing.changed(found, old, sent, self._conditional(found, sent, old, write))

    def patch(
        self,
        kind: KindRef | ResourceKind,
        namespace: str | None,
        name: str,
        patch: Any,
        patch_type: PatchType,
        *,
        subresource: str = "",
        field_manager: str = "unknown",
        force: bool = False,
        field_validation: str = "Warn",
        dry_run: bool = False,
        guard: Guard | None = None,
    ) -> Object:
        """`subresource`: "", "status" or "scale". `apply` creates what is missing. 409 on ownership conflicts."""
        found = self.kinds.resolve(kind)
        quoted = printed(without_orders(patch)) if patch_type == "strategic" and isinstance(patch, dict) else ""
        write = Write(
            field_manager, subresource, field_validation, patched=True, dry_run=dry_run, quoted=quoted, guard=guard
        )
        if patch_type == "apply":
            if not field_manager or field_manager == "unknown":
                raise missing_manager()
            if subresource == "scale":
                raise scale.not_by_apply(found, name)
            check_subresource(found, subresource)
            return self._writing.applied(found, namespace, name, patch, write, force=force)
        if patch_type == "strategic" and found.custom:
            raise not_by_strategic_merge()
        old = self.get(found, namespace, name)
        if subresource == "scale":
            return self._writing.patched_scale(found, old, patch, patch_type, write)
        check_subresource(found, subresource)
        sent = checked_shape(after_patch(old, patch, patch_type))
        return self._writing.changed(found, old, sent, self._conditional(found, sent, old, write))

    def _conditional(self, kind: ResourceKind, sent: Object, old: Object, write: Write) -> Write:
        """`write`, refused if `sent` was made of another version than `old`, and its writer might do it."""

        def guard(wanted: Object, present: Object | None) -> None:
            if write.guard is not None:
                write.guard(wanted, present)
            self.admission.check_precondition(kind, sent["metadata"], old, patched=write.patched)

        return replace(write, guard=guard)

    def scale(self, kind: KindRef | ResourceKind, namespace: str | None, name: str) -> Object:
        """The autoscaling/v1 Scale of an object."""
        found = self.kinds.resolve(kind)
        return scale.seen(found, self.get(found, namespace, name))

    def delete(
        self,
        kind: KindRef | ResourceKind,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        preconditions: Mapping[str, str] | None = None,
        grace_period_seconds: int | None = None,
        dry_run: bool = False,
    ) -> Object | None:
        """The object if it stays (finalizers, pod grace, namespace), else None. The node ends a pod with grace 0."""
        found = self.kinds.resolve(kind)
        left = self._deletion.delete(
            found,
            self.state.key(found, namespace, name),
            propagation=propagation,
            preconditions=preconditions,
            grace_period_seconds=grace_period_seconds,
            dry_run=dry_run,
        )
        self._work()
        return left

    # --- consequences

    def resume(self) -> None:
        """Finishes what a crash or a full disk has interrupted. Raises ApiError 500 if it still cannot be written."""
        self._unfinished = False
        try:
            self._deletion.resume()
        except ApiError:
            self._unfinished = True
            raise
        finally:
            self._work()

    @property
    def unfinished(self) -> bool:
        """Whether something that follows from a change could not be written: `resume` is to be called again."""
        return self._unfinished

    def _work(self) -> None:
        """Works off what follows from the changes: collection first, then subscribers. Re-entrant calls only add."""
        if self._working:
            return
        self._working = True
        try:
            while self.state.pending:
                change = self.state.pending.popleft()
                try:
                    self._deletion.consequences(change)
                except ApiError:
                    # The change itself is written and stands: its writer is not told that it failed.
                    self._unfinished = True
                kind = self.kinds.find(change.key[0])
                if kind is not None:
                    for callback in List(self._subscribers.values()):
                        callback(change.type, kind, change.new)
        finally:
            self._working = False
