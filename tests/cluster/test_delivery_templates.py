"""Pods with a delivered model, as the operator renders them, on a real API server and its scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from insource.domain.snapshot import pod_of
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kwok import kwok
from tests.cluster.processes import wait_until
from tests.servers import ApiServer
from tests.unit.test_domain_delivery import WORLDS

pytestmark = pytest.mark.cluster


def replica_set(way: str) -> dict[str, Any]:
    world = WORLDS[way]()
    world.settle()
    (name,) = world.names("ReplicaSet")
    rendered = world.live["ReplicaSet", name]
    metadata = {"name": name, "labels": rendered["metadata"]["labels"]}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": rendered["spec"]}


@pytest.mark.parametrize("way", WORLDS)
def test_the_server_takes_them_as_they_are(real_api: ApiServer, way: str) -> None:
    with real_api.namespace(f"delivery-{way}") as namespace:
        path = f"/apis/apps/v1/namespaces/{namespace}/replicasets?fieldValidation=Strict"
        wanted = replica_set(way)
        stored = real_api.ok("POST", path, wanted)["spec"]["template"]["spec"]
        names = [volume["name"] for volume in wanted["spec"]["template"]["spec"]["volumes"]]
        assert [volume["name"] for volume in stored["volumes"]] == names
        (model,) = (volume for volume in stored["volumes"] if volume["name"] == "model")
        assert len(model) == 2, "the kind of volume was kept"
        assert graces(stored) == graces(wanted["spec"]["template"]["spec"]) != {}


def graces(spec: dict[str, Any]) -> dict[tuple[str, str], int]:
    """(container, probe) -> the grace of its own."""
    return {
        (container["name"], probe): container[probe]["terminationGracePeriodSeconds"]
        for container in (*spec["initContainers"], *spec["containers"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if "terminationGracePeriodSeconds" in container.get(probe, {})
    }


def test_a_claim_that_is_missing_is_told(plane: ControlPlane, real_api: ApiServer) -> None:
    with kwok(plane, nodes=1), real_api.namespace("delivery-claim") as namespace:
        for name in ("default", "insource-adapter"):
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
            real_api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        real_api.ok("POST", f"/apis/apps/v1/namespaces/{namespace}/replicasets", replica_set("mount"))
        words = 'persistentvolumeclaim "weights" not found'

        def told() -> list[str]:
            pods = real_api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
            return [pod_of(pod).unscheduled.words for pod in pods]

        wait_until(lambda: any(words in each for each in told()), [], "the scheduler's words")
