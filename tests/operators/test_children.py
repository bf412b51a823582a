"""What people and controllers do to what the operator has made. The audit log is the witness of what it does then."""

from __future__ import annotations

import copy

import pytest

from insource.kube.resources import REPLICA_SETS, SERVICES, Resource
from tests.operators.cluster import OperatorCluster
from tests.operators.pair import Pair
from tests.servers import MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-children")]


def test_what_a_person_does_to_a_child_is_undone(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("by-hand") as namespace:
        cluster.serve(namespace, "a")
        (replica_set,) = cluster.children(namespace, REPLICA_SETS)
        path = REPLICA_SETS.path(namespace, replica_set["metadata"]["name"])
        template = replica_set["spec"]["template"]["spec"]
        image = template["containers"][0]["image"]
        edited = copy.deepcopy(template)
        edited["containers"][0]["image"] = "somebody/else:1"
        cluster.api.ok("PATCH", f"{path}?fieldManager=kubectl-edit", {"spec": {"template": {"spec": edited}}}, MERGE)
        cluster.wait(
            lambda: cluster.api.ok("GET", path)["spec"]["template"]["spec"]["containers"][0]["image"] == image,
            "our image",
        )
        for kind in (SERVICES, REPLICA_SETS):
            (child,) = cluster.children(namespace, kind)
            cluster.api.ok("DELETE", kind.path(namespace, child["metadata"]["name"]))
            before = child["metadata"]["uid"]

            def is_anew(kind: Resource = kind, before: str = before) -> bool:
                uids = [each["metadata"]["uid"] for each in cluster.children(namespace, kind)]
                return len(uids) == 1 and uids != [before]

            cluster.wait(is_anew, f"the {kind.kind} anew")
        cluster.wait_ready(namespace, "a")


def test_what_a_foreign_manager_adds_stays_and_is_not_fought_over(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("foreign") as namespace:
        cluster.serve(namespace, "a")
        position = cluster.rest()
        (service,) = cluster.children(namespace, SERVICES)
        path = f"{SERVICES.path(namespace, service['metadata']['name'])}?fieldManager=mesh"
        cluster.api.ok("PATCH", path, {"metadata": {"annotations": {"mesh.example/weight": "5"}}}, MERGE)
        cluster.rest()
        assert cluster.work(position) == []
        (service,) = cluster.children(namespace, SERVICES)
        assert service["metadata"]["annotations"]["mesh.example/weight"] == "5"


def test_a_deleted_namespace_goes_and_takes_nothing_with_it(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("staying") as staying:
        with cluster.namespace("going") as going:
            cluster.create(going, "a")
            cluster.create(staying, "a")
            cluster.wait_ready(going, "a")
            cluster.create(going, "late")
            cluster.api.ok("DELETE", f"/api/v1/namespaces/{going}")
            gone = f"/api/v1/namespaces/{going}"
            cluster.wait(lambda: cluster.api.request("GET", gone).status == 404, "the namespace's end")
        position = cluster.rest()
        cluster.edit(staying, "a", 3)
        cluster.wait_ready(staying, "a")
        cluster.rest()
        assert {each.namespace for each in cluster.work(position)} == {staying}
