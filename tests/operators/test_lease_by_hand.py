"""What people do to the Lease while somebody leads: there is never more than one who works, and there is one again."""

from __future__ import annotations

import itertools

import pytest

from tests.operators.cluster import LEASE, LEASE_S, OPERATORS, OperatorCluster
from tests.operators.pair import Pair
from tests.servers import MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-lease-by-hand")]
STRANGER = "somebody-else"


def lease_writes(cluster: OperatorCluster, position: int, *codes: int) -> list[float]:
    """When the operators' writes of the Lease arrived that were answered with one of `codes`."""
    return [
        each.received_s
        for each in cluster.audit.since(position)
        if each.user in OPERATORS and each.resource == "leases" and each.is_write and each.code in codes
    ]


def keep_editing(cluster: OperatorCluster, namespace: str, name: str, position: int) -> None:
    """Edit after edit, until a write of the Lease has been refused and a later one was not: there is always work."""

    def is_held_again() -> bool:
        refused, taken = lease_writes(cluster, position, 404, 409), lease_writes(cluster, position, 200, 201)
        return bool(refused) and bool(taken) and max(taken) > min(refused)

    for slots in itertools.cycle((2, 3)):
        if is_held_again():
            return
        cluster.edit(namespace, name, slots)
        cluster.wait(lambda: cluster.ready(namespace, name) or is_held_again(), "an edit's end, or a new hold")


def test_a_lease_that_somebody_touches_stays_the_leaders(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("touched") as namespace:
        pair.roles()
        cluster.serve(namespace, "a")
        transitions = cluster.lease()["leaseTransitions"]
        position = cluster.audit.position()
        cluster.api.ok("PATCH", LEASE, {"metadata": {"annotations": {"note": "seen"}}}, MERGE)
        keep_editing(cluster, namespace, "a", position)
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        pair.wait_for_one()
        cluster.assert_no_two_led(position)
        assert cluster.lease()["leaseTransitions"] == transitions + len(cluster.takeovers(position))


def test_a_lease_that_is_deleted_makes_no_two_leaders(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("deleted") as namespace:
        pair.roles()
        cluster.serve(namespace, "a")
        position = cluster.audit.position()
        cluster.api.ok("DELETE", LEASE)
        keep_editing(cluster, namespace, "a", position)
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        pair.wait_for_one()
        cluster.assert_no_two_led(position)


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
        pair.wait_for_one()
        assert cluster.lease()["leaseTransitions"] > transitions
        (came,) = (
            each.received_s
            for each in cluster.audit.since(position, "admin")
            if each.resource == "leases" and each.is_write
        )
        noticed = min(lease_writes(cluster, position, 409))
        again = min(at for at in lease_writes(cluster, position, 200) if at > came)
        assert again - came >= LEASE_S, "the stranger was not waited for"
        between = [each.received_s for each in cluster.work(position) if noticed < each.received_s < again]
        # What was on its way when the refusal came is heard a moment later.
        assert [at for at in between if at > noticed + 1] == [], "somebody wrote without the Lease"
        cluster.assert_no_two_led(position)
