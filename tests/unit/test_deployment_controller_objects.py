"""The controllers over a store, without a node: what they create, choose, write and say."""

from __future__ import annotations

from typing import Any

import pytest

from insource.env import system_env
from insource.local.control_loop import ControlLoop
from insource.local.controllers import controllers
from insource.local.endpoints import slices_for
from insource.local.objects import DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, REPLICA_SETS, condition
from insource.local.replica_sets import deletion_rank
from insource.local.scheduler import place, requests
from insource.local.store import Store

Object = dict[str, Any]


@pytest.fixture
def cluster() -> tuple[Store, ControlLoop]:
    env = system_env()
    store = Store(env)
    store.create(("", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "voice"}})
    status = {"allocatable": {"cpu": "64", "memory": "64Gi", "pods": "250"}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {}}
    store.create(NODES, node)
    store.patch(NODES, None, "n", {"status": status}, "merge", subresource="status")
    return store, controllers(store, env)


def deploy(store: Store, **spec: Any) -> None:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"selector": {"matchLabels": {"app": "a"}}, "template": template, **spec}
    store.create(
        DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": body}, "voice"
    )


def pods(store: Store) -> list[Object]:
    return store.list(PODS, "voice").items


def ready(store: Store, loop: ControlLoop) -> None:
    """What a node would do: run every pod, and end those that are to go."""
    for number, pod in enumerate(pods(store)):
        if pod["metadata"].get("deletionTimestamp"):
            store.delete(PODS, "voice", pod["metadata"]["name"], grace_period_seconds=0)
            continue
        told = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"phase": "Running", "podIP": f"10.0.0.{number}", "conditions": [told]}
        store.update(PODS, "voice", pod["metadata"]["name"], {**pod, "status": status}, subresource="status")
    loop.settle()


def test_through_a_replica_set_with_its_hash(cluster: tuple[Store, ControlLoop]) -> None:
    store, loop = cluster
    deploy(store, replicas=2)
    loop.settle()
    held = store.list(REPLICA_SETS, "voice").items[0]
    hashed = held["metadata"]["labels"]["pod-template-hash"]
    assert held["metadata"]["name"] == f"a-{hashed}"
    assert held["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods(store)} == {hashed}
    assert all(pod["spec"]["nodeName"] == "n" for pod in pods(store))
    deployment = store.get(DEPLOYMENTS, "voice", "a")
    assert deployment["status"]["unavailableReplicas"] == 2
    assert condition(deployment, "Available")["status"] == "False"
    ready(store, loop)
    deployment = store.get(DEPLOYMENTS, "voice", "a")
    status = deployment["status"]
    assert (status["replicas"], status["updatedReplicas"], status["readyReplicas"]) == (2, 2, 2)
    assert status["availableReplicas"] == 2
    assert "unavailableReplicas" not in status
    assert status["observedGeneration"] == deployment["metadata"]["generation"]
    assert condition(deployment, "Available")["reason"] == "MinimumReplicasAvailable"
    assert condition(deployment, "Progressing")["reason"] == "NewReplicaSetAvailable"
    version = store.resource_version
    loop._changed("MODIFIED", store.kinds.resolve(DEPLOYMENTS), deployment)
    loop.settle()
    assert store.resource_version == version, "nothing to do writes nothing"


def test_a_rollout_and_a_rollback(cluster: tuple[Store, ControlLoop]) -> None:
    store, loop = cluster
    deploy(store, replicas=3)
    loop.settle()
    ready(store, loop)
    for image, revision in (("j", "2"), ("i", "3")):
        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
        store.patch(DEPLOYMENTS, "voice", "a", patch, "json")
        for _ in range(12):
            loop.settle()
            ready(store, loop)
        assert {pod["spec"]["containers"][0]["image"] for pod in pods(store)} == {image}
        assert len(pods(store)) == 3
        deployment = store.get(DEPLOYMENTS, "voice", "a")
        assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
    assert len(store.list(REPLICA_SETS, "voice").items) == 2, "the rollback used its old ReplicaSet"


def test_deleting_it_collects_everything(cluster: tuple[Store, ControlLoop]) -> None:
    store, loop = cluster
    deploy(store, replicas=2)
    loop.settle()
    store.delete(DEPLOYMENTS, "voice", "a")
    loop.settle()
    ready(store, loop)
    assert pods(store) == []
    assert store.list(REPLICA_SETS, "voice").items == []


def test_a_deleted_pod_is_replaced(cluster: tuple[Store, ControlLoop]) -> None:
    store, loop = cluster
    deploy(store, replicas=1)
    loop.settle()
    name = pods(store)[0]["metadata"]["name"]
    store.delete(PODS, "voice", name, grace_period_seconds=0)
    loop.settle()
    assert [pod["metadata"]["name"] for pod in pods(store)] != [name]
    assert len(pods(store)) == 1


def pod(name: str, *, cost: str = "0", running: bool = True, is_ready: bool = True, **spec: Any) -> Object:
    conditions = [{"type": "Ready", "status": str(is_ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {
        "metadata": {
            "name": name,
            "namespace": "voice",
            "uid": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost},
        },
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 80}]}],
            **spec,
        },
        "status": {"phase": "Running" if running else "Pending", "podIP": "1.2.3.4", "conditions": conditions},
    }


def test_which_pod_goes_first() -> None:
    every = [
        pod("dear", cost="5"),
        pod("plain"),
        pod("cheap", cost="-1"),
        pod("unready", is_ready=False),
        pod("pending", running=False, is_ready=False),
        pod("homeless", running=False, is_ready=False, nodeName=""),
    ]
    order = [held["metadata"]["name"] for held in sorted(every, key=deletion_rank)]
    assert order == ["homeless", "pending", "unready", "cheap", "plain", "dear"]


SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "s", "namespace": "voice", "uid": "s-1", "labels": {"insource.dev/revision": "r"}},
    "spec": {"clusterIP": "None", "ports": [{"name": "serve", "port": 1, "targetPort": "web"}]},
}


def test_slices_copy_labels_resolve_ports_and_tell_conditions() -> None:
    going = pod("b")
    going["metadata"]["deletionTimestamp"] = "x"
    (held,) = slices_for(SERVICE, [going, pod("a"), pod("c", is_ready=False)])
    assert held["metadata"]["labels"] == {
        "insource.dev/revision": "r",
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert held["ports"] == [{"name": "serve", "port": 80, "protocol": "TCP"}]
    assert [tuple(e["conditions"].values()) for e in held["endpoints"]] == [
        (True, True, False),
        (False, True, True),
        (False, False, False),
    ]
    assert [e["targetRef"]["name"] for e in held["endpoints"]] == ["a", "b", "c"]
    (empty,) = slices_for(SERVICE, [])
    assert empty["metadata"]["name"] == held["metadata"]["name"]
    assert slices_for(SERVICE, [pod("a"), going]) == slices_for(SERVICE, [going, pod("a")])


def test_the_slice_follows_the_service(cluster: tuple[Store, ControlLoop]) -> None:
    store, loop = cluster
    deploy(store, replicas=2)
    spec = {"selector": {"app": "a"}, "ports": [{"name": "serve", "port": 8101}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
    store.create(("", "services"), service, "voice")
    loop.settle()
    ready(store, loop)
    (held,) = store.list(ENDPOINT_SLICES, "voice").items
    assert len(held["endpoints"]) == 2
    store.delete(("", "services"), "voice", "s")
    loop.settle()
    assert store.list(ENDPOINT_SLICES, "voice").items == []


def node(name: str, labels: Object | None = None, taints: Any = (), **resources: str) -> Object:
    allocatable = {"cpu": "2", "memory": "4Gi", "pods": "3", **{k.replace("_", "/"): v for k, v in resources.items()}}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": allocatable},
    }


GPU_TAINT = {"key": "gpu", "value": "l4", "effect": "NoSchedule"}


def asking(cpu: str = "1", **spec: Any) -> Object:
    return pod("x", containers=[{"name": "c", "resources": {"requests": {"cpu": cpu}}}], **spec)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (asking("1"), ("a", "")),
        (
            asking("2500m"),
            ("", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: l4}."),
        ),
        (asking("1", nodeSelector={"pool": "gpu"}, tolerations=[{"key": "gpu", "operator": "Exists"}]), ("b", "")),
        (
            asking("1", nodeSelector={"pool": "no"}, tolerations=[{"operator": "Exists"}]),
            ("", "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        ),
    ],
)
def test_placing(held: Object, expected: tuple[str, str]) -> None:
    assert place(held, [node("a"), node("b", {"pool": "gpu"}, [GPU_TAINT])], []) == expected


def test_pods_that_are_there_count() -> None:
    held = {**asking("1500m")}
    held["spec"]["nodeName"] = "a"
    assert place(asking("1"), [node("a")], [held])[1] == "0/1 nodes are available: 1 Insufficient cpu."
    assert place(asking("0"), [node("a")], [pod(str(n), nodeName="a") for n in range(3)])[1].endswith("Too many pods.")
    assert place(asking(), [], [])[1] == "no nodes available to schedule pods"


def test_node_affinity() -> None:
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["cpu", "gpu"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    assert place(asking(affinity=affinity), [node("a"), node("b", {"pool": "gpu"})], [])[0] == "b"


def test_requests_of_init_containers_and_sidecars() -> None:
    def c(cpu: str, **more: Any) -> Object:
        return {"name": "c", "resources": {"limits": {"cpu": cpu}}, **more}

    held = pod("x", initContainers=[c("1", restartPolicy="Always"), c("4")], containers=[c("2")])
    assert requests(held)["cpu"] == 5
