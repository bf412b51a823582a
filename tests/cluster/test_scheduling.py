"""Why a replica gets no place, on a real control plane with accelerator nodes: each reason, its words, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from insource.kube.resources import ACCELERATOR_CLASSES, MODEL_DEPLOYMENTS
from tests.cluster.kwok import GPUS_PER_NODE
from tests.model_deployments import model_deployment
from tests.operators.cluster import USERS, OperatorCluster, operator_cluster
from tests.operators.servers import real
from tests.servers import MERGE, STRATEGIC

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("scheduling")]
Object = dict[str, Any]
NODES = 2
QUOTAS = "/api/v1/namespaces/{}/resourcequotas"
RESOURCES = "/apis/resource.k8s.io/v1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
TAINT = {"key": "maintenance", "value": "yes", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorCluster]:
    folder = tmp_path_factory.mktemp("scheduling")
    with (
        real(folder, USERS) as server,
        operator_cluster(server, folder, nodes=NODES) as running,
        running.operator(),
    ):
        yield running


def with_pod(name: str, class_: str = "nvidia-l4", count: int = 1, replicas: int = 1, **pod: Any) -> Object:
    more = {"pod": pod} if pod else {}
    return model_deployment(name, class_=class_, count=count, replicas=replicas, **more)


def put(cluster: OperatorCluster, namespace: str, obj: Object) -> None:
    path = cluster.path(namespace, obj["metadata"]["name"])
    if cluster.api.request("GET", path).status == 404:
        cluster.api.ok("POST", MODEL_DEPLOYMENTS.path(namespace), obj)
    else:
        cluster.api.ok("PATCH", path, {"spec": obj["spec"]}, MERGE)


def conditions(cluster: OperatorCluster, namespace: str, name: str = "a") -> dict[str, Object]:
    status = cluster.api.ok("GET", cluster.path(namespace, name)).get("status") or {}
    return {item["type"]: item for item in status.get("conditions", ())}


def unschedulable(cluster: OperatorCluster, namespace: str, reason: str, words: str) -> dict[str, Object]:
    """The conditions, once Schedulable is False for this reason, in these words among others."""

    def is_told() -> bool:
        told = conditions(cluster, namespace).get("Schedulable", {})
        return (told.get("status"), told.get("reason")) == ("False", reason) and words in told["message"]

    cluster.wait(is_told, f"{reason}: {words}; told: {conditions(cluster, namespace)}", 60)
    return conditions(cluster, namespace)


@contextmanager
def accelerator_class(cluster: OperatorCluster, name: str, **spec: Any) -> Iterator[str]:
    obj = {
        "apiVersion": ACCELERATOR_CLASSES.api_version,
        "kind": ACCELERATOR_CLASSES.kind,
        "metadata": {"name": name},
        "spec": {"pricePerHour": "1", **spec},
    }
    cluster.api.ok("POST", ACCELERATOR_CLASSES.path(), obj)
    try:
        yield name
    finally:
        cluster.api.ok("DELETE", ACCELERATOR_CLASSES.path(None, name))


@contextmanager
def there_is(cluster: OperatorCluster, path: str, obj: Object) -> Iterator[None]:
    """A cluster-scoped object, gone afterwards."""
    cluster.api.ok("POST", path, obj)
    try:
        yield
    finally:
        cluster.api.ok("DELETE", f"{path}/{obj['metadata']['name']}")


def test_more_accelerators_than_a_node_has(cluster: OperatorCluster) -> None:
    with cluster.namespace("too-many") as namespace:
        put(cluster, namespace, with_pod("a", count=GPUS_PER_NODE + 1))
        told = unschedulable(cluster, namespace, "Unschedulable", f"{NODES} Insufficient nvidia.com/gpu")
        message = told["Schedulable"]["message"]
        assert message.startswith('class "nvidia-l4" (9 nvidia.com/gpu a replica): 0/2 nodes are available: ')
        assert (told["Ready"]["status"], told["Ready"]["reason"]) == ("False", "Unschedulable")
        assert told["Ready"]["message"] == message
        assert told["Reconciling"]["status"] == "True"
        assert "Stalled" not in told
        put(cluster, namespace, with_pod("a"))
        cluster.wait_ready(namespace, "a")
        assert conditions(cluster, namespace)["Schedulable"]["status"] == "True"


def test_a_full_cluster_does_not_end_ready_and_costs_few_writes(cluster: OperatorCluster) -> None:
    with cluster.namespace("full") as namespace:
        put(cluster, namespace, with_pod("a", count=GPUS_PER_NODE, replicas=NODES))
        cluster.wait_ready(namespace, "a")
        put(cluster, namespace, with_pod("a", count=GPUS_PER_NODE, replicas=NODES + 2))
        told = unschedulable(cluster, namespace, "Unschedulable", "Insufficient nvidia.com/gpu")
        assert told["Ready"]["status"] == "True", told
        position = cluster.rest()
        # In a large cluster nodes come and go, and the scheduler counts again each time: here we say what it would.
        before = _waiting_pods(cluster, namespace)
        for nodes in range(NODES + 1, NODES + 6):
            for path, condition in before.items():
                words = condition["message"].replace(f"0/{NODES} nodes", f"0/{nodes} nodes")
                assert words != condition["message"]
                status = {"conditions": [{**condition, "message": words}]}
                cluster.api.ok("PATCH", f"{path}/status", {"status": status}, STRATEGIC)
        cluster.rest()
        assert cluster.work(position) == [], "only the reasons are news"
        put(cluster, namespace, with_pod("a", count=GPUS_PER_NODE, replicas=NODES))
        cluster.wait(lambda: conditions(cluster, namespace)["Schedulable"]["status"] == "True", "Schedulable")


def _waiting_pods(cluster: OperatorCluster, namespace: str) -> dict[str, Object]:
    """Paths of the pods without a node, with what the scheduler says."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    return {
        f"{path}/{pod['metadata']['name']}": item
        for pod in cluster.api.ok("GET", path)["items"]
        for item in pod["status"].get("conditions", ())
        if item["type"] == "PodScheduled" and item["status"] == "False"
    }


def test_taints_and_what_tolerates_them(cluster: OperatorCluster) -> None:
    paths = [f"/api/v1/nodes/{node['metadata']['name']}" for node in cluster.api.ok("GET", "/api/v1/nodes")["items"]]
    with cluster.namespace("taints") as namespace:
        try:
            for path in paths:
                cluster.api.ok("PATCH", path, {"spec": {"taints": [TAINT]}}, MERGE)
            put(cluster, namespace, with_pod("a"))
            unschedulable(cluster, namespace, "Unschedulable", "untolerated taint")
            tolerated = {"key": "maintenance", "operator": "Exists"}
            put(cluster, namespace, with_pod("a", tolerations=[tolerated]))
            cluster.wait_ready(namespace, "a")
        finally:
            for path in paths:
                cluster.api.ok("PATCH", path, {"spec": {"taints": None}}, MERGE)


def test_a_selector_that_no_node_has(cluster: OperatorCluster) -> None:
    with cluster.namespace("selector") as namespace:
        put(cluster, namespace, with_pod("a", nodeSelector={"zone": "nowhere"}))
        unschedulable(cluster, namespace, "Unschedulable", "didn't match Pod's node affinity/selector")
        path = "/api/v1/nodes/fake-000"
        cluster.api.ok("PATCH", path, {"metadata": {"labels": {"zone": "nowhere"}}}, MERGE)
        try:
            cluster.wait_ready(namespace, "a")
        finally:
            cluster.api.ok("PATCH", path, {"metadata": {"labels": {"zone": None}}}, MERGE)


def test_a_quota(cluster: OperatorCluster) -> None:
    with cluster.namespace("quota") as namespace:
        quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
        path = QUOTAS.format(namespace)
        cluster.api.ok("POST", path, quota)
        cluster.wait(lambda: cluster.api.ok("GET", f"{path}/gpus").get("status", {}).get("hard"), "the quota's status")
        put(cluster, namespace, with_pod("a", count=2))
        told = unschedulable(cluster, namespace, "QuotaExceeded", "exceeded quota: gpus")
        assert told["Schedulable"]["message"] == (
            'class "nvidia-l4" (2 nvidia.com/gpu a replica): exceeded quota: gpus, requested: '
            "requests.nvidia.com/gpu=2, used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=1; "
            "raise the quota of this namespace or free what it counts; Kubernetes tries again by itself"
        )
        assert told["Ready"]["reason"] == "QuotaExceeded"
        assert "Stalled" not in told
        cluster.api.ok("PATCH", f"{path}/gpus", {"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}}, MERGE)
        cluster.wait_ready(namespace, "a")
        put(cluster, namespace, with_pod("a", count=2, replicas=2))
        told = unschedulable(cluster, namespace, "QuotaExceeded", "used: requests.nvidia.com/gpu=2")
        assert told["Ready"]["status"] == "True", "what serves goes on"


@pytest.mark.parametrize(
    ("what", "path", "obj", "words"),
    [
        (
            {"runtimeClassName": "sandbox"},
            "/apis/node.k8s.io/v1/runtimeclasses",
            {"metadata": {"name": "sandbox"}, "handler": "runsc"},
            'RuntimeClass "sandbox" not found',
        ),
        (
            {"priorityClassName": "urgent"},
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {"metadata": {"name": "urgent"}, "value": 1000},
            "no PriorityClass with name urgent was found",
        ),
        (
            {"serviceAccountName": "speech"},
            "/api/v1/namespaces/speech/serviceaccounts",
            {"metadata": {"name": "speech"}},
            'serviceaccount "speech" not found',
        ),
    ],
    ids=["runtime-class", "priority-class", "service-account"],
)
def test_pods_that_the_server_refuses_need_a_person(
    cluster: OperatorCluster, what: Object, path: str, obj: Object, words: str
) -> None:
    of_class = {key: value for key, value in what.items() if key == "runtimeClassName"}
    of_pod = {key: value for key, value in what.items() if key != "runtimeClassName"}
    with (
        accelerator_class(cluster, "special", resourceName="nvidia.com/gpu", **of_class) as class_,
        cluster.namespace(obj["metadata"]["name"]) as namespace,
    ):
        put(cluster, namespace, with_pod("a", class_, **of_pod))
        told = unschedulable(cluster, namespace, "PodsRefused", words)
        assert (told["Stalled"]["reason"], told["Ready"]["reason"]) == ("PodsRefused", "PodsRefused")
        assert "Reconciling" not in told
        with there_is(cluster, path, obj):
            cluster.wait_ready(namespace, "a")
            assert "Stalled" not in conditions(cluster, namespace)
            assert _one_pod(cluster, namespace)["spec"].items() >= what.items()


def _one_pod(cluster: OperatorCluster, namespace: str) -> Object:
    (pod,) = cluster.api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert isinstance(pod, dict)
    return pod


GATE = "kueue.x-k8s.io/admission"
IS_QUEUED = "'kueue.x-k8s.io/queue-name' in object.metadata.?labels.orValue({})"
GATED = f'Object{{spec: Object.spec{{schedulingGates: [Object.spec.schedulingGates{{name: "{GATE}"}}]}}}}'
QUEUE_POLICY = {
    "metadata": {"name": "queue"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
            ]
        },
        "matchConditions": [{"name": "queued", "expression": IS_QUEUED}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": GATED},
            }
        ],
    },
}


def test_a_queue_holds_pods_by_a_gate(cluster: OperatorCluster) -> None:
    """What Kueue's webhook does to pods with its label, done by a policy of the API server."""
    policies, bindings = f"{ADMISSION}/mutatingadmissionpolicies", f"{ADMISSION}/mutatingadmissionpolicybindings"
    binding = {"metadata": {"name": "queue"}, "spec": {"policyName": "queue"}}
    probe = {
        "metadata": {"name": "probe", "labels": {"kueue.x-k8s.io/queue-name": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }
    with (
        there_is(cluster, policies, QUEUE_POLICY),
        there_is(cluster, bindings, binding),
        accelerator_class(cluster, "queued", resourceName="nvidia.com/gpu", queueName="gpus") as class_,
        cluster.namespace("queue") as namespace,
    ):
        pods = f"/api/v1/namespaces/{namespace}/pods"
        # A policy counts a moment after it was made.
        cluster.wait(
            lambda: "schedulingGates" in cluster.api.ok("POST", f"{pods}?dryRun=All", probe)["spec"], "the policy", 60
        )
        put(cluster, namespace, with_pod("a", class_))
        told = unschedulable(cluster, namespace, "SchedulingGated", GATE)
        assert told["Schedulable"]["message"] == (
            'class "queued" (1 nvidia.com/gpu a replica, queue gpus): '
            f"Scheduling is blocked due to non-empty scheduling gates: {GATE}"
        )
        assert told["Reconciling"]["status"] == "True"
        pod = _one_pod(cluster, namespace)
        assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
        path = f"{pods}/{pod['metadata']['name']}"
        cluster.api.ok("PATCH", path, {"spec": {"schedulingGates": None}}, MERGE)
        cluster.wait_ready(namespace, "a")


def test_a_scheduler_that_does_not_run_is_named(cluster: OperatorCluster) -> None:
    with (
        accelerator_class(cluster, "own-scheduler", schedulerName="volcano") as class_,
        cluster.namespace("scheduler") as namespace,
    ):
        put(cluster, namespace, with_pod("a", class_))
        cluster.wait(lambda: "Schedulable" in conditions(cluster, namespace), "a status")
        told = conditions(cluster, namespace)["Schedulable"]
        assert (told["status"], told["message"]) == (
            "Unknown",
            'replicas are on their way to a node by scheduler "volcano"',
        )
        _wait_for_a_pod(cluster, namespace)
        assert _one_pod(cluster, namespace)["spec"]["schedulerName"] == "volcano"


def _wait_for_a_pod(cluster: OperatorCluster, namespace: str) -> None:
    cluster.wait(lambda: bool(cluster.api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]), "a pod")


def test_dynamic_resource_allocation(cluster: OperatorCluster) -> None:
    """Two devices on one node, by resource claims: one replica of two accelerators fits, a second one does not."""
    device_class = {
        "metadata": {"name": "fake-gpu"},
        "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]},
    }
    slices = {
        "metadata": {"name": "fake-000-gpus"},
        "spec": {
            "driver": "gpu.example.com",
            "nodeName": "fake-000",
            "pool": {"name": "fake-000", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0"}, {"name": "gpu-1"}],
        },
    }
    claim = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "fake-gpu"}}]}}
    template = {"metadata": {"name": "one-gpu"}, "spec": {"spec": claim}}
    with (
        there_is(cluster, f"{RESOURCES}/deviceclasses", device_class),
        there_is(cluster, f"{RESOURCES}/resourceslices", slices),
        accelerator_class(cluster, "dra", resourceClaimTemplate="one-gpu") as class_,
        cluster.namespace("dra") as namespace,
    ):
        cluster.api.ok("POST", f"{RESOURCES}/namespaces/{namespace}/resourceclaimtemplates", template)
        put(cluster, namespace, with_pod("a", class_, count=2))
        cluster.wait_ready(namespace, "a")
        claims = cluster.api.ok("GET", f"{RESOURCES}/namespaces/{namespace}/resourceclaims")["items"]
        assert len(claims) == 2
        assert all(each["status"]["allocation"] for each in claims)
        put(cluster, namespace, with_pod("a", class_, count=2, replicas=2))
        told = unschedulable(cluster, namespace, "Unschedulable", "cannot allocate all claims")
        assert told["Schedulable"]["message"].startswith(
            'class "dra" (2 of ResourceClaimTemplate one-gpu a replica): 0/2 nodes are available: '
        )
        assert told["Ready"]["status"] == "True"


def test_a_claim_template_that_is_missing(cluster: OperatorCluster) -> None:
    with (
        accelerator_class(cluster, "dra", resourceClaimTemplate="missing") as class_,
        cluster.namespace("dra-missing") as namespace,
    ):
        put(cluster, namespace, with_pod("a", class_))
        _wait_for_a_pod(cluster, namespace)
        # The scheduler does not look at such a pod, and says nothing.
        assert conditions(cluster, namespace)["Schedulable"]["message"] == (
            'replicas are on their way to a node; they need a ResourceClaimTemplate "missing" in this namespace'
        )
