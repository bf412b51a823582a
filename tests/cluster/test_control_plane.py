"""The real control plane itself: it runs Deployments on KWOK's nodes, and says in its audit log who did what."""

from __future__ import annotations

import json

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kwok import kwok
from tests.cluster.processes import wait_until
from tests.servers import ApiServer

pytestmark = pytest.mark.cluster


def deployment(gpus: int) -> dict[str, object]:
    container = {"name": "c", "image": "i:1", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    server = {"name": "s", "image": "i:1", "restartPolicy": "Always"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"initContainers": [server], "containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def test_a_deployment_with_a_sidecar_gets_ready_on_accelerators(plane: ControlPlane, real_api: ApiServer) -> None:
    with kwok(plane, nodes=1), real_api.namespace("kwok-pods") as namespace:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        wait_until(lambda: real_api.request("GET", account).status == 200, [], "a ServiceAccount")
        real_api.ok("POST", path, deployment(gpus=4))
        wait_until(
            lambda: real_api.ok("GET", f"{path}/d").get("status", {}).get("availableReplicas") == 2, [], "two pods"
        )
        pods = real_api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        assert all(pod["spec"]["nodeName"] == "fake-000" and pod["status"]["podIP"] for pod in pods)


def test_the_audit_log_names_the_caller(plane: ControlPlane, real_api: ApiServer) -> None:
    assert real_api.request("GET", "/api/v1/namespaces", user="nobody").status == 403

    def said() -> bool:
        lines = plane.audit_log.read_text().splitlines()
        entries = (json.loads(line) for line in lines if '"nobody"' in line)
        return any(e["user"]["username"] == "nobody" and e["responseStatus"]["code"] == 403 for e in entries)

    wait_until(said, [], "an entry in the audit log")
