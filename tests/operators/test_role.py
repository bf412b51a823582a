"""The operator has exactly its role: nothing that it asks is denied, and no verb is there for nothing."""

from __future__ import annotations

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from insource.cli.roles import component_roles, user
from tests.operators.cluster import FIRST, OperatorCluster
from tests.operators.every_right import Right, exercise, of_rules, used

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-role")]


def granted() -> set[Right]:
    roles = [obj for _, obj in component_roles("operator", SYSTEM_NAMESPACE, user(FIRST)) if "rules" in obj]
    return of_rules(rule for role in roles for rule in role["rules"])


def test_its_role_is_enough_and_not_more(cluster: OperatorCluster) -> None:
    assert not [right for right in granted() if "secrets" in right[2] or "*" in right], "nothing on Secrets, no *"
    position = cluster.audit.position()
    with cluster.namespace("role") as namespace:
        exercise(cluster, namespace, cluster.operator())
        # A watch is in the audit log once it has ended.
        cluster.wait(lambda: used(cluster.audit.since(position, FIRST)) >= granted(), "the use of every right")
        assert used(cluster.audit.since(position, FIRST)) == granted()
