"""CRDs of another release, newer or older than the operator that runs: what is stored stays, nobody writes for ever."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from insource.kube.resources import REPLICA_SETS
from tests.operators.cluster import ROOT, OperatorCluster
from tests.servers import APPLY, MERGE

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators-crd-versions")]
NAME = "modeldeployments.insource.dev"
CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}"
STATUS_WRITES = 12
"""More than any object needs from its creation to Ready."""


def ours() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "crds" / f"{NAME}.yaml").read_text()))


def schema(crd: dict[str, Any], part: str) -> dict[str, Any]:
    """The properties of `spec` or `status`."""
    top = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return dict[str, Any](top[part])["properties"]  # type: ignore[no-any-return]


@contextmanager
def served(cluster: OperatorCluster, crd: dict[str, Any]) -> Iterator[None]:
    """`crd` instead of ours, until the block ends."""

    def put(wanted: dict[str, Any]) -> None:
        cluster.api.ok("PATCH", f"{CRD}?fieldManager=test&force=true", wanted, APPLY)

    put(crd)
    try:
        yield
    finally:
        put(ours())


def test_an_older_operator_leaves_what_a_newer_crd_knows(cluster: OperatorCluster) -> None:
    newer = copy.deepcopy(ours())
    schema(newer, "spec")["newOption"] = {"type": "string"}
    schema(newer, "spec")["modality"]["enum"].append("Smell")
    with cluster.namespace("newer") as namespace, cluster.operator(), served(cluster, newer):
        cluster.create(namespace, "a")
        path = cluster.path(namespace, "a")

        def stored() -> bool:
            cluster.api.ok("PATCH", path, {"spec": {"newOption": "x"}}, MERGE)
            return bool(cluster.api.ok("GET", path)["spec"].get("newOption") == "x")

        cluster.wait(stored, "the new field")
        strange = cluster.api.ok("GET", path)
        strange = {**strange, "metadata": {"name": "strange"}, "spec": {**strange["spec"], "modality": "Smell"}}
        cluster.api.ok("POST", path.rpartition("/")[0], strange)
        cluster.wait_ready(namespace, "a")
        cluster.edit(namespace, "a", 2)
        cluster.wait_ready(namespace, "a")
        cluster.rest()
        assert cluster.api.ok("GET", path)["spec"]["newOption"] == "x"
        told = cluster.api.ok("GET", cluster.path(namespace, "strange"))["status"]["conditions"]
        (ready,) = (each for each in told if each["type"] == "Ready")
        assert ready["status"] == "False"
        assert "modality" in ready["message"]


def test_a_newer_operator_does_not_write_for_ever_what_an_older_crd_drops(cluster: OperatorCluster) -> None:
    older = copy.deepcopy(ours())
    for name in ("backends", "endpoint", "revisions"):
        del schema(older, "status")[name]
    with cluster.namespace("older") as namespace:
        with cluster.operator(), served(cluster, older):
            cluster.create(namespace, "a")
            position = cluster.audit.position()
            cluster.wait(lambda: bool(cluster.children(namespace, REPLICA_SETS)), "a ReplicaSet")
            cluster.rest()
            statuses = [each for each in cluster.work(position) if each.resource == "modeldeployments/status"]
            assert len(statuses) <= STATUS_WRITES
            before = cluster.audit.position()
            cluster.rest()
            assert cluster.work(before) == []
        replica_sets = [each["metadata"]["uid"] for each in cluster.children(namespace, REPLICA_SETS)]
        # The CRD is upgraded, the operator comes again: the same ReplicaSet, and the status whole.
        with cluster.operator():
            cluster.wait_ready(namespace, "a")
            path = cluster.path(namespace, "a")
            cluster.wait(lambda: bool(cluster.api.ok("GET", path)["status"].get("revisions")), "the whole status")
            cluster.rest()
        assert [each["metadata"]["uid"] for each in cluster.children(namespace, REPLICA_SETS)] == replica_sets
