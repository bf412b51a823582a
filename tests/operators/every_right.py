"""What an operator must be made to do so that it uses every right it has, and which rights it has used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from insource.kube.resources import (
    ACCELERATOR_CLASSES,
    CATALOG_MODELS,
    INFERENCE_RUNTIMES,
    PRICE_BOOKS,
    REPLICA_SETS,
    VENDORS,
)
from tests.cluster.audit import Request
from tests.operators.cluster import LEASE, OperatorCluster

CATALOGUE = (CATALOG_MODELS, INFERENCE_RUNTIMES, ACCELERATOR_CLASSES, PRICE_BOOKS)
EDITS = 8
"""Then there are more revisions than are kept for a way back, and the oldest one goes, too."""
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
