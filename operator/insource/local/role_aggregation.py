"""ClusterRoles with an aggregationRule get the rules of those that it selects, as from a real controller manager."""

from __future__ import annotations

from collections.abc import Iterable

from insource.local.control_loop import Key
from insource.local.objects import Object
from insource.local.rbac import GROUP
from insource.local.selectors import match_labels
from insource.local.store import Store
from insource.local.store_kinds import ResourceKind

CLUSTER_ROLES = (GROUP, "clusterroles")
MANAGER = "clusterrole-aggregation-controller"


class RoleAggregationController:
    """ClusterRole -> the rules of every ClusterRole that aggregates others."""

    name = "clusterrole-aggregation"

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, kind: ResourceKind, held: Object) -> Iterable[Key]:
        del held
        if kind.ref == CLUSTER_ROLES:
            for role in self._store.list(CLUSTER_ROLES).items:
                if role.get("aggregationRule"):
                    yield "", role["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        role = self._store.find(CLUSTER_ROLES, None, key[1])
        if role is None or not role.get("aggregationRule"):
            return None
        rules: list[Object] = []
        for selector in role["aggregationRule"]["clusterRoleSelectors"]:
            for other in self._store.list(CLUSTER_ROLES).items:
                # One that selects itself would hold on to its own rules for ever.
                if other is not role and match_labels(selector, other["metadata"].get("labels")):
                    rules += [rule for rule in other.get("rules") or () if rule not in rules]
        if rules != (role.get("rules") or []):
            wanted: Object = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": key[1]}}
            wanted |= {"rules": rules} if rules else {}
            self._store.patch(CLUSTER_ROLES, None, key[1], wanted, "apply", field_manager=MANAGER, force=True)
        return None
