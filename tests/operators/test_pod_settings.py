"""Every field of `inHouse.pod` on API servers: taken as it is, rendered into a ReplicaSet, or refused with words."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from insource.kube.resources import MODEL_DEPLOYMENTS, REPLICA_SETS, SERVICE_ACCOUNTS
from tests.model_deployments import model_deployment
from tests.operators.cluster import OperatorCluster
from tests.operators.pair import Operator
from tests.pod_settings import EVERYTHING
from tests.servers import MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-pod-settings")]
Object = dict[str, Any]
KEY = {"secretKeyRef": {"name": "s", "key": "k"}}
_NOT_EVERYWHERE = ("affinity", "priorityClassName")
"""What no node of these tests satisfies, and what a cluster must have."""


@pytest.fixture(scope="module")
def operator(cluster: OperatorCluster) -> Iterator[Operator]:
    with cluster.operator() as running:
        yield running


def post(cluster: OperatorCluster, namespace: str, name: str, pod: Object) -> Any:
    """As kubectl does: a field that the schema does not know is refused."""
    path = f"{MODEL_DEPLOYMENTS.path(namespace)}?fieldValidation=Strict"
    return cluster.api.request("POST", path, model_deployment(name, pod=pod))


def account(cluster: OperatorCluster, namespace: str) -> None:
    """The one that EVERYTHING names: it is not ours to make."""
    metadata = {"name": EVERYTHING["serviceAccountName"]}
    cluster.api.ok("POST", SERVICE_ACCOUNTS.path(namespace), {"metadata": metadata})


def condition(cluster: OperatorCluster, namespace: str, name: str, type_: str) -> Object:
    status = cluster.api.ok("GET", cluster.path(namespace, name)).get("status") or {}
    return next((item for item in status.get("conditions", ()) if item["type"] == type_), {})


def is_within(wanted: Any, got: Any) -> bool:
    """Whether all that is wanted is there; a server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and all(is_within(value, got.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(got, list) and len(wanted) == len(got) and all(map(is_within, wanted, got))
    return bool(wanted == got)


def test_everything_is_kept_and_rendered(cluster: OperatorCluster, operator: Operator) -> None:
    with cluster.namespace("everything") as namespace:
        account(cluster, namespace)
        answer = post(cluster, namespace, "a", EVERYTHING)
        assert answer.status == 201, answer.body
        stored = answer.body["spec"]["backends"][0]["inHouse"]["pod"]
        assert is_within(EVERYTHING, stored), "nothing is pruned"
        cluster.wait(lambda: len(cluster.children(namespace, REPLICA_SETS)) == 1, "a ReplicaSet")
        (replica_set,) = cluster.children(namespace, REPLICA_SETS)
        template = replica_set["spec"]["template"]
        pod, server = template["spec"], template["spec"]["initContainers"][0]
        assert template["metadata"]["labels"]["team"] == "speech"
        assert template["metadata"]["annotations"]["example.com/note"] == "by night"
        assert pod["serviceAccountName"] == EVERYTHING["serviceAccountName"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["imagePullSecrets"] == EVERYTHING["imagePullSecrets"]
        assert pod["priorityClassName"] == EVERYTHING["priorityClassName"]
        assert is_within(EVERYTHING["affinity"], pod["affinity"])
        assert is_within(EVERYTHING["topologySpreadConstraints"], pod["topologySpreadConstraints"])
        assert is_within(EVERYTHING["nodeSelector"], pod["nodeSelector"])
        assert is_within(EVERYTHING["tolerations"], pod["tolerations"][-1:])
        assert is_within(EVERYTHING["volumes"], pod["volumes"][-4:])
        wanted = EVERYTHING["server"]
        assert is_within(wanted["env"], server["env"][-3:])
        assert server["envFrom"] == wanted["envFrom"]
        assert is_within(wanted["volumeMounts"], server["volumeMounts"][-4:])
        assert is_within(wanted["resources"], server["resources"])
        assert server["args"][-1:] == wanted["extraArgs"]
        assert is_within(EVERYTHING["adapter"]["resources"], pod["containers"][0]["resources"])
        # No node satisfies all of it, and that is said.
        cluster.wait(lambda: condition(cluster, namespace, "a", "Schedulable").get("status") == "False", "a reason")
        assert condition(cluster, namespace, "a", "Stalled") == {}


def test_a_pod_with_settings_gets_ready(cluster: OperatorCluster, operator: Operator) -> None:
    settings = {key: value for key, value in EVERYTHING.items() if key not in _NOT_EVERYWHERE}
    settings["volumes"] = [each for each in EVERYTHING["volumes"] if each["name"] != "data"]
    mounts = [each for each in EVERYTHING["server"]["volumeMounts"] if each["name"] != "data"]
    settings["server"] = {**EVERYTHING["server"], "volumeMounts": mounts}
    with cluster.namespace("settings") as namespace:
        account(cluster, namespace)
        assert post(cluster, namespace, "a", settings).status == 201
        cluster.wait_ready(namespace, "a")
        (pod,) = cluster.api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        assert pod["spec"]["serviceAccountName"] == EVERYTHING["serviceAccountName"]
        tokens = [each for each in pod["spec"]["volumes"] if each["name"].startswith("kube-api-access")]
        assert tokens == [], "no token for the API server"
        (before,) = cluster.children(namespace, REPLICA_SETS)
        position = cluster.rest()
        settings["labels"] = {"team": "images"}
        spec = {"spec": model_deployment("a", pod=settings)["spec"]}
        cluster.api.ok("PATCH", cluster.path(namespace, "a"), spec, MERGE)

        def is_replaced() -> bool:
            (*others,) = cluster.children(namespace, REPLICA_SETS)
            return len(others) == 1 and others[0]["metadata"]["uid"] != before["metadata"]["uid"]

        cluster.wait(is_replaced, "the new revision alone")
        assert cluster.work(position), "a change of settings is a new revision"
        (after,) = cluster.children(namespace, REPLICA_SETS)
        assert after["spec"]["template"]["metadata"]["labels"]["team"] == "images"


IN_A_ZONE = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["nowhere"]}]}
IN_THE_ZONE = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [IN_A_ZONE]}}}


@pytest.mark.parametrize(
    "pod", [{"nodeSelector": {"zone": "nowhere"}}, {"affinity": IN_THE_ZONE}], ids=["node-selector", "affinity"]
)
def test_where_pods_may_run(cluster: OperatorCluster, operator: Operator, pod: Object) -> None:
    path = "/api/v1/nodes/fake-001"
    with cluster.namespace(f"where-{'affinity' if 'affinity' in pod else 'selector'}") as namespace:
        assert post(cluster, namespace, "a", pod).status == 201
        cluster.wait(lambda: condition(cluster, namespace, "a", "Schedulable").get("status") == "False", "a reason")
        told = condition(cluster, namespace, "a", "Schedulable")
        assert told["reason"] == "Unschedulable"
        assert told["message"].startswith('class "nvidia-l4" (1 nvidia.com/gpu a replica): 0/')
        assert "node(s) didn't match Pod's node affinity/selector" in told["message"]
        cluster.api.ok("PATCH", path, {"metadata": {"labels": {"zone": "nowhere"}}}, MERGE)
        try:
            cluster.wait_ready(namespace, "a")
        finally:
            cluster.api.ok("PATCH", path, {"metadata": {"labels": {"zone": None}}}, MERGE)
        assert condition(cluster, namespace, "a", "Schedulable")["status"] == "True"
        (pod_there,) = cluster.api.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        assert pod_there["spec"]["nodeName"] == "fake-001"


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"serviceAccountName": "Admin"}, "serviceAccountName"),
        ({"serviceAccountName": "system:admin"}, "serviceAccountName"),
        ({"automountServiceAccountToken": True}, "automountServiceAccountToken"),
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "a"}]}, "set exactly one of configMap, secret, persistentVolumeClaim, emptyDir"),
        ({"server": {"envFrom": [{}]}}, "set exactly one of configMapRef, secretRef"),
        ({"server": {"env": [{"name": "A", "valueFrom": {}}]}}, "set exactly one of configMapKeyRef, secretKeyRef"),
        ({"labels": {"insource.dev/class": "x"}}, "are ours"),
        ({"annotations": {"insource.dev/count": "9"}}, "are ours"),
        ({"volumes": [{"name": "wal", "emptyDir": {}}]}, "this volume name is ours"),
        ({"server": {"env": [{"name": "POD_IP"}]}}, "told to the server by us"),
        ({"server": {"env": [{"name": "A", "value": "b", "valueFrom": KEY}]}}, "set either value or valueFrom"),
        ({"server": {"volumeMounts": [{"name": "no", "mountPath": "/data"}]}}, "must name one of pod.volumes"),
        ({"tolerations": [{"operator": "Is"}]}, "tolerations"),
        ({"server": {"volumeMounts": [{"name": "a", "mountPath": "data"}]}}, "mountPath"),
        ({"labels": {f"l{number}": "" for number in range(17)}}, "labels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_schema_refuses(cluster: OperatorCluster, pod: Object, words: str) -> None:
    answer = post(cluster, "default", "a", pod)
    assert answer.status in (400, 422), answer.body
    assert words in answer.body["message"]


def test_what_the_operator_refuses_leaves_what_serves(cluster: OperatorCluster, operator: Operator) -> None:
    with cluster.namespace("refused") as namespace:
        assert post(cluster, namespace, "a", {}).status == 201
        cluster.wait_ready(namespace, "a")
        (before,) = cluster.children(namespace, REPLICA_SETS)
        mount = {
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "server": {"volumeMounts": [{"name": "scratch", "mountPath": "/tmp/.."}]},
        }
        spec = copy.deepcopy({"spec": model_deployment("a", pod=mount)["spec"]})
        cluster.api.ok("PATCH", cluster.path(namespace, "a"), spec, MERGE)
        cluster.wait(lambda: condition(cluster, namespace, "a", "Stalled") != {}, "Stalled")
        told = condition(cluster, namespace, "a", "Stalled")
        assert told["reason"] == "InvalidSpec"
        assert 'pod.server.volumeMounts[0]: "/tmp/.." cannot be mounted over' in told["message"]
        (after,) = cluster.children(namespace, REPLICA_SETS)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
