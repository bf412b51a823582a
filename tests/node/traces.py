"""What the tests have made in a cluster, found and removed: one that somebody else runs is left as it was."""

from __future__ import annotations

import json
from typing import Any

from tests.node.kubectl import Kubectl, until
from tests.node.packages import call
from tests.node.places import NodeError

NAMESPACES = ("insource-system", "voice", "node-web", "node-claim", "node-gpus")
"""Every namespace that a test makes."""
_MACHINES = ("Node", "CSINode")
_OBJECTS = ("modeldeployments.insource.dev", "vendors.insource.dev")
_NAME = "insource"


def traces(kubectl: Kubectl) -> list[str]:
    """Kind and name of each cluster-scoped object of the product or a test, namespaces and volumes included."""
    kinds = kubectl("api-resources", "--namespaced=false", "--verbs=list", "--output=name").split()
    # A kind that goes away while we ask is one that has no object.
    found = kubectl("get", ",".join(kinds), "--ignore-not-found", "--output=json")
    return sorted(f"{each['kind']}/{each['metadata']['name']}" for each in _items(found) if _is_ours(each))


def _items(text: str) -> list[dict[str, Any]]:
    return list(json.loads(text)["items"]) if text.strip() else []


def _is_ours(thing: dict[str, Any]) -> bool:
    kind, name = thing["kind"], thing["metadata"]["name"]
    if kind in _MACHINES:
        return False
    if kind == "PersistentVolume":
        return thing["spec"].get("claimRef", {}).get("namespace") in NAMESPACES
    return _NAME in name or (kind == "Namespace" and name in NAMESPACES)


def sweep(kubectl: Kubectl) -> None:
    """Removes all of it, whatever state a test has left it in; nothing to do is no error. Raises NodeError."""
    kinds = kubectl("get", "crd", "--output=name").split()
    ours = [name for name in kinds if name.endswith(".insource.dev")]
    # First, while somebody is there who lets go of them.
    for kind in _OBJECTS:
        if f"customresourcedefinition.apiextensions.k8s.io/{kind}" in ours:
            kubectl("delete", kind, "--all", "--all-namespaces", "--timeout=120s")
    uninstall = ["helm", "uninstall", "insource", "--namespace", "insource-system", "--ignore-not-found", "--wait"]
    call([*uninstall, "--timeout", "300s"], "helm uninstall", env=kubectl.environment())
    # Not before the pods have gone: a namespace that is deleted under one of them is looked at again after half of its
    # grace, which is minutes for a gateway (its agent stays for a minute when there is no ledger any more).
    until(lambda: not _pods(kubectl), "the product's pods have gone", 240)
    kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=120s")
    if ours:
        kubectl("delete", *ours, "--ignore-not-found", "--timeout=120s")


def _pods(kubectl: Kubectl) -> list[str]:
    """Pods that are about to go. Those of a test's own namespaces go with them."""
    return kubectl("get", "pods", "--namespace", "insource-system", "--output=name", "--ignore-not-found").split()


def left(kubectl: Kubectl) -> list[str]:
    """What is there after a sweep: nothing, or a test has made something that nobody knows of."""
    try:
        sweep(kubectl)
        # Volumes and API groups go a moment after what they belong to.
        until(lambda: not traces(kubectl), "nothing is left", 60)
    except NodeError as error:
        return [f"not removed: {error}"]
    except AssertionError:
        return traces(kubectl)
    return []
