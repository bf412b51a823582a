"""The operator has exactly its role: nothing that it asks is denied, and no verb is there for nothing."""

from __future__ import annotations

import pytest

from insource.api.meta import SYSTEM_NAMESPACE
from insource.cli.roles import component_roles, user
from insource.kube.resources import (
    ACCELERATOR_CLASSES,
    CATALOG_MODELS,
    INFERENCE_RUNTIMES,
    PRICE_BOOKS,
    REPLICA_SETS,
    VENDORS,
)
from tests.operators.cluster import FIRST, LEASE, OperatorCluster

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("operators")]
CATALOGUE = (CATALOG_MODELS, INFERENCE_RUNTIMES, ACCELERATOR_CLASSES, PRICE_BOOKS)
EDITS = 8
"""Then there are more revisions than are kept for a way back, and the oldest one goes, too."""
Right = tuple[str, str, str]
"""(verb, group, resource with its subresource)."""


def granted() -> set[Right]:
    roles = [obj for _, obj in component_roles("operator", SYSTEM_NAMESPACE, user(FIRST)) if "rules" in obj]
    return {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def used(cluster: OperatorCluster, position: int) -> set[Right]:
    asked = [each for each in cluster.audit.since(position, FIRST) if each.is_about_a_resource]
    # An apply that makes the object needs both.
    made = {("create", each.group, each.resource) for each in asked if each.verb == "patch" and each.code == 201}
    return made | {(each.verb, each.group, each.resource) for each in asked}


def vendor(namespace: str) -> dict[str, object]:
    credentials = {"secretRef": {"name": "key", "key": "key"}}
    return {
        "apiVersion": VENDORS.api_version,
        "kind": VENDORS.kind,
        "metadata": {"name": "v", "namespace": namespace},
        "spec": {"dialect": "OpenAI", "endpoint": "https://api.example.com/v1", "credentials": credentials},
    }


def test_its_role_is_enough_and_not_more(cluster: OperatorCluster) -> None:
    assert not [right for right in granted() if "secrets" in right[2] or "*" in right], "nothing on Secrets, no *"
    for kind in CATALOGUE:
        cluster.api.ok("DELETE", kind.path())
    cluster.api.request("DELETE", LEASE)
    position = cluster.audit.position()
    with cluster.namespace("role") as namespace:

        def revisions() -> set[str]:
            names = {each["metadata"]["name"] for each in cluster.children(namespace, REPLICA_SETS)}
            return {name for name in names if name.startswith("m-")}

        with cluster.operator():
            cluster.api.ok("POST", VENDORS.path(namespace), vendor(namespace))
            cluster.serve(namespace, "m")
            for slots in range(2, 2 + EDITS):
                before = revisions()
                cluster.edit(namespace, "m", slots)
                cluster.wait_ready(namespace, "m")
                cluster.wait(lambda b=before: len(revisions()) == 1 and revisions() != b, "one new ReplicaSet")  # type: ignore[misc]
        # A watch is in the audit log once it has ended.
        cluster.wait(lambda: used(cluster, position) >= granted(), "the use of every right")
        assert used(cluster, position) == granted()
