"""`insource uninstall --drain`: asked for by a person, with a running operator, on either API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from insource.kube.resources import MODEL_DEPLOYMENTS, REPLICA_SETS
from tests.operators.cluster import USERS, OperatorCluster, operator_cluster
from tests.operators.servers import embedded, real
from tests.servers import MERGE

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("uninstall")]
SERVERS = {"embedded": embedded, "real": real}


PODS = "/api/v1/namespaces/two/pods"
DEPLOYMENTS = {"one": "a", "two": "b"}
"""Namespace -> its ModelDeployment."""


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=pytest.mark.cluster)])
def country(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorCluster]:
    """A cluster with a running operator and two deployments."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        server = stack.enter_context(SERVERS[request.param](folder, USERS))
        cluster = stack.enter_context(operator_cluster(server, folder))
        for namespace in DEPLOYMENTS:
            stack.enter_context(cluster.namespace(namespace))
        stack.enter_context(cluster.operator())
        for namespace, name in DEPLOYMENTS.items():
            cluster.create(namespace, name)
        yield cluster


@pytest.fixture
def town(country: OperatorCluster) -> OperatorCluster:
    """Both serve, whatever a test before has stopped."""
    for namespace, name in DEPLOYMENTS.items():
        country.api.ok("PATCH", MODEL_DEPLOYMENTS.path(namespace, name), {"spec": {"replicas": 1}}, MERGE)
    for namespace, name in DEPLOYMENTS.items():
        country.wait_ready(namespace, name)
    return country


def left_pod(name: str) -> dict[str, object]:
    """A pod of a ModelDeployment that nobody looks after; no node takes it, so its status is whatever the test says."""
    labels = {"app.kubernetes.io/managed-by": "insource", "insource.dev/deployment": "gone"}
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"there-is": "none"}}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def run(kubeconfig: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "insource", "uninstall", "--kubeconfig", kubeconfig, *flags],
        env=os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def replicas(town: OperatorCluster, namespace: str, name: str) -> int:
    return int(town.api.ok("GET", MODEL_DEPLOYMENTS.path(namespace, name))["spec"]["replicas"])


def test_without_drain_it_says_what_does_what(town: OperatorCluster) -> None:
    done = run(town.api.kubeconfig())
    assert done.returncode == 2
    assert "helm uninstall insource --namespace insource-system" in done.stderr
    assert "--drain" in done.stderr


def test_nobody_is_stopped_by_a_script_that_does_not_say_yes(town: OperatorCluster) -> None:
    done = run(town.api.kubeconfig(), "--drain")
    assert done.returncode == 2
    assert "this stops 2 ModelDeployments (one/a, two/b): say --yes" in done.stderr
    assert replicas(town, "one", "a") == 1


def test_an_unknown_context_is_named(town: OperatorCluster) -> None:
    done = run(town.api.kubeconfig(), "--drain", "--yes", "--context", "elsewhere")
    assert done.returncode == 1
    assert "elsewhere" in done.stderr


def test_one_namespace_is_drained_and_what_it_had_is_told(town: OperatorCluster) -> None:
    done = run(town.api.kubeconfig(), "--drain", "--yes", "--json", "-n", "one")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["drained"] == [{"namespace": "one", "name": "a", "replicas": 1}]
    assert replicas(town, "one", "a") == 0
    assert replicas(town, "two", "b") == 1
    pods = town.api.ok("GET", "/api/v1/namespaces/one/pods")["items"]
    assert [pod for pod in pods if "insource.dev/deployment" in pod["metadata"]["labels"]] == []


def test_everything_is_drained(town: OperatorCluster) -> None:
    done = run(town.api.kubeconfig(), "--drain", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["one/a: 1 -> 0", "two/b: 1 -> 0"]
    assert done.stdout.splitlines()[-1] == (
        "Nothing is served any more. Next: helm uninstall insource --namespace insource-system"
    )
    for namespace in DEPLOYMENTS:
        assert [each["spec"]["replicas"] for each in town.children(namespace, REPLICA_SETS)] == [0]
    again = run(town.api.kubeconfig(), "--drain", "--yes")
    assert (again.returncode, len(again.stdout.splitlines())) == (0, 1), "it can be run again"


def test_who_has_no_operator_is_told_so(town: OperatorCluster) -> None:
    town.api.ok("POST", PODS, left_pod("left"))
    done = run(town.api.kubeconfig(), "--drain", "--yes", "--timeout", "1")
    assert done.returncode == 1
    assert "1 pod is still there after 1 s: two/left. Is the operator running" in done.stderr
    town.api.ok("DELETE", f"{PODS}/left?gracePeriodSeconds=0")


def test_a_pod_that_was_evicted_is_not_waited_for(town: OperatorCluster) -> None:
    """It has ended; its ReplicaSet neither counts nor deletes it."""
    town.api.ok("POST", PODS, left_pod("evicted"))
    town.api.ok("PATCH", f"{PODS}/evicted/status", {"status": {"phase": "Failed", "reason": "Evicted"}}, MERGE)
    done = run(town.api.kubeconfig(), "--drain", "--yes", "--timeout", "30")
    assert done.returncode == 0, done.stderr
    town.api.ok("DELETE", f"{PODS}/evicted?gracePeriodSeconds=0")
