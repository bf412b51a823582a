"""The custom resources as a table, and the parsing of plain dicts into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from insource.api import meta
from insource.api.accelerator_class import AcceleratorClassSpec, AcceleratorClassStatus
from insource.api.catalog_model import CatalogModelSpec, CatalogModelStatus
from insource.api.conditions import StatusModel
from insource.api.fields import Spec, rule
from insource.api.inference_runtime import InferenceRuntimeSpec, InferenceRuntimeStatus
from insource.api.model_deployment import ModelDeploymentSpec, ModelDeploymentStatus
from insource.api.price_book import PriceBookSpec, PriceBookStatus
from insource.api.rules import broken_rule
from insource.api.vendor import VendorSpec, VendorStatus

SpecT = TypeVar("SpecT", bound=Spec)


class InvalidObjectError(ValueError):
    """An object that does not fit its kind; the message names object, field and what is wrong.

    `problem` is the message without the object: `spec.traffic.primary: Field required`.
    """

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True, slots=True, eq=False)
class Resource(Generic[SpecT]):
    """A parsed custom resource. Compared by identity: parse once per resourceVersion and keep it."""

    kind: str
    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    spec: SpecT
    status: Mapping[str, Any] = field(default_factory=dict)
    """As it came; never changed in place."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    created: str = ""
    """`metadata.creationTimestamp`; empty where nobody reads it."""


@dataclass(frozen=True, slots=True, eq=False)
class Misfit:
    """An object whose spec does not fit its kind: it came past the schema, or by the schema of another release."""

    kind: str
    name: str
    namespace: str
    uid: str
    generation: int
    problem: str
    """The field's path and what is wrong with it."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """As it came; never changed in place."""
    labels: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource's names and shape."""

    kind: str
    plural: str
    namespaced: bool
    spec: type[Spec]
    status: type[StatusModel]
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rules: tuple[dict[str, str], ...] = ()
    """CEL rules on the whole object: only these see metadata.name."""
    scale: bool = False
    reported: bool = False
    """The operator reports on it: until it has, `status.observedGeneration` is -1, or kstatus would call it current."""

    @property
    def crd_name(self) -> str:
        """`<plural>.insource.dev`."""
        return f"{self.plural}.{meta.GROUP}"


def _named(longest: int) -> dict[str, str]:
    return rule(
        f"self.metadata.name.size() <= {longest} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        f"metadata.name must start with a letter, have only lower case letters, digits and '-', and at most {longest}"
        " characters: it becomes part of a URL, of labels and of Service names",
    )


def _condition(type_: str, field_: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field_}'


_AGE = Column("Age", ".metadata.creationTimestamp", "date")

MODEL_DEPLOYMENT = Kind(
    kind="ModelDeployment",
    plural="modeldeployments",
    namespaced=True,
    spec=ModelDeploymentSpec,
    status=ModelDeploymentStatus,
    short_names=("mdep",),
    columns=(
        Column("Modality", ".spec.modality"),
        Column("Ready", _condition("Ready", "status")),
        Column("Primary", ".spec.traffic.primary"),
        Column("Replicas", ".status.replicas", "integer"),
        Column("Reason", _condition("Ready", "reason")),
        Column("Endpoint", ".status.endpoint", priority=1),
        Column("Message", _condition("Ready", "message"), priority=1),
        _AGE,
    ),
    rules=(_named(63),),
    scale=True,
    reported=True,
)
INFERENCE_RUNTIME = Kind(
    kind="InferenceRuntime",
    plural="inferenceruntimes",
    namespaced=False,
    spec=InferenceRuntimeSpec,
    status=InferenceRuntimeStatus,
    short_names=("iruntime",),
    columns=(Column("Image", ".spec.image"), Column("Slots", ".spec.slots", "integer"), _AGE),
)
ACCELERATOR_CLASS = Kind(
    kind="AcceleratorClass",
    plural="acceleratorclasses",
    namespaced=False,
    spec=AcceleratorClassSpec,
    status=AcceleratorClassStatus,
    short_names=("accel",),
    columns=(
        Column("Resource", ".spec.resourceName"),
        Column("Nodes", ".status.nodes", "integer"),
        Column("Allocatable", ".status.allocatable", "integer"),
        Column("Allocated", ".status.allocated", "integer"),
        Column("Price/h", ".spec.pricePerHour"),
        Column("Price source", ".spec.priceSource", priority=1),
        _AGE,
    ),
)
VENDOR = Kind(
    kind="Vendor",
    plural="vendors",
    namespaced=True,
    spec=VendorSpec,
    status=VendorStatus,
    columns=(
        Column("Dialect", ".spec.dialect"),
        Column("Ready", _condition("Ready", "status")),
        Column("Endpoint", ".spec.endpoint"),
        Column("Reason", _condition("Ready", "reason")),
        Column("Models", _condition("ModelsOffered", "reason"), priority=1),
        _AGE,
    ),
    rules=(_named(40),),
    reported=True,
)
PRICE_BOOK = Kind(
    kind="PriceBook",
    plural="pricebooks",
    namespaced=False,
    spec=PriceBookSpec,
    status=PriceBookStatus,
    columns=(Column("Currency", ".spec.currency"), _AGE),
)
CATALOG_MODEL = Kind(
    kind="CatalogModel",
    plural="catalogmodels",
    namespaced=False,
    spec=CatalogModelSpec,
    status=CatalogModelStatus,
    short_names=("cmodel",),
    columns=(
        Column("Modality", ".spec.modality"),
        Column("Publisher", ".spec.publisher"),
        Column("Runtime", ".spec.sources[0].runtime"),
        Column("Version", ".spec.version", priority=1),
        Column("Licence", ".spec.licence", priority=1),
        _AGE,
    ),
)

KINDS = (MODEL_DEPLOYMENT, INFERENCE_RUNTIME, ACCELERATOR_CLASS, VENDOR, PRICE_BOOK, CATALOG_MODEL)
BY_KIND = {kind.kind: kind for kind in KINDS}


def parse(obj: Mapping[str, Any], spec: type[SpecT]) -> Resource[SpecT]:
    """A custom resource from the API's plain dict. Unknown fields are ignored.

    InvalidObjectError if the spec does not fit or breaks a rule: somebody wrote past the schema, or it is another one.
    """
    metadata = obj.get("metadata") or {}
    kind, name = str(obj.get("kind", spec.__name__.removesuffix("Spec"))), str(metadata.get("name", ""))
    try:
        parsed = spec.model_validate(obj.get("spec") or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        problem = f"{_path(first['loc'])}: {first['msg']}"
        raise InvalidObjectError(f"{kind} {name!r}: {problem}", problem) from None
    problem = broken_rule(parsed)
    if problem:
        raise InvalidObjectError(f"{kind} {name!r}: {problem}", problem)
    return Resource(
        kind=kind,
        name=name,
        namespace=str(metadata.get("namespace", "")),
        uid=str(metadata.get("uid", "")),
        generation=int(metadata.get("generation", 0)),
        resource_version=str(metadata.get("resourceVersion", "")),
        spec=parsed,
        status=obj.get("status") or {},
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        deleting="deletionTimestamp" in metadata,
        created=str(metadata.get("creationTimestamp") or ""),
    )


def parse_or_misfit(obj: Mapping[str, Any], spec: type[SpecT]) -> Resource[SpecT] | Misfit:
    """`parse`, but what does not fit is told by a `Misfit` in its place."""
    try:
        return parse(obj, spec)
    except InvalidObjectError as error:
        metadata = obj.get("metadata") or {}
        return Misfit(
            kind=str(obj.get("kind", spec.__name__.removesuffix("Spec"))),
            name=str(metadata.get("name", "")),
            namespace=str(metadata.get("namespace", "")),
            uid=str(metadata.get("uid", "")),
            generation=int(metadata.get("generation", 0)),
            problem=error.problem,
            status=obj.get("status") or {},
            labels=metadata.get("labels") or {},
            deleting="deletionTimestamp" in metadata,
        )


def _path(parts: tuple[int | str, ...]) -> str:
    """`spec.backends[0].name`."""
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
