"""An operator that ends or is cut off, and the one that comes after it."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest

from insource.kube.resources import MODEL_DEPLOYMENTS
from tests.operators.cluster import FIRST, LEASE, OPERATORS, OperatorCluster
from tests.operators.wire import wire

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-succession")]


def test_a_deployment_gets_ready_and_a_restart_writes_nothing(cluster: OperatorCluster) -> None:
    with cluster.namespace("quiet") as namespace:
        with cluster.operator():
            cluster.serve(namespace, "a")
            position = cluster.rest()
        with cluster.operator():
            cluster.wait(lambda: cluster.holder() == FIRST, "the Lease")
            cluster.rest()
        assert cluster.work(position) == []


def test_two_that_start_at_once_make_one_leader(cluster: OperatorCluster) -> None:
    """There is work from their first moment on, and no Lease that would tell them who was first."""
    with cluster.namespace("at-once") as namespace:
        cluster.create(namespace, "a", "b", "c")
        cluster.api.request("DELETE", LEASE)
        with cluster.pair() as pair:
            cluster.wait_ready(namespace, "a", "b", "c")
            cluster.wait(lambda: pair.first.is_ready() and pair.second.is_ready(), "both operators' readiness")
            assert not pair.both_lead()
            position = cluster.audit.position()
            cluster.edit(namespace, "a", 2)
            cluster.wait_ready(namespace, "a")
            cluster.rest()
            pair.wait_for_one()
            cluster.assert_no_two_led(position)


def test_a_killed_leader_is_followed_by_the_other_and_nothing_is_written_twice(cluster: OperatorCluster) -> None:
    with cluster.namespace("killed") as namespace, cluster.pair() as pair:
        leader, standby = pair.roles()
        cluster.serve(namespace, "served")
        cluster.rest()
        transitions = cluster.lease()["leaseTransitions"]
        position = cluster.audit.position()
        leader.child.stop(signal.SIGKILL)
        cluster.create(namespace, "late")
        cluster.wait(lambda: cluster.holder() == standby.user, "the other one's Lease")
        cluster.wait_ready(namespace, "late")
        assert standby.leads()
        assert cluster.lease()["leaseTransitions"] == transitions + 1
        names = {each.name for each in cluster.work(position, standby.user)}
        assert names
        assert [name for name in names if not name.startswith("late")] == [], "that was there already"
        listed = {each.resource for each in cluster.audit.since(position, standby.user) if each.verb == "list"}
        assert not listed & {"modeldeployments", "replicasets", "services"}, "the standby was not warm"
        assert cluster.work(position, leader.user) == [], "the dead wrote"
        cluster.assert_no_two_led(position)


def test_a_leader_that_stops_hands_over_before_its_lease_ends(cluster: OperatorCluster) -> None:
    with cluster.namespace("stopped") as namespace, cluster.pair() as pair:
        leader, standby = pair.roles()
        position = cluster.audit.position()
        leader.child.stop(signal.SIGTERM)
        released = [each for each in cluster.audit.since(position, leader.user) if each.resource == "leases"]
        assert released
        assert released[-1].code == 200
        assert cluster.holder() in ("", standby.user)
        cluster.serve(namespace, "a")
        assert cluster.holder() == standby.user


def test_a_leader_that_stops_waits_until_the_lease_is_given_up(cluster: OperatorCluster) -> None:
    with wire(cluster.api) as slow, cluster.operator(FIRST, slow.kubeconfig(FIRST)) as leader:
        cluster.wait(lambda: cluster.holder() == FIRST, "the Lease")
        slow.slow_down(0.2)
        leader.child.stop(signal.SIGTERM)
        assert cluster.holder() == ""


def test_a_leader_that_is_cut_off_stops_writing_before_the_other_begins(cluster: OperatorCluster) -> None:
    with cluster.namespace("cut-off") as namespace, ExitStack() as stack:
        lines = {user: stack.enter_context(wire(cluster.api)) for user in OPERATORS}
        pair = stack.enter_context(cluster.pair({user: line.kubeconfig(user) for user, line in lines.items()}))
        leader, standby = pair.roles()
        cluster.serve(namespace, "a")
        position = cluster.rest()
        lines[leader.user].cut()
        both = []

        def the_other_leads() -> bool:
            both.append(pair.both_lead())
            return standby.leads()

        cluster.wait(the_other_leads, "the other one's lead")
        assert not any(both)
        cluster.serve(namespace, "b")
        lines[leader.user].mend()
        # It hears of everything again, and of a deployment that it could work on: and leaves it alone.
        cluster.serve(namespace, "c")
        cluster.wait(lambda: leader.known(MODEL_DEPLOYMENTS) == 3, "what the deposed one hears")
        cluster.rest()
        pair.wait_for_one()
        assert cluster.work(position, standby.user)
        cluster.assert_no_two_led(position)
