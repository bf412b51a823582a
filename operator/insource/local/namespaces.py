"""A namespace that is being deleted takes its content along, and goes when nothing is left, as in a real cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from insource.env import Env
from insource.local.control_loop import Key
from insource.local.objects import NAMESPACES, Object, condition, is_terminating, timestamp
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

MANAGER = "kube-controller-manager"
FINALIZER = "kubernetes"
PAUSE_S = 5.0
"""How long the content of a doomed namespace is left alone, as by a real controller manager: `kubectl delete -f` of a
namespace and what is in it names each of them, and would find the later ones gone."""


class NamespaceController:
    """Namespace with a deletion timestamp -> its content deleted, what remains reported, finalizer `kubernetes` off."""

    name = "namespace"

    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._due: dict[str, tuple[str, float]] = {}
        """Name of a terminating namespace -> its uid, and when its content may go (monotonic seconds)."""

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        if kind.ref == NAMESPACES:
            yield "", held["metadata"]["name"]
        elif kind.namespaced:
            namespace = self._store.find(NAMESPACES, None, held["metadata"]["namespace"])
            if namespace is not None and is_terminating(namespace):
                yield "", held["metadata"]["namespace"]

    def reconcile(self, key: Key) -> float | None:
        namespace = self._store.find(NAMESPACES, None, key[1])
        if namespace is None or not is_terminating(namespace):
            self._due.pop(key[1], None)
            return None
        wait_s = self._wait_s(namespace)
        if wait_s > 0:
            return wait_s
        for kind, held in self._store.in_namespace(key[1]):
            name = held["metadata"]["name"]
            # It may have gone with its owner in the meantime.
            present = self._store.find(kind, key[1], name)
            if present is not None and not is_terminating(present):
                self._store.delete(kind, key[1], name)
        remaining = self._store.in_namespace(key[1])
        if remaining:
            self._report(namespace, remaining)
            return None  # each object that goes wakes us
        kept = [name for name in (namespace.get("spec") or {}).get("finalizers") or () if name != FINALIZER]
        self._store.update(NAMESPACES, None, key[1], {"spec": {"finalizers": kept}}, subresource="finalize")
        return None

    def _wait_s(self, namespace: Object) -> float:
        metadata, now_s = namespace["metadata"], self._env.clock.monotonic()
        uid, due_s = self._due.get(metadata["name"], ("", 0.0))
        if uid != metadata["uid"]:
            due_s = now_s + PAUSE_S
            self._due[metadata["name"]] = (metadata["uid"], due_s)
        return due_s - now_s

    def _report(self, namespace: Object, remaining: Sequence[tuple[ResourceKind, Object]]) -> None:
        status = namespace.get("status") or {}
        told = _conditions(namespace, remaining, timestamp(self._env.clock.now()))
        if told != status.get("conditions"):
            changed = {**namespace, "status": {**status, "conditions": told}}
            name = namespace["metadata"]["name"]
            self._store.update(NAMESPACES, None, name, changed, subresource="status", field_manager=MANAGER)


def _conditions(namespace: Object, remaining: Sequence[tuple[ResourceKind, Object]], now: str) -> list[Object]:
    kinds = Counter(f"{kind.plural}.{kind.group}" for kind, _ in remaining)
    holders = Counter(name for _, held in remaining for name in held["metadata"].get("finalizers") or ())
    content = ", ".join(f"{name} has {number} resource instances" for name, number in sorted(kinds.items()))
    finalizers = ", ".join(f"{name} in {number} resource instances" for name, number in sorted(holders.items()))
    told = [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", f"Some resources are remaining: {content}"),
        (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {finalizers}",
        )
        if finalizers
        else (
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]
    return [
        {
            "type": kind,
            "status": state,
            "reason": reason,
            "message": message,
            "lastTransitionTime": _since(condition(namespace, kind), state, now),
        }
        for kind, state, reason, message in told
    ]


def _since(before: Object, state: str, now: str) -> str:
    return str(before["lastTransitionTime"]) if before.get("status") == state else now
