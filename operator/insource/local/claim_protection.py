"""A PersistentVolumeClaim that is deleted stays for as long as a pod uses it, as a real controller manager sees to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from insource.local.builtin import PROTECTION
from insource.local.control_loop import Key
from insource.local.objects import CLAIMS, PODS, Object, is_over, is_terminating
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind


class ClaimProtectionController:
    """Deleted claim without a pod -> no finalizer, so it goes."""

    name = "pvc-protection"

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        namespace = held["metadata"].get("namespace", "")
        if kind.ref == CLAIMS:
            yield namespace, held["metadata"]["name"]
        elif kind.ref == PODS:
            yield from ((namespace, name) for name in _claims(held))

    def reconcile(self, key: Key) -> float | None:
        claim = self._store.find(CLAIMS, *key)
        if claim is None or not is_terminating(claim):
            return None
        finalizers = claim["metadata"].get("finalizers") or []
        pods = self._store.list(PODS, key[0]).items
        # Who has no node yet will not start with a claim that is going.
        users = [pod for pod in pods if pod["spec"].get("nodeName") and not is_over(pod)]
        if PROTECTION in finalizers and not any(key[1] in _claims(pod) for pod in users):
            kept = [name for name in finalizers if name != PROTECTION]
            patch: dict[str, Any] = {"metadata": {"finalizers": kept or None}}
            self._store.patch(CLAIMS, *key, patch, "merge", field_manager="kube-controller-manager")
        return None


def _claims(pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]
