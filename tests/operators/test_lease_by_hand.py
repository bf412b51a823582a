"""What people do to the Lease while somebody leads: there is never more than one who works, and there is one again."""

from __future__ import annotations

import pytest

from tests.operators.cluster import LEASE, OPERATORS, OperatorCluster, Pair
from tests.servers import MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators")]
STRANGER = "somebody-else"


def lease_writes(cluster: OperatorCluster, position: int, code: int) -> list[float]:
    """When an operator's writes of the Lease arrived that were answered with `code`."""
    return [
        each.received_s
        for each in cluster.audit.since(position)
        if each.user in OPERATORS and each.resource == "leases" and each.is_write and each.code == code
    ]


def keep_editing(cluster: OperatorCluster, namespace: str, name: str, position: int) -> None:
    """Edit after edit, until somebody has written the Lease again after what was done to it: there is always work."""
    slots = 2
    while not any(at > refused for refused in _refusals(cluster, position) for at in _taken(cluster, position)):
        cluster.edit(namespace, name, slots)
        slots = 5 - slots


def _refusals(cluster: OperatorCluster, position: int) -> list[float]:
    return lease_writes(cluster, position, 409) + lease_writes(cluster, position, 404)


def _taken(cluster: OperatorCluster, position: int) -> list[float]:
    return lease_writes(cluster, position, 200) + lease_writes(cluster, position, 201)


def test_a_lease_that_somebody_touches_stays_the_leaders(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("touched") as namespace:
        leader, _ = pair.roles()
        cluster.serve(namespace, "a")
        transitions = cluster.lease()["leaseTransitions"]
        position = cluster.audit.position()
        cluster.api.ok("PATCH", LEASE, {"metadata": {"annotations": {"note": "seen"}}}, MERGE)
        keep_editing(cluster, namespace, "a", position)
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        assert pair.leading() == [leader.user] == [cluster.holder()]
        assert cluster.lease()["leaseTransitions"] == transitions
        assert cluster.turns(position) == [leader.user]


def test_a_lease_that_is_deleted_makes_no_two_leaders(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("deleted") as namespace:
        pair.roles()
        cluster.serve(namespace, "a")
        position = cluster.audit.position()
        cluster.api.ok("DELETE", LEASE)
        keep_editing(cluster, namespace, "a", position)
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        assert pair.leading() == [cluster.holder()]
        assert_nobody_came_back(cluster, position)


def test_a_lease_that_a_stranger_takes_is_waited_for(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("stranger") as namespace:
        pair.roles()
        cluster.serve(namespace, "a")
        transitions = cluster.lease()["leaseTransitions"]
        position = cluster.audit.position()
        cluster.api.ok("PATCH", LEASE, {"spec": {"holderIdentity": STRANGER}}, MERGE)
        keep_editing(cluster, namespace, "a", position)
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        assert cluster.lease()["leaseTransitions"] == transitions + 1
        assert pair.leading() == [cluster.holder()]
        noticed = min(lease_writes(cluster, position, 409))
        again = min(at for at in lease_writes(cluster, position, 200) if at > noticed)
        between = [each.received_s for each in cluster.work(position) if noticed < each.received_s < again]
        # What was on its way when the refusal came is heard a moment later.
        assert [at for at in between if at > noticed + 1] == [], "somebody wrote without the Lease"
        assert_nobody_came_back(cluster, position)


def assert_nobody_came_back(cluster: OperatorCluster, position: int) -> None:
    turns = cluster.turns(position)
    assert len(turns) == len(set(turns)), "one wrote after the other had begun to"
