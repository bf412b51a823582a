"""The roles and bindings that every cluster has: rbac_defaults.json, as kube-apiserver v1.37 makes them itself.

Of the roles for a cluster's own programs there is only what a client may want to bind.
"""

from __future__ import annotations

import json
from pathlib import Path

from insource.local.store import Store
from insource.local.store_errors import Object

MANAGER = "kube-apiserver"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


def default_objects() -> list[Object]:
    """ClusterRoles, then ClusterRoleBindings."""
    objects: list[Object] = json.loads(Path(__file__).with_name("rbac_defaults.json").read_text())
    return objects


def apply_defaults(store: Store) -> None:
    """Makes those that are missing, and gives back rules and subjects that one of them has lost, as at a real start."""
    for wanted in default_objects():
        kind = store.kinds.of_object(wanted["apiVersion"], wanted["kind"])
        assert kind is not None
        name = wanted["metadata"]["name"]
        live = store.find(kind, None, name)
        if live is None:
            store.create(kind, wanted, field_manager=MANAGER)
            continue
        if (live["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "true":
            continue
        field = "rules" if kind.kind == "ClusterRole" else "subjects"
        held = live.get(field) or []
        lost = [item for item in wanted.get(field) or () if item not in held]
        if lost:
            store.update(kind, None, name, {**live, field: [*held, *lost]}, field_manager=MANAGER)
