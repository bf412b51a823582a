"""What a plan is made from, and what it is: plain frozen data. The reconciler fills a snapshot from its caches.

Cached inputs are parsed and projected once per resourceVersion (`api.kinds.parse`, `child_of`, `pod_of`) and shared
between snapshots; nothing in here is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from insource.api import meta
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import Misfit, Resource
from insource.api.model_deployment import ModelDeploymentSpec
from insource.api.vendor import VendorSpec
from insource.domain.pod_troubles import (
    NO_TROUBLE,
    Trouble,
    container_trouble,
    is_downloading,
    scheduling_trouble,
    unanswered_s,
)
from insource.domain.problem import Problem
from insource.domain.served_names import Claim, admissions_of
from insource.wire.gateway import ModelsReport

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON."""
ModelDeployment = Resource[ModelDeploymentSpec]
Vendor = Resource[VendorSpec]
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How models are downloaded in this installation. It reaches a backend with its next revision."""

    cidrs: tuple[str, ...] = ()
    """Address ranges beside the public ones that a download may ask (`10.20.0.0/16`); network policies open these."""
    hf_endpoint: str = "https://huggingface.co"
    """Where `hf://` sources are: Hugging Face, or a mirror of it."""
    proxy: str = ""
    """`http://[user:password@]host:port`, asked to connect to every source but those of `no_proxy`."""
    no_proxy: tuple[str, ...] = ()
    ca_config_map: str = ""
    """ConfigMap in each namespace whose certificates (PEM) downloads trust, too; it may be missing."""
    network_policies: bool = False
    """Apply NetworkPolicies in every namespace with adapters or in-house pods."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the installation decides."""

    image: str
    """Our own image: the adapters'."""
    ledger_url: str
    gateway_url: str = ""
    """Base URL that clients use; empty: unknown, so no endpoint is shown."""
    system_namespace: str = meta.SYSTEM_NAMESPACE
    max_body_bytes: int = 32 * 1024 * 1024
    revision_history_limit: int = 5
    image_registry: str = ""
    """Prefix that takes the place of the registry's host in the runtimes' images; empty: as the runtimes say."""
    image_pull_secrets: tuple[str, ...] = ()
    """Of every pod that we render."""
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All cluster-scoped references, by name. One instance is shared by all snapshots."""

    models: Mapping[str, Resource[CatalogModelSpec]] = field(default_factory=dict)
    runtimes: Mapping[str, Resource[InferenceRuntimeSpec]] = field(default_factory=dict)
    classes: Mapping[str, Resource[AcceleratorClassSpec]] = field(default_factory=dict)
    unfit_models: Mapping[str, str] = field(default_factory=dict)
    """Those that exist but do not fit their kind: name -> what is wrong with them."""
    unfit_runtimes: Mapping[str, str] = field(default_factory=dict)
    unfit_classes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Child:
    """A live object that we own: `child_of` makes one."""

    kind: str
    name: str
    uid: str = ""
    applied: str = ""
    """Annotation `meta.ANNOTATION_APPLIED`: digest of what was last applied."""
    labels: Mapping[str, str] = field(default_factory=dict)
    desired: int = 0
    """ReplicaSet or Deployment: spec.replicas."""
    ready: int = 0
    """ReplicaSet or Deployment: status.readyReplicas (of a Deployment 0 until its generation has been observed)."""
    message: str = ""
    """ReplicaSet or Deployment: why it cannot create pods (ReplicaFailure: a quota's own words)."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """ControllerRevision or ConfigMap: its data."""
    order: int = 0
    """ControllerRevision: its revision number."""
    live: Mapping[str, Any] | None = None
    """The whole object, if it is at hand: then fields that somebody else changed are found and repaired too."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What matters of one pod: `pod_of` makes one."""

    name: str
    backend: str = ""
    revision: str = ""
    vendor: str = ""
    unscheduled: Trouble = NO_TROUBLE
    """Why it has no node, in the scheduler's own words."""
    trouble: Trouble = NO_TROUBLE
    """Why a container cannot run (image pull, crash loop, bad configuration), without counters."""
    unanswered_s: float | None = None
    """So long its server ran before it was ended, without having answered once."""
    downloading: bool = False
    """Its model is on its way."""


@dataclass(frozen=True, slots=True)
class VendorAdapter:
    """What is known of one Vendor's adapter."""

    ready: int = 0
    """Ready replicas of its Deployment."""
    credentials_resolved: bool | None = None
    """None: not known yet, or nobody could be asked."""
    credentials_message: str = ""
    models: ModelsReport | None = None
    """What the vendor's list of models says; None: not known yet, or there is none to be had."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a workload was made from and what became of it: by this a later plan sees that it need not build it again.

    Spec and catalogue are compared by identity: parsed once, they are the same until they change.
    """

    spec: ModelDeploymentSpec
    catalogue: Catalogue
    name: str
    revision: str
    applied: tuple[tuple[str, str], ...]
    """Of each of its objects the kind, and the digest in `meta.ANNOTATION_APPLIED`."""
    request_timeout_s: int


@dataclass(frozen=True, slots=True)
class DeploymentSnapshot:
    """All that `plan_deployment` looks at."""

    deployment: ModelDeployment
    catalogue: Catalogue
    vendors: Mapping[str, Vendor]
    """Of the deployment's namespace, by name."""
    unfit_vendors: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """Those that exist but do not fit their kind: name -> what is wrong with them."""
    refused: Problem | None = field(default=None, kw_only=True)
    """What the API server refused when the plan was carried out, if it did."""
    settings: Settings
    now: str
    """RFC 3339, whole seconds, UTC, as in `2026-11-23T20:00:00Z`: the transition time of conditions that change."""
    children: tuple[Child, ...] = ()
    """Deployments, Services and ControllerRevisions labelled with this deployment (and not being deleted)."""
    pods: tuple[Pod, ...] = ()
    vendor_adapters: Mapping[str, VendorAdapter] = field(default_factory=dict)
    """By Vendor name."""
    outline: Outline | None = None
    """Of an earlier plan."""
    gateway_versions: tuple[int, ...] = ()
    """For each gateway the `status.traffic.version` of this deployment that it has applied; -1 for one that does
    not say. Empty: no gateway is configured, so nothing waits for one."""
    rivals: Mapping[str, tuple[Claim, ...]] = field(default_factory=dict)
    """For each of its `servedNames` the other ModelDeployments that may answer to it."""


@dataclass(frozen=True, slots=True)
class VendorSnapshot:
    """All that `plan_vendor` looks at."""

    vendor: Vendor
    deployments: tuple[ModelDeployment, ...]
    """Every ModelDeployment of the namespace (those that do not use this Vendor are passed over)."""
    settings: Settings
    now: str
    children: tuple[Child, ...] = ()
    """Deployment, Service and ConfigMap labelled with this Vendor."""
    pods: tuple[Pod, ...] = ()
    adapter: VendorAdapter = field(default_factory=VendorAdapter)
    catalogue: Catalogue = field(default_factory=Catalogue)
    unfit_deployments: tuple[Misfit, ...] = ()
    """ModelDeployments that do not fit their kind, but whose traffic this Vendor still takes."""
    refused: Problem | None = None
    """What the API server refused when the plan was carried out, if it did."""


@dataclass(frozen=True, slots=True)
class NamespaceSnapshot:
    """All that `plan_namespace` looks at: a namespace with at least one ModelDeployment or Vendor."""

    namespace: str
    token_digests: tuple[str, ...]
    """SHA-256 (hex) of each gateway token that is valid here; `identity.token_digest` makes them."""
    children: tuple[Child, ...] = ()
    """The ServiceAccount, ConfigMap and NetworkPolicies, if they exist."""
    settings: Settings | None = None
    """None: NetworkPolicies are left alone, as where they are switched off."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to delete, in the background."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    """Precondition, if known."""


@dataclass(frozen=True, slots=True)
class Event:
    """An events.k8s.io/v1 event about the planned object."""

    type: str
    """Normal or Warning."""
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: applies, status, events, deletes. A failure ends it; the next run goes on."""

    applies: tuple[Manifest, ...] = ()
    """Only what differs from what is live. Never change them in place: they may be shared."""
    deletes: tuple[Deletion, ...] = ()
    status: Manifest | None = None
    """The whole new status; None: it stands as it is."""
    events: tuple[Event, ...] = ()
    outline: Outline | None = None
    """For the next snapshot: worth remembering, never needed."""
    requeue_after_s: float | None = None
    """Look again after this time even if nothing happens; None: only events matter."""

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not self.applies and not self.deletes and self.status is None


NO_PLAN = Plan()


def claim_of(deployment: ModelDeployment) -> Claim:
    """As one that may answer to a model's name."""
    access = deployment.spec.access
    return Claim(
        deployment.namespace,
        deployment.name,
        deployment.created,
        admissions_of(deployment.namespace, access.clients if access else ()),
    )


def child_of(obj: Mapping[str, Any], *, keep_live: bool = False) -> Child:
    """The projection of a live ReplicaSet, Deployment, Service, ControllerRevision, ConfigMap or ServiceAccount.

    `keep_live` keeps the object itself, for the comparison field by field; it costs memory (10 KB a ReplicaSet).
    """
    metadata = obj["metadata"]
    kind = str(obj.get("kind", ""))
    spec, status = obj.get("spec") or NOTHING, obj.get("status") or NOTHING
    has_pods, is_revision = kind in ("ReplicaSet", "Deployment"), kind == "ControllerRevision"
    observed = int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0))
    return Child(
        kind=kind,
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        applied=(metadata.get("annotations") or NOTHING).get(meta.ANNOTATION_APPLIED, ""),
        labels=metadata.get("labels") or NOTHING,
        desired=int(spec.get("replicas", 1)) if has_pods else 0,
        ready=_ready_replicas(kind, spec, status, observed=observed) if has_pods else 0,
        message=_replica_failure(status) if has_pods else "",
        data=obj.get("data") or NOTHING if is_revision or kind == "ConfigMap" else NOTHING,
        order=int(obj.get("revision", 0)) if is_revision else 0,
        live=obj if keep_live else None,
    )


def _ready_replicas(kind: str, spec: Mapping[str, Any], status: Mapping[str, Any], *, observed: bool) -> int:
    """Of a Deployment, only those of the present template. A ReplicaSet's never changes: scaling makes none unready."""
    ready = int(status.get("readyReplicas") or 0)
    if kind == "ReplicaSet":
        return min(ready, int(spec.get("replicas", 1)))
    return ready if observed else 0


def _replica_failure(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message", ""))
    return ""


def pod_of(obj: Mapping[str, Any]) -> Pod:
    """The projection of a live pod."""
    metadata, status = obj["metadata"], obj.get("status") or NOTHING
    labels = metadata.get("labels") or NOTHING
    if "deletionTimestamp" in metadata or status.get("phase") in ("Failed", "Succeeded"):
        status = NOTHING  # deleted, or evicted: what kept it is no longer in anybody's way
    return Pod(
        name=metadata["name"],
        backend=labels.get(meta.LABEL_BACKEND, ""),
        revision=labels.get(meta.LABEL_REVISION, ""),
        vendor=labels.get(meta.LABEL_VENDOR, ""),
        unscheduled=scheduling_trouble(obj.get("spec") or NOTHING, status),
        trouble=container_trouble(status),
        unanswered_s=unanswered_s(status),
        downloading=is_downloading(status),
    )
