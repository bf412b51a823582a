"""Argo CD and Flux: health by the rules of kstatus from an object's first moment, and nothing to fight about."""

from __future__ import annotations

from typing import Any

import pytest

from insource.kube.resources import MODEL_DEPLOYMENTS, VENDORS, Resource
from tests.argo_cd import argo_health
from tests.kstatus import CURRENT, FAILED, IN_PROGRESS, kstatus
from tests.operators.cluster import OperatorCluster
from tests.operators.pair import Pair
from tests.servers import APPLY

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-gitops")]

FLUX, ARGO_CD = "kustomize-controller", "argocd-controller"
HEALTH = {CURRENT: "Healthy", IN_PROGRESS: "Progressing", FAILED: "Degraded"}
VENDOR = {
    "dialect": "OpenAI",
    "endpoint": "https://vendor.example/v1",
    "credentials": {"secretRef": {"name": "key", "key": "key"}},
}


def deployment(model: str, **more: Any) -> dict[str, Any]:
    in_house = {"model": model, "accelerator": {"class": "nvidia-l4"}, "slots": 1}
    backends = [{"name": "inhouse", "inHouse": in_house}]
    return {"modality": "Transcription", "backends": backends, "traffic": {"primary": "inhouse"}, **more}


def sync(cluster: OperatorCluster, kind: Resource, namespace: str, name: str, spec: Any, manager: str) -> Any:
    """What such a controller does each time: the same server-side apply."""
    obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
    return cluster.api.ok("PATCH", f"{kind.path(namespace, name)}?fieldManager={manager}&force=true", obj, APPLY)


def healths(cluster: OperatorCluster, kind: Resource, namespace: str, name: str) -> str:
    """By kstatus; Argo CD's health check from our page must mean the same."""
    obj = cluster.api.ok("GET", kind.path(namespace, name))
    health = kstatus(obj)
    assert argo_health(obj).status == HEALTH[health]
    return health


def test_a_new_object_is_not_healthy_before_the_operator_has_seen_it(cluster: OperatorCluster) -> None:
    with cluster.namespace("unseen") as namespace:
        sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", deployment("whisper-large-v3-turbo"), FLUX)
        sync(cluster, VENDORS, namespace, "v", VENDOR, FLUX)
        for kind, name in ((MODEL_DEPLOYMENTS, "a"), (VENDORS, "v")):
            assert healths(cluster, kind, namespace, name) == IN_PROGRESS


@pytest.mark.parametrize("manager", [FLUX, ARGO_CD])
def test_a_sync_becomes_healthy_and_finds_no_drift(cluster: OperatorCluster, pair: Pair, manager: str) -> None:
    with cluster.namespace(f"synced-{manager.partition('-')[0]}") as namespace:
        spec = deployment("whisper-large-v3-turbo")
        sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", spec, manager)
        cluster.wait(lambda: healths(cluster, MODEL_DEPLOYMENTS, namespace, "a") == CURRENT, "health")
        cluster.rest()
        before = cluster.api.ok("GET", MODEL_DEPLOYMENTS.path(namespace, "a"))
        after = sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", spec, manager)
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        owned = {each["manager"]: each for each in after["metadata"]["managedFields"]}
        assert owned.keys() == {manager, "insource"}
        assert owned["insource"]["subresource"] == "status"
        assert owned["insource"]["fieldsV1"].keys() == {"f:status"}


def test_what_is_missing_degrades_until_it_comes(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("degraded") as namespace:
        sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", deployment("not-in-the-catalogue"), FLUX)
        cluster.wait(lambda: healths(cluster, MODEL_DEPLOYMENTS, namespace, "a") == FAILED, "that it has failed")
        obj = cluster.api.ok("GET", MODEL_DEPLOYMENTS.path(namespace, "a"))
        assert "not-in-the-catalogue" in argo_health(obj).message
        sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", deployment("whisper-large-v3-turbo"), FLUX)
        cluster.wait(lambda: healths(cluster, MODEL_DEPLOYMENTS, namespace, "a") == CURRENT, "health")


def test_a_sync_leaves_replicas_alone_that_it_does_not_apply(cluster: OperatorCluster, pair: Pair) -> None:
    with cluster.namespace("scaled") as namespace:
        spec = deployment("whisper-large-v3-turbo")
        sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", spec, ARGO_CD)
        path = MODEL_DEPLOYMENTS.path(namespace, "a")
        scaled = {"apiVersion": MODEL_DEPLOYMENTS.api_version, "kind": "ModelDeployment", "metadata": {"name": "a"}}
        cluster.api.ok("PATCH", f"{path}?fieldManager=autoscaler", {**scaled, "spec": {"replicas": 2}}, APPLY)
        assert sync(cluster, MODEL_DEPLOYMENTS, namespace, "a", spec, ARGO_CD)["spec"]["replicas"] == 2
