"""Each shipped runtime, as the operator renders it, on a real API server: valid, also where pods are restricted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.servers import MERGE, ApiServer
from tests.unit.test_domain_runtimes import CASES, template_of

pytestmark = pytest.mark.cluster


def pod_of(runtime: str) -> dict[str, Any]:
    template = template_of(runtime, *CASES[runtime])
    metadata = {**template["metadata"], "name": runtime}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@contextmanager
def restricted(api: ApiServer, name: str) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard, with the account that our pods run as."""
    with api.namespace(name) as namespace:
        labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        api.ok("PATCH", f"/api/v1/namespaces/{namespace}", labels, MERGE)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "insource-adapter"}}
        api.ok("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        yield f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"


def server_of(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in spec["initContainers"] if item["name"] == "server")
    return found


@pytest.mark.parametrize("runtime", CASES)
def test_the_server_takes_its_pod_where_pods_are_restricted(real_api: ApiServer, runtime: str) -> None:
    pod = pod_of(runtime)
    with restricted(real_api, f"runtime-{runtime}") as path:
        answer = real_api.request("POST", path, pod)
    assert answer.status == 201, answer.body
    assert answer.warnings == []
    stored, wanted = answer.body["spec"], pod["spec"]
    assert [volume["name"] for volume in stored["volumes"]] == [volume["name"] for volume in wanted["volumes"]]
    memory = [volume["emptyDir"] for volume in stored["volumes"] if volume["name"] == "shm"]
    assert memory == [volume["emptyDir"] for volume in wanted["volumes"] if volume["name"] == "shm"]
    for key in ("image", "securityContext"):
        assert server_of(stored)[key] == server_of(wanted)[key]


def test_one_that_would_run_as_root_is_refused_there(real_api: ApiServer) -> None:
    """So the test above can fail."""
    pod = pod_of("vllm")
    server = server_of(pod["spec"])
    server["securityContext"] = {**server["securityContext"], "runAsUser": 0}
    with restricted(real_api, "runtime-root") as path:
        answer = real_api.request("POST", path, pod)
    assert answer.status == 403
    assert "runAsUser" in answer.body["message"]
