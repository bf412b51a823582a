"""Reading plain Kubernetes objects: the few questions that controllers and node ask. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

PODS = ("", "pods")
NODES = ("", "nodes")
SERVICES = ("", "services")
EVENTS = ("", "events")
NAMESPACES = ("", "namespaces")
SECRETS = ("", "secrets")
CONFIG_MAPS = ("", "configmaps")
CLAIMS = ("", "persistentvolumeclaims")
SERVICE_ACCOUNTS = ("", "serviceaccounts")
DEPLOYMENTS = ("apps", "deployments")
REPLICA_SETS = ("apps", "replicasets")
ENDPOINT_SLICES = ("discovery.k8s.io", "endpointslices")


def timestamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The other way. Raises ValueError."""
    return datetime.fromisoformat(text)


def controller_uid(held: Mapping[str, Any]) -> str:
    """The uid of the owner that controls the object, or an empty text."""
    for reference in held["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def controller_name(held: Mapping[str, Any], kind: str) -> str:
    """The name of the controlling owner if it is of this kind, or an empty text."""
    for reference in held["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == kind:
            return str(reference["name"])
    return ""


def owner_reference(owner: Mapping[str, Any]) -> Object:
    """A controlling owner reference to `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_terminating(held: Mapping[str, Any]) -> bool:
    return bool(held["metadata"].get("deletionTimestamp"))


def is_over(pod: Mapping[str, Any]) -> bool:
    """The pod has ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def condition(held: Mapping[str, Any], kind: str) -> Object:
    """The status condition of that type, or an empty object."""
    for found in (held.get("status") or {}).get("conditions") or ():
        if found["type"] == kind:
            return dict(found)
    return {}


def is_ready(pod: Mapping[str, Any]) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def matches(selector: Mapping[str, str], labels: Mapping[str, str] | None) -> bool:
    """Every pair of an equality selector is among the labels."""
    held = labels or {}
    return all(held.get(key) == value for key, value in selector.items())


def matches_label_selector(selector: Mapping[str, Any], labels: Mapping[str, str] | None) -> bool:
    """A metav1.LabelSelector: `matchLabels` and `matchExpressions`."""
    held = labels or {}
    return matches(selector.get("matchLabels") or {}, held) and all(
        matches_expression(expression, held) for expression in selector.get("matchExpressions") or ()
    )


def matches_expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """One `{key, operator, values}`, with the operators of label selectors and of node affinity."""
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    value = labels.get(key)
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or not value.lstrip("-").isdigit():
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return False
