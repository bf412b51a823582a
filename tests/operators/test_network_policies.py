"""NetworkPolicies on a real API server: applied, repaired, and with no more rights than their role gives.

Only there: the embedded server has no such kind, as nothing on one machine could enforce it.
"""

from __future__ import annotations

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from insource.cli.roles import component_roles, user
from insource.kube.resources import NETWORK_POLICIES
from tests.operators.cluster import FIRST, Object, OperatorCluster
from tests.servers import APPLY, MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-network-policies")]
ONLY_REAL = pytest.mark.parametrize(
    "cluster", [pytest.param("real", marks=pytest.mark.cluster)], indirect=True, scope="package"
)
FLAGS = ("--network-policies", "--delivery-cidr", "10.20.0.0/16")


@ONLY_REAL
def test_policies_are_applied_and_repaired(cluster: OperatorCluster) -> None:
    for kind, obj in component_roles("operator-network-policies", SYSTEM_NAMESPACE, user(FIRST)):
        path = kind.path(name=obj["metadata"]["name"])
        cluster.api.ok("PATCH", f"{path}?fieldManager=tests", obj, APPLY)
    with cluster.namespace("policies") as namespace, cluster.operator(flags=FLAGS):
        cluster.create(namespace, "m")

        def found() -> dict[str, Object]:
            items = cluster.api.ok("GET", NETWORK_POLICIES.path(namespace))["items"]
            return {item["metadata"]["name"]: item["spec"] for item in items}

        cluster.wait(lambda: len(found()) == 2, "both policies")
        wanted = found()
        assert {"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]} in wanted["insource-serving"]["egress"]
        path = NETWORK_POLICIES.path(namespace, "insource-serving")
        cluster.api.ok("PATCH", path, {"spec": {"egress": [{}]}}, MERGE)
        cluster.wait(lambda: found() == wanted, "the repair of an edit by hand")
        cluster.api.ok("DELETE", path)
        cluster.wait(lambda: found() == wanted, "the policy that was deleted")
