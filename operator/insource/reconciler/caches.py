"""What the operator knows of the cluster, and snapshots of it for the planner. Decides nothing.

Children are kept packed. An object whose spec does not fit its kind is kept as a `Misfit`: it is told so, and what
serves already stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import structlog

from insource.api import meta
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec
from insource.api.fields import Spec
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import Misfit, parse_or_misfit
from insource.api.kinds import Resource as Parsed
from insource.api.model_deployment import SERVING_CLASS_DEFAULT, ModelDeploymentSpec
from insource.api.price_book import PriceBookSpec
from insource.api.vendor import VendorSpec
from insource.domain.accelerators import Node, counts_of, node_of
from insource.domain.snapshot import NOTHING, Catalogue, Child, Pod, child_of, pod_of
from insource.kube import resources
from insource.kube.cache import Cache
from insource.kube.packed import Packed, PackedJson, shared_labels
from insource.kube.resources import Key, Object, Resource
from insource.kube.shapes import Unread, decode, text_of
from insource.reconciler import shapes
from insource.reconciler.names import NameIndex

SpecT = TypeVar("SpecT", bound=Spec)
_log = structlog.get_logger(__name__)

WORKLOADS = (resources.REPLICA_SETS, resources.SERVICES, resources.CONTROLLER_REVISIONS)
"""Children of a ModelDeployment, found by `LABEL_DEPLOYMENT`."""
VENDOR_CHILDREN = (resources.DEPLOYMENTS, resources.SERVICES, resources.CONFIG_MAPS)
"""Children of a Vendor, found by `LABEL_VENDOR`."""
CHILDREN = (*WORKLOADS, resources.DEPLOYMENTS, resources.CONFIG_MAPS, resources.SERVICE_ACCOUNTS)
_REVISION_NOTE = "deployment.kubernetes.io/revision"
_WITH_DATA = (resources.CONTROLLER_REVISIONS, resources.CONFIG_MAPS)
"""Of these the planner looks at the data, too, now and then."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod, as much as anybody here looks at."""

    pod: Pod
    namespace: str
    deployment: str
    """Name of its ModelDeployment, or empty."""
    address: str
    running: bool
    ready: bool
    class_: str = ""
    """Name of the AcceleratorClass of which it has some, or empty."""
    accelerators: int = 0
    """How many it has: from when it has a node until its end."""


def _view(obj: Object) -> PodView:
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    status = obj.get("status") or {}
    class_ = labels.get(meta.LABEL_CLASS, "")
    has_node = bool((obj.get("spec") or {}).get("nodeName")) and status.get("phase") not in ("Failed", "Succeeded")
    return PodView(
        pod=pod_of(obj),
        namespace=metadata.get("namespace") or "",
        deployment=labels.get(meta.LABEL_DEPLOYMENT, ""),
        address=status.get("podIP") or "",
        running=status.get("phase") == "Running" and "deletionTimestamp" not in metadata,
        ready=any(
            item.get("type") == "Ready" and item.get("status") == "True" for item in status.get("conditions") or ()
        ),
        class_=class_,
        accelerators=_count_of(metadata) if class_ and has_node else 0,
    )


def _count_of(metadata: Object) -> int:
    count = (metadata.get("annotations") or {}).get(meta.ANNOTATION_COUNT, "")
    return int(count) if count.isdecimal() else 1


def _groups_of_pod(view: PodView) -> Iterable[Hashable]:
    if view.deployment:
        yield ("deployment", view.namespace, view.deployment)
    if view.pod.vendor:
        yield ("vendor", view.namespace, view.pod.vendor)
    if view.accelerators:
        yield ("class", view.class_)


def _node(obj: Object) -> Node:
    metadata = obj["metadata"]
    return node_of({**obj, "metadata": {**metadata, "labels": shared_labels(metadata.get("labels") or {})}})


def _cache_of_children(kind: Resource) -> Cache[Packed]:
    def project(obj: Object) -> Packed:
        metadata = obj["metadata"]
        metadata["labels"] = shared_labels(metadata.get("labels") or {})
        # Kubernetes' own note on each new Deployment: it would be looked at as if somebody had edited it.
        (metadata.get("annotations") or {}).pop(_REVISION_NOTE, None)
        spec = obj.get("spec")
        read = decode(spec, shapes.Replicas) if isinstance(spec, Unread) else spec
        data = _packed(obj.get("data")) if kind in _WITH_DATA else None
        return Packed(obj, child_of({**obj, "spec": read, "data": data, "kind": kind.kind}))

    return Cache(
        project, _groups_of_child, again=lambda obj, old: project(obj).inherit(old), shape=shapes.shape_of(kind)
    )


def _groups_of_child(child: Packed) -> Iterable[Hashable]:
    name = child.labels.get(meta.LABEL_DEPLOYMENT)
    if name:
        yield ("deployment", child.namespace, name)
    name = child.labels.get(meta.LABEL_VENDOR)
    if name:
        yield ("vendor", child.namespace, name)


def vendors_of(deployment: Parsed[ModelDeploymentSpec] | Misfit | None) -> frozenset[str]:
    """Names of the Vendors that a ModelDeployment uses; of one that does not fit, those that have its traffic."""
    if deployment is None:
        return frozenset()
    if isinstance(deployment, Misfit):
        vendors = (deployment.status.get("traffic") or {}).get("vendors") or {}
        return frozenset(vendor["name"] for vendor in vendors.values())
    return frozenset(backend.vendor.name for backend in deployment.spec.backends if backend.vendor is not None)


def references_of(deployment: Parsed[ModelDeploymentSpec] | Misfit) -> Iterable[Hashable]:
    """`(kind, name)` of everything a ModelDeployment refers to, and `("namespace", its own)`."""
    yield ("namespace", deployment.namespace)
    for name in vendors_of(deployment):
        yield ("Vendor", deployment.namespace, name)
    if isinstance(deployment, Misfit):
        return
    for backend in deployment.spec.backends:
        if backend.in_house is not None:
            yield ("CatalogModel", backend.in_house.model)
            if backend.in_house.runtime:
                yield ("InferenceRuntime", backend.in_house.runtime)
            accelerator = backend.in_house.accelerator
            yield ("AcceleratorClass", accelerator.class_ if accelerator else SERVING_CLASS_DEFAULT)


def _groups_of_vendor(vendor: Parsed[VendorSpec] | Misfit) -> Iterable[Hashable]:
    return (("namespace", vendor.namespace), ("named", vendor.name))


def parser_of(kind: Resource, spec: type[SpecT]) -> Callable[[Object], Parsed[SpecT] | Misfit]:
    """A projection that parses, or tells the log and gives a `Misfit`."""

    def project(obj: Object) -> Parsed[SpecT] | Misfit:
        parsed = parse_or_misfit({"kind": kind.kind, **obj}, spec)
        if isinstance(parsed, Misfit):
            _log.warning(
                "object_does_not_fit_its_kind",
                kind=parsed.kind,
                namespace=parsed.namespace,
                name=parsed.name,
                problem=parsed.problem,
            )
        return parsed

    return project


def _deployments() -> Cache[Parsed[ModelDeploymentSpec] | Misfit]:
    parse = parser_of(resources.MODEL_DEPLOYMENTS, ModelDeploymentSpec)

    def project(obj: Object) -> Parsed[ModelDeploymentSpec] | Misfit:
        return parse(_readable(obj))

    def again(obj: Object, old: Parsed[ModelDeploymentSpec] | Misfit) -> Parsed[ModelDeploymentSpec] | Misfit:
        metadata = obj["metadata"]
        same = (old.uid, old.generation) == (metadata.get("uid"), metadata.get("generation"))
        if isinstance(old, Misfit) or not same:
            return project(obj)
        return replace(
            old,
            resource_version=metadata["resourceVersion"],
            status=_packed(obj.get("status")) or NOTHING,
            labels=shared_labels(metadata.get("labels") or {}),
            deleting="deletionTimestamp" in metadata,
        )

    return Cache(project, references_of, again=again, shape=shapes.shape_of(resources.MODEL_DEPLOYMENTS))


def _readable(obj: Object) -> Object:
    spec, metadata = obj.get("spec"), obj["metadata"]
    return {
        **obj,
        "metadata": {**metadata, "labels": shared_labels(metadata.get("labels") or {})},
        "spec": decode(spec, Any) if isinstance(spec, Unread) else spec,
        "status": _packed(obj.get("status")),
    }


def _packed(value: Any) -> Mapping[str, Any] | None:
    return PackedJson(text_of(value)) if value else None


def split(values: Iterable[Parsed[SpecT] | Misfit]) -> tuple[dict[str, Parsed[SpecT]], dict[str, str]]:
    """Those that fit by name, and what is wrong with each of the others by name."""
    fit: dict[str, Parsed[SpecT]] = {}
    unfit: dict[str, str] = {}
    for value in values:
        if isinstance(value, Misfit):
            unfit[value.name] = value.problem
        else:
            fit[value.name] = value
    return fit, unfit


_Own = Parsed[Any] | Misfit | None


def same_spec(old: _Own, new: _Own) -> bool:
    """Whether a change of one of our own objects was one of its status or metadata only."""
    if old is None or new is None or isinstance(old, Misfit) or isinstance(new, Misfit):
        return False
    return (old.uid, old.generation, old.deleting) == (new.uid, new.generation, new.deleting)


class Caches:
    """One cache per kind. Fed by informers, by kopf, or by a simulation."""

    def __init__(self, more_children: Iterable[Resource] = (), *, nodes: bool = True) -> None:
        """`more_children`: kinds that are looked at beside `CHILDREN`. `nodes`: whether nodes are looked at, too."""
        self.deployments = _deployments()
        self.vendors = Cache(parser_of(resources.VENDORS, VendorSpec), _groups_of_vendor)
        self.models = Cache(parser_of(resources.CATALOG_MODELS, CatalogModelSpec))
        self.runtimes = Cache(parser_of(resources.INFERENCE_RUNTIMES, InferenceRuntimeSpec))
        self.classes = Cache(parser_of(resources.ACCELERATOR_CLASSES, AcceleratorClassSpec))
        self.books = Cache(parser_of(resources.PRICE_BOOKS, PriceBookSpec))
        self.nodes = Cache(_node, shape=shapes.shape_of(resources.NODES)) if nodes else None
        self.pods = Cache(_view, _groups_of_pod, shape=shapes.shape_of(resources.PODS))
        self.children: dict[Resource, Cache[Packed]] = {
            kind: _cache_of_children(kind) for kind in (*CHILDREN, *more_children)
        }
        self.names = NameIndex(self.deployments)
        self._catalogue: Catalogue | None = None
        for cache in (self.models, self.runtimes, self.classes):
            cache.subscribe(self._forget_catalogue)

    def by_resource(self) -> Mapping[Resource, Cache[Any]]:
        """Every cache, by what is to be listed and watched for it."""
        return {
            resources.MODEL_DEPLOYMENTS: self.deployments,
            resources.VENDORS: self.vendors,
            **self.of_catalogue(),
            resources.PODS: self.pods,
            **self.children,
            **({resources.NODES: self.nodes} if self.nodes is not None else {}),
        }

    def of_catalogue(self) -> Mapping[Resource, Cache[Any]]:
        """Every cluster-scoped kind of ours."""
        return {
            resources.CATALOG_MODELS: self.models,
            resources.INFERENCE_RUNTIMES: self.runtimes,
            resources.ACCELERATOR_CLASSES: self.classes,
            resources.PRICE_BOOKS: self.books,
        }

    def catalogue(self) -> Catalogue:
        """All cluster-scoped references; the same instance until one of them changes."""
        if self._catalogue is None:
            models, unfit_models = split(self.models.values())
            runtimes, unfit_runtimes = split(self.runtimes.values())
            classes, unfit_classes = split(self.classes.values())
            self._catalogue = Catalogue(models, runtimes, classes, unfit_models, unfit_runtimes, unfit_classes)
        return self._catalogue

    def children_of(
        self, kinds: Iterable[Resource], group: Hashable
    ) -> tuple[list[tuple[Resource, Key, Packed]], tuple[Child, ...]]:
        """The children in a group: packed, and as the planner wants them."""
        packed, children = [], []
        for kind in kinds:
            cache = self.children[kind]
            for key in sorted(cache.members(group)):
                live = cache.get(key)
                if live is None or live.deleting:
                    continue
                packed.append((kind, key, live))
                children.append(self.child(kind, live))
        return packed, tuple(children)

    def child(self, kind: Resource, live: Packed) -> Child:
        """One child as the planner wants it: whole while it is not known to be as wanted."""
        summary = cast(Child, live.summary)
        body = live.unpack() if live.wanted is None else None
        if body is None:
            return summary
        return replace(summary, live={**body, "apiVersion": kind.api_version, "kind": kind.kind})

    def counts_of(self, class_: Parsed[AcceleratorClassSpec]) -> dict[str, int] | None:
        """What there is of a class; None if nodes are not looked at."""
        if self.nodes is None:
            return None
        pods = (self.pods.get(key) for key in self.pods.members(("class", class_.name)))
        allocated = sum(pod.accelerators for pod in pods if pod is not None)
        return counts_of(class_.spec, self.nodes.values(), allocated)

    def _forget_catalogue(self, _change: object, _key: object, old: _Own, new: _Own) -> None:
        if not same_spec(old, new):
            self._catalogue = None
