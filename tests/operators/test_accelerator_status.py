"""What there is of an AcceleratorClass, on both API servers: nodes come, go and are cordoned, replicas come and go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from insource.kube.resources import ACCELERATOR_CLASSES, MODEL_DEPLOYMENTS
from tests.cluster.kwok import GPUS_PER_NODE
from tests.operators.cluster import OperatorCluster
from tests.servers import MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-accelerator-status")]
L4 = ACCELERATOR_CLASSES.path(name="nvidia-l4")
STATUS = "acceleratorclasses/status"
KUBECTL = Path(sys.executable).with_name("kubectl")


def counts(cluster: OperatorCluster) -> tuple[int | None, int | None, int | None]:
    answer = cluster.api.request("GET", L4)
    status = answer.body.get("status") or {} if answer.status == 200 else {}
    return status.get("nodes"), status.get("allocatable"), status.get("allocated")


def nodes(cluster: OperatorCluster) -> list[str]:
    found = cluster.api.ok("GET", "/api/v1/nodes?labelSelector=type%3Dkwok")["items"]
    return [each["metadata"]["name"] for each in found]


def test_counts_follow_what_there_is(cluster: OperatorCluster) -> None:
    names = nodes(cluster)
    whole = len(names) * GPUS_PER_NODE
    with cluster.namespace("counted") as namespace, cluster.operator():
        cluster.wait(lambda: counts(cluster) == (len(names), whole, 0), "the nodes")
        cluster.serve(namespace, "a")
        cluster.wait(lambda: counts(cluster) == (len(names), whole, 1), "the replica's")
        scale = cluster.path(namespace, "a")
        cluster.api.ok("PATCH", scale, {"spec": {"replicas": 3}}, MERGE)
        cluster.wait(lambda: counts(cluster) == (len(names), whole, 3), "three replicas'")
        columns = printed(cluster)
        assert columns["NODES"] == str(len(names))
        assert (columns["ALLOCATABLE"], columns["ALLOCATED"]) == (str(whole), "3")

        path = f"/api/v1/nodes/{names[0]}"
        cluster.api.ok("PATCH", path, {"spec": {"unschedulable": True}}, MERGE)
        try:
            cluster.wait(lambda: counts(cluster) == (len(names) - 1, whole - GPUS_PER_NODE, 3), "a node less")
        finally:
            cluster.api.ok("PATCH", path, {"spec": {"unschedulable": False}}, MERGE)
        cluster.api.ok("DELETE", MODEL_DEPLOYMENTS.path(namespace, "a"))
        cluster.wait(lambda: counts(cluster) == (len(names), whole, 0), "all of it again")


def test_nothing_is_written_while_nothing_is_new(cluster: OperatorCluster) -> None:
    names = nodes(cluster)
    with cluster.namespace("quiet") as namespace, cluster.operator():
        cluster.serve(namespace, "a")
        cluster.wait(lambda: counts(cluster)[2] == 1, "the replica's")
        position = cluster.rest()
        for name in names:
            note = {"metadata": {"annotations": {"example.com/a": "b"}}}
            cluster.api.ok("PATCH", f"/api/v1/nodes/{name}", note, MERGE)
        cluster.rest()
        assert [each.name for each in cluster.audit.since(position) if each.resource == STATUS] == []


def printed(cluster: OperatorCluster) -> dict[str, str]:
    """The row of `kubectl get`, by column."""
    done = subprocess.run(
        [KUBECTL, "--kubeconfig", cluster.api.kubeconfig(), "get", "acceleratorclass", "nvidia-l4"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    head, row = done.stdout.splitlines()
    return dict(zip(head.split(), row.split(), strict=False))
