"""What an operator must be made to do so that it uses every right it has, and which rights it has used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from insource.kube.resources import (
    ACCELERATOR_CLASSES,
    CATALOG_MODELS,
    INFERENCE_RUNTIMES,
    PRICE_BOOKS,
    REPLICA_SETS,
    VENDORS,
    Resource,
)
from tests.cluster.audit import Request
from tests.operators.cluster import LEASE, OperatorCluster
from tests.servers import JSON_PATCH

CATALOGUE = (CATALOG_MODELS, INFERENCE_RUNTIMES, ACCELERATOR_CLASSES, PRICE_BOOKS)
EDITS = 8
"""Then there are more revisions than are kept for a way back, and the oldest one goes, too."""
UNREADABLE = {"sources": 7, "entries": 7}
"""A spec that fits no kind of the catalogue."""
Right = tuple[str, str, str]
"""(verb, group, resource with its subresource)."""


def of_rules(rules: Iterable[Mapping[str, Any]]) -> set[Right]:
    """What the rules of roles grant."""
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def used(requests: Iterable[Request]) -> set[Right]:
    """What these requests needed."""
    asked = [each for each in requests if each.is_about_a_resource]
    # An apply that makes the object needs both.
    made = {("create", each.group, each.resource) for each in asked if each.verb == "patch" and each.code == 201}
    return made | {(each.verb, each.group, each.resource) for each in asked}


def exercise(cluster: OperatorCluster, namespace: str, operator: AbstractContextManager[object]) -> None:
    """Everything that an operator does, from the catalogue to the end of the last revision; it has ended then."""
    for kind in CATALOGUE:
        cluster.api.ok("DELETE", kind.path())
    cluster.api.request("DELETE", LEASE)

    def revisions() -> set[str]:
        names = {each["metadata"]["name"] for each in cluster.children(namespace, REPLICA_SETS)}
        return {name for name in names if name.startswith("m-")}

    with operator:
        for kind in CATALOGUE:
            misfit_is_told(cluster, kind)
        cluster.api.ok("POST", VENDORS.path(namespace), _vendor(namespace))
        cluster.serve(namespace, "m")
        for slots in range(2, 2 + EDITS):
            before = revisions()
            cluster.edit(namespace, "m", slots)
            cluster.wait_ready(namespace, "m")
            cluster.wait(lambda b=before: len(revisions()) == 1 and revisions() != b, "one new ReplicaSet")  # type: ignore[misc]


def _vendor(namespace: str) -> dict[str, object]:
    credentials = {"secretRef": {"name": "key", "key": "key"}}
    return {
        "apiVersion": VENDORS.api_version,
        "kind": VENDORS.kind,
        "metadata": {"name": "v", "namespace": namespace},
        "spec": {"dialect": "OpenAI", "endpoint": "https://api.example.com/v1", "credentials": credentials},
    }


def misfit_is_told(cluster: OperatorCluster, kind: Resource) -> None:
    """An object that came by another release's schema: the operator cannot read it, and its status says so."""
    with _any_spec(cluster, kind):
        cluster.api.ok("POST", kind.path(), _misfit(kind))
        try:
            cluster.wait(lambda: _is_stalled(cluster, kind), f"what is wrong with a {kind.kind}")
        finally:
            cluster.api.ok("DELETE", kind.path(name="misfit"))


def _misfit(kind: Resource) -> dict[str, Any]:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "misfit"},
        "spec": UNREADABLE,
    }


def _is_stalled(cluster: OperatorCluster, kind: Resource) -> bool:
    status = cluster.api.ok("GET", kind.path(name="misfit")).get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    return conditions.get("Stalled", {}).get("reason") == "InvalidSpec"


@contextmanager
def _any_spec(cluster: OperatorCluster, kind: Resource) -> Iterator[None]:
    """The kind's CRD takes anything for a spec."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.{kind.group}"
    where = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
    before = cluster.api.ok("GET", path)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def put(schema: Any) -> None:
        patch = [{"op": "replace", "path": where, "value": schema}]
        cluster.api.ok("PATCH", path, patch, JSON_PATCH)

    put({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    dry = f"{kind.path()}?dryRun=All"
    cluster.wait(lambda: cluster.api.request("POST", dry, _misfit(kind)).status == 201, "the schema")
    try:
        yield
    finally:
        put(before)
