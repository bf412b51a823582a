"""What the operator reads of each kind. A field that is not named here is not there for anybody in the reconciler.

Our own kinds' specs are read when their generation is new, their statuses when somebody looks.
"""

from __future__ import annotations

from typing import Any, TypedDict

from insource.kube import resources
from insource.kube.resources import Resource
from insource.kube.shapes import WHOLE, Metadata, Shape, Unread


class OwnMetadata(TypedDict, total=False):
    """Metadata of our own kinds: without annotations, where kubectl keeps the whole object once more."""

    name: str
    namespace: str
    uid: str
    resourceVersion: str
    generation: int
    labels: dict[str, str] | None
    creationTimestamp: str | None
    deletionTimestamp: str


class Own(TypedDict, total=False):
    """One of our own kinds."""

    metadata: OwnMetadata
    spec: Unread
    status: Unread


class _Condition(TypedDict, total=False):
    type: str
    status: str
    message: str | None


class _ReplicaStatus(TypedDict, total=False):
    observedGeneration: int | None
    readyReplicas: int | None
    conditions: list[_Condition] | None


class Replicas(TypedDict, total=False):
    """What is looked at of a ReplicaSet's or Deployment's spec by itself."""

    replicas: int


class _WithPods(TypedDict, total=False):
    metadata: Metadata
    spec: Unread
    status: _ReplicaStatus | None


class _Service(TypedDict, total=False):
    metadata: Metadata
    spec: Unread


class _ControllerRevision(TypedDict, total=False):
    metadata: Metadata
    data: Unread
    revision: int


class _ConfigMap(TypedDict, total=False):
    metadata: Metadata
    data: Unread


class _ServiceAccount(TypedDict, total=False):
    metadata: Metadata
    automountServiceAccountToken: bool | None


class _PodStatus(TypedDict, total=False):
    phase: str | None
    podIP: str | None
    conditions: list[dict[str, Any]] | None
    initContainerStatuses: list[dict[str, Any]] | None
    containerStatuses: list[dict[str, Any]] | None


class _PodSpec(TypedDict, total=False):
    schedulingGates: list[dict[str, Any]] | None
    nodeName: str | None


class _Pod(TypedDict, total=False):
    metadata: Metadata
    spec: _PodSpec
    status: _PodStatus | None


class _NodeMetadata(TypedDict, total=False):
    name: str
    resourceVersion: str
    labels: dict[str, str] | None


class _NodeSpec(TypedDict, total=False):
    taints: list[dict[str, Any]] | None
    unschedulable: bool | None


class _NodeStatus(TypedDict, total=False):
    allocatable: dict[str, str] | None


class _Node(TypedDict, total=False):
    metadata: _NodeMetadata
    spec: _NodeSpec | None
    status: _NodeStatus | None


class _NetworkPolicy(TypedDict, total=False):
    metadata: Metadata
    spec: Unread


_SHAPES: dict[Resource, Shape] = {
    resources.MODEL_DEPLOYMENTS: Own,
    resources.REPLICA_SETS: _WithPods,
    resources.DEPLOYMENTS: _WithPods,
    resources.SERVICES: _Service,
    resources.CONTROLLER_REVISIONS: _ControllerRevision,
    resources.CONFIG_MAPS: _ConfigMap,
    resources.SERVICE_ACCOUNTS: _ServiceAccount,
    resources.NETWORK_POLICIES: _NetworkPolicy,
    resources.PODS: _Pod,
    resources.NODES: _Node,
}


def shape_of(kind: Resource) -> Shape:
    """What is read of a kind."""
    return _SHAPES.get(kind, WHOLE)
