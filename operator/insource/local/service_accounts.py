"""Every namespace has a ServiceAccount `default`, as a real controller manager sees to."""

from __future__ import annotations

from collections.abc import Iterable

from insource.local.control_loop import Key
from insource.local.objects import NAMESPACES, SERVICE_ACCOUNTS, Object, is_terminating
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

DEFAULT = "default"


class ServiceAccountController:
    """Namespace -> its default ServiceAccount."""

    name = "serviceaccount"

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        if kind.ref == NAMESPACES:
            yield "", held["metadata"]["name"]
        elif kind.ref == SERVICE_ACCOUNTS and held["metadata"]["name"] == DEFAULT:
            yield "", held["metadata"]["namespace"]

    def reconcile(self, key: Key) -> float | None:
        namespace = self._store.find(NAMESPACES, None, key[1])
        if namespace is None or is_terminating(namespace):
            return None
        if self._store.find(SERVICE_ACCOUNTS, key[1], DEFAULT) is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT}}
            self._store.create(SERVICE_ACCOUNTS, account, key[1], field_manager="kube-controller-manager")
        return None
