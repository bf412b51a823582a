"""The operator on a real API server: what people, controllers and crashes do to it. The audit log is the witness."""

from __future__ import annotations

import base64
import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.binaries import binaries
from tests.cluster.control_plane import control_plane
from tests.cluster.operators import LEASE_S, OperatorCluster, operator_cluster
from tests.cluster.processes import Child
from tests.servers import MERGE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
USERS = ("operator", "operator-b", "gateway")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorCluster]:
    """A control plane of this module's own: its API server is stopped, frozen and killed here."""
    folder = tmp_path_factory.mktemp("operators")
    with control_plane(folder, binaries(), USERS) as plane, operator_cluster(plane, folder) as running:
        yield running


@pytest.fixture
def operator(cluster: OperatorCluster) -> Iterator[Child]:
    with cluster.operator() as child:
        cluster.wait(lambda: cluster.holder() == "operator", "the Lease")
        yield child


def compact(cluster: OperatorCluster) -> None:
    """etcd forgets all versions but the present one."""

    def call(path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        request = urllib.request.Request(f"{cluster.plane.etcd_url}/v3/kv/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    key = base64.b64encode(b"any").decode()
    revision = call("range", {"key": key})["header"]["revision"]
    call("compaction", {"revision": revision, "physical": True})


def test_a_deployment_gets_ready_and_a_restart_writes_nothing(cluster: OperatorCluster) -> None:
    with cluster.namespace("quiet") as namespace:
        with cluster.operator():
            cluster.create(namespace, "a")
            cluster.wait_ready(namespace, "a")
            position = cluster.rest()
        with cluster.operator():
            cluster.wait(lambda: cluster.holder() == "operator", "the Lease")
            cluster.rest()
        assert cluster.work(position) == []


def test_what_a_person_does_to_a_child_is_undone(cluster: OperatorCluster, operator: Child) -> None:
    with cluster.namespace("by-hand") as namespace:
        cluster.create(namespace, "a")
        cluster.wait_ready(namespace, "a")
        (replica_set,) = cluster.children(namespace, "replicasets")
        path = f"/apis/apps/v1/namespaces/{namespace}/replicasets/{replica_set['metadata']['name']}"
        template = replica_set["spec"]["template"]["spec"]
        image = template["containers"][0]["image"]
        edited = json.loads(json.dumps(template))
        edited["containers"][0]["image"] = "somebody/else:1"
        cluster.api.ok("PATCH", f"{path}?fieldManager=kubectl-edit", {"spec": {"template": {"spec": edited}}}, MERGE)
        cluster.wait(
            lambda: cluster.api.ok("GET", path)["spec"]["template"]["spec"]["containers"][0]["image"] == image,
            "our image",
        )
        for plural in ("services", "replicasets"):
            (child,) = cluster.children(namespace, plural)
            root = "/api/v1" if plural == "services" else "/apis/apps/v1"
            cluster.api.ok("DELETE", f"{root}/namespaces/{namespace}/{plural}/{child['metadata']['name']}")
            uid = child["metadata"]["uid"]
            cluster.wait(
                lambda plural=plural, uid=uid: (
                    [  # type: ignore[misc]
                        each["metadata"]["uid"] != uid for each in cluster.children(namespace, plural)
                    ]
                    == [True]
                ),
                f"the {plural} anew",
            )
        cluster.wait_ready(namespace, "a")


def test_what_a_foreign_manager_adds_stays_and_is_not_fought_over(cluster: OperatorCluster, operator: Child) -> None:
    with cluster.namespace("foreign") as namespace:
        cluster.create(namespace, "a")
        cluster.wait_ready(namespace, "a")
        position = cluster.rest()
        (service,) = cluster.children(namespace, "services")
        path = f"/api/v1/namespaces/{namespace}/services/{service['metadata']['name']}?fieldManager=mesh"
        cluster.api.ok("PATCH", path, {"metadata": {"annotations": {"mesh.example/weight": "5"}}}, MERGE)
        cluster.rest()
        assert cluster.work(position) == []
        (service,) = cluster.children(namespace, "services")
        assert service["metadata"]["annotations"]["mesh.example/weight"] == "5"


def test_a_deleted_namespace_goes_and_takes_nothing_with_it(cluster: OperatorCluster, operator: Child) -> None:
    with cluster.namespace("staying") as staying:
        with cluster.namespace("going") as going:
            cluster.create(going, "a")
            cluster.create(staying, "a")
            cluster.wait_ready(going, "a")
            cluster.create(going, "late")
            cluster.api.ok("DELETE", f"/api/v1/namespaces/{going}")
            gone = f"/api/v1/namespaces/{going}"
            cluster.wait(lambda: cluster.api.request("GET", gone).status == 404, "the namespace's end", 90)
        position = cluster.rest()
        cluster.edit(staying, "a", 3)
        cluster.wait_ready(staying, "a")
        cluster.rest()
        assert {each.namespace for each in cluster.work(position)} == {staying}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_api_server_goes_and_comes_back(cluster: OperatorCluster, operator: Child, how: signal.Signals) -> None:
    with cluster.namespace(f"outage-{how.name.lower()}") as namespace:
        cluster.create(namespace, "a")
        cluster.wait_ready(namespace, "a")
        cluster.plane.stop_child("kube-apiserver", how)
        cluster.plane.start_apiserver()
        position = cluster.audit.position()
        cluster.create(namespace, "b")
        cluster.edit(namespace, "a", 2)
        cluster.wait_ready(namespace, "a", "b")
        cluster.rest()
        operator.check()
        # No hot loop: each kind is listed and watched again a few times, not for ever.
        read = [each for each in cluster.audit.since(position, "operator") if each.verb in ("list", "watch")]
        for kind in {each.resource for each in read}:
            assert len([each for each in read if each.resource == kind]) <= 10, kind


def test_what_is_deleted_in_a_gap_with_a_compaction_is_noticed(cluster: OperatorCluster, operator: Child) -> None:
    """Its watches end unheard, and the version from which it would go on is forgotten: 410, and all is listed anew."""
    with cluster.namespace("gap") as namespace:
        cluster.create(namespace, "a")
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        position = cluster.audit.position()
        operator.process.send_signal(signal.SIGSTOP)
        try:
            (service,) = cluster.children(namespace, "services")
            cluster.api.ok("DELETE", f"/api/v1/namespaces/{namespace}/services/{service['metadata']['name']}")
            cluster.create(namespace, "b")
            cluster.plane.stop_child("kube-apiserver")
            compact(cluster)
            cluster.plane.start_apiserver()
        finally:
            operator.process.send_signal(signal.SIGCONT)
        cluster.wait(lambda: len(cluster.children(namespace, "services")) == 2, "the Service anew")
        cluster.wait_ready(namespace, "a", "b")
        listed = {each.resource for each in cluster.audit.since(position, "operator") if each.verb == "list"}
        assert {"services", "replicasets"} <= listed


def _overlaps(cluster: OperatorCluster, position: int) -> list[str]:
    """Writes that came from one operator after another had begun to write, in the order of their arrival."""
    users = ("operator", "operator-b")
    work = sorted((each.received_s, user) for user in users for each in cluster.work(position, user) if each.code < 300)
    turns = [user for i, (_, user) in enumerate(work) if i == 0 or work[i - 1][1] != user]
    return turns[1:] if len(turns) <= 2 else turns


def test_a_frozen_leader_that_wakes_writes_nothing(cluster: OperatorCluster) -> None:
    with cluster.namespace("frozen") as namespace, ExitStack() as stack:
        first = stack.enter_context(cluster.operator("operator"))
        cluster.wait(lambda: cluster.holder() == "operator", "the first one's Lease")
        stack.enter_context(cluster.operator("operator-b"))
        cluster.create(namespace, "a")
        cluster.wait_ready(namespace, "a")
        position = cluster.rest("operator", "operator-b")
        first.process.send_signal(signal.SIGSTOP)
        try:
            cluster.edit(namespace, "a", 2)
            cluster.wait(lambda: cluster.holder() == "operator-b", "the other one's Lease", LEASE_S + 20)
            cluster.wait_ready(namespace, "a")
        finally:
            first.process.send_signal(signal.SIGCONT)
        for slots in (3, 4):
            cluster.edit(namespace, "a", slots)
            cluster.wait_ready(namespace, "a")
        cluster.rest("operator", "operator-b")
        assert [each for each in cluster.work(position, "operator") if each.code < 300] == []
        assert cluster.work(position, "operator-b")


def test_a_hanging_api_server_makes_no_two_leaders(cluster: OperatorCluster) -> None:
    with cluster.namespace("hanging") as namespace, ExitStack() as stack:
        stack.enter_context(cluster.operator("operator"))
        cluster.wait(lambda: cluster.holder() == "operator", "the first one's Lease")
        stack.enter_context(cluster.operator("operator-b"))
        for number in range(5):
            cluster.create(namespace, f"a{number}")
        position = cluster.audit.position()
        server = cluster.plane.children["kube-apiserver"].process
        server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                server_is_silent(cluster, LEASE_S + 3)
        finally:
            server.send_signal(signal.SIGCONT)
        cluster.wait_ready(namespace, *(f"a{number}" for number in range(5)))
        cluster.rest("operator", "operator-b")
        assert len(_overlaps(cluster, position)) <= 1


def server_is_silent(cluster: OperatorCluster, seconds: float) -> None:
    """Raises TimeoutError once the API server has not answered for so long."""
    connection = cluster.api.connection(seconds)
    try:
        connection.request("GET", "/readyz")
        connection.getresponse()
    finally:
        connection.close()


def test_a_leader_that_stops_hands_over_before_its_lease_ends(cluster: OperatorCluster) -> None:
    with cluster.namespace("stopped") as namespace, ExitStack() as stack:
        first = stack.enter_context(cluster.operator("operator"))
        cluster.wait(lambda: cluster.holder() == "operator", "the first one's Lease")
        stack.enter_context(cluster.operator("operator-b"))
        position = cluster.audit.position()
        first.stop(signal.SIGTERM)
        released = [each for each in cluster.audit.since(position, "operator") if each.resource == "leases"]
        assert released
        assert released[-1].code == 200
        assert cluster.holder() in ("", "operator-b")
        cluster.create(namespace, "a")
        cluster.wait_ready(namespace, "a")
