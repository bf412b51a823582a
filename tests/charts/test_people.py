"""What people may do who have Kubernetes' own roles in a namespace, once the chart is there."""

from __future__ import annotations

import pytest

from tests.charts.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("chart-people")]
READ, WRITE = ("get", "list", "watch"), ("create", "update", "patch", "delete")
MAY = {
    ("view", "modeldeployments"): READ,
    ("view", "vendors"): READ,
    ("edit", "modeldeployments"): (*READ, *WRITE),
    ("edit", "vendors"): READ,
    ("admin", "modeldeployments"): (*READ, *WRITE),
    ("admin", "vendors"): (*READ, *WRITE),
}
"""Who writes a Vendor decides where a key is sent, and who spends."""


def test_people(cluster: Cluster) -> None:
    cluster.volume()
    cluster.install()
    cluster.namespace("voice")
    for role in ("view", "edit", "admin"):
        binding = {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}],
        }
        cluster.api.ok("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/voice/rolebindings", binding)
    # The aggregation is a controller's, so it comes a moment later.
    cluster.wait(lambda: all(allowed(cluster, *who, "voice") == set(verbs) for who, verbs in MAY.items()), "the roles")
    for who in MAY:
        assert allowed(cluster, *who, "default") == set(), "in no other namespace"


def allowed(cluster: Cluster, user: str, resource: str, namespace: str) -> set[str]:
    found = set()
    for verb in (*READ, *WRITE):
        asked = {"group": "insource.dev", "resource": resource, "verb": verb, "namespace": namespace}
        review = {"spec": {"user": user, "resourceAttributes": asked}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        if cluster.api.ok("POST", path, review)["status"]["allowed"]:
            found.add(verb)
    return found
