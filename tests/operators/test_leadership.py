"""Two operators and one Lease: one writes, the other is ready to, and a deposed one writes nothing more."""

from __future__ import annotations

import signal

import pytest

from insource.kube.resources import MODEL_DEPLOYMENTS
from tests.operators.cluster import OperatorCluster
from tests.operators.pair import Pair

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-leadership")]


def test_only_the_leader_writes_and_a_standby_is_ready_to(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("pair") as namespace:
        leader, standby = pair.roles()
        position = cluster.audit.position()
        cluster.serve(namespace, "a", "b", "c")
        cluster.wait(lambda: leader.is_ready() and standby.is_ready(), "both operators' readiness")
        pair.wait_for_one()
        assert cluster.work(position, leader.user)
        cluster.assert_no_two_led(position)
        cluster.wait(lambda: standby.known(MODEL_DEPLOYMENTS) == 3, "the standby's knowledge of them")


def test_a_frozen_leader_that_wakes_writes_nothing(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("frozen") as namespace:
        leader, standby = pair.roles()
        cluster.serve(namespace, "a")
        position = cluster.rest()
        leader.send(signal.SIGSTOP)
        try:
            cluster.edit(namespace, "a", 2)
            cluster.wait(lambda: cluster.holder() == standby.user, "the other one's Lease")
            cluster.wait_ready(namespace, "a")
        finally:
            leader.send(signal.SIGCONT)
        for slots in (3, 4):
            cluster.edit(namespace, "a", slots)
            cluster.wait_ready(namespace, "a")
        cluster.rest()
        assert cluster.work(position, standby.user)
        cluster.wait(leader.is_ready, "the woken one's readiness")
        cluster.assert_no_two_led(position)
