"""The kinds of the Kubernetes API that Insource speaks of, as addresses. Knows nothing of their contents."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from typing import Any, NamedTuple

from insource.api.meta import GROUP, VERSION

Object = dict[str, Any]
"""A Kubernetes object as plain JSON."""


class Key(NamedTuple):
    """What names one object of a kind; `namespace` is "" for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    """The key of an object."""
    metadata = obj["metadata"]
    return Key(intern(metadata.get("namespace") or ""), metadata["name"])


def is_newer(version: str, than: str) -> bool:
    """True if one resourceVersion is later than another (decimal texts: longer wins, then the greater text)."""
    return (len(version), version) > (len(than), than)


@dataclass(frozen=True)
class Resource:
    """One kind's address in the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """`group/version`, or only the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        if name:
            path += f"/{name}"
        return f"{path}/{subresource}" if subresource else path


MODEL_DEPLOYMENTS = Resource(GROUP, VERSION, "modeldeployments", "ModelDeployment", namespaced=True)
VENDORS = Resource(GROUP, VERSION, "vendors", "Vendor", namespaced=True)
INFERENCE_RUNTIMES = Resource(GROUP, VERSION, "inferenceruntimes", "InferenceRuntime", namespaced=False)
ACCELERATOR_CLASSES = Resource(GROUP, VERSION, "acceleratorclasses", "AcceleratorClass", namespaced=False)
PRICE_BOOKS = Resource(GROUP, VERSION, "pricebooks", "PriceBook", namespaced=False)
CATALOG_MODELS = Resource(GROUP, VERSION, "catalogmodels", "CatalogModel", namespaced=False)

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod", namespaced=True)
SERVICES = Resource("", "v1", "services", "Service", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", namespaced=True)
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", namespaced=True)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", namespaced=True)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", namespaced=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", namespaced=True)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", namespaced=True)
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True)
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)

_ALL = (
    MODEL_DEPLOYMENTS,
    VENDORS,
    INFERENCE_RUNTIMES,
    ACCELERATOR_CLASSES,
    PRICE_BOOKS,
    CATALOG_MODELS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    SECRETS,
    CONFIG_MAPS,
    SERVICE_ACCOUNTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    CONTROLLER_REVISIONS,
    ENDPOINT_SLICES,
    NETWORK_POLICIES,
    LEASES,
    EVENTS,
    ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    TOKEN_REVIEWS,
)
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in _ALL}


def resource_of(obj: Object) -> Resource:
    """The resource that an object belongs to, by its apiVersion and kind. `KeyError` for one that we never use."""
    return _BY_KIND[obj["apiVersion"], obj["kind"]]
