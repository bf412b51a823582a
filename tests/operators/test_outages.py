"""An API server that goes away, hangs, comes back, and has forgotten what it was."""

from __future__ import annotations

import signal
import time

import pytest

from insource.kube.resources import REPLICA_SETS, SERVICES
from tests.operators.cluster import LEASE_S, OperatorCluster
from tests.operators.pair import Pair

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("operators-outages")]
AWAY_S = 120.0
READS = 10
"""Of one kind by one operator, after an outage: a few tries to list and watch again, but no hot loop."""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_api_server_goes_and_comes_back(cluster: OperatorCluster, pair: Pair, how: signal.Signals) -> None:
    with cluster.namespace(f"outage-{how.name.lower()}") as namespace:
        cluster.serve(namespace, "a")
        with cluster.outage(how):
            pass
        position = cluster.audit.position()
        cluster.create(namespace, "b")
        cluster.edit(namespace, "a", 2)
        cluster.wait_ready(namespace, "a", "b")
        cluster.rest()
        for operator in (pair.first, pair.second):
            operator.child.check()
            read = [each for each in cluster.audit.since(position, operator.user) if each.verb in ("list", "watch")]
            for kind in {each.resource for each in read}:
                assert len([each for each in read if each.resource == kind]) <= READS, kind


@pytest.mark.xdist_group("two-minutes")
@pytest.mark.parametrize("cluster", [pytest.param("real", marks=pytest.mark.cluster)], indirect=True)
def test_two_minutes_without_an_api_server_need_no_restart(cluster: OperatorCluster, pair: Pair) -> None:
    both = (pair.first, pair.second)
    with cluster.namespace("away") as namespace:
        cluster.serve(namespace, "a")
        with cluster.outage(signal.SIGKILL):
            back_at = time.monotonic() + AWAY_S
            cluster.wait(lambda: time.monotonic() > back_at, "the end of the outage", AWAY_S + 10)
            assert [each.is_ready() for each in both] == [True, True], (
                "a kubelet would take them out, then restart them"
            )
            assert [each.leads() for each in both] == [False, False]
        cluster.create(namespace, "b")
        cluster.edit(namespace, "a", 2)
        cluster.wait_ready(namespace, "a", "b")
        for operator in both:
            operator.child.check()


def test_what_is_deleted_in_a_gap_with_a_compaction_is_noticed(cluster: OperatorCluster, pair: Pair) -> None:
    """Its watches end unheard, and the version from which it would go on is forgotten: 410, and all is listed anew."""
    with cluster.namespace("gap") as namespace:
        cluster.serve(namespace, "a")
        position = cluster.rest()
        for operator in (pair.first, pair.second):
            operator.send(signal.SIGSTOP)
        try:
            version = cluster.api.ok("GET", SERVICES.path())["metadata"]["resourceVersion"]
            (service,) = cluster.children(namespace, SERVICES)
            cluster.api.ok("DELETE", SERVICES.path(namespace, service["metadata"]["name"]))
            cluster.create(namespace, "b")
            with cluster.outage(signal.SIGTERM):
                cluster.server.forget()
            assert is_forgotten(cluster, version)
        finally:
            for operator in (pair.first, pair.second):
                operator.send(signal.SIGCONT)
        cluster.wait(lambda: len(cluster.children(namespace, SERVICES)) == 2, "the Service anew")
        cluster.wait_ready(namespace, "a", "b")
        leader, _ = pair.roles()
        listed = {each.resource for each in cluster.audit.since(position, leader.user) if each.verb == "list"}
        assert {SERVICES.plural, REPLICA_SETS.plural} <= listed


def is_forgotten(cluster: OperatorCluster, version: str) -> bool:
    """Whether a watch from `version` is answered by a 410, at once or as its only event."""
    answer = cluster.api.request("GET", f"{SERVICES.path()}?watch=1&timeoutSeconds=5&resourceVersion={version}")
    return answer.status == 410 or (answer.body["type"] == "ERROR" and answer.body["object"]["code"] == 410)


def test_a_hanging_api_server_makes_no_two_leaders(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("hanging") as namespace:
        names = [f"a{number}" for number in range(5)]
        pair.roles()
        position = cluster.audit.position()
        cluster.create(namespace, *names)
        cluster.server.send(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                answer(cluster, LEASE_S + 3)
        finally:
            cluster.server.send(signal.SIGCONT)
        cluster.wait_ready(namespace, *names)
        cluster.rest()
        cluster.assert_no_two_led(position)


def answer(cluster: OperatorCluster, patience_s: float) -> None:
    """Raises TimeoutError once the API server has not answered for so long."""
    connection = cluster.api.connection(patience_s)
    try:
        connection.request("GET", "/readyz")
        connection.getresponse()
    finally:
        connection.close()
