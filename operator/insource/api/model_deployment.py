"""ModelDeployment: one piece of AI work, the backends that may serve it, and who gets the traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from insource.api.conditions import StatusModel
from insource.api.fields import (
    SET,
    Duration,
    Label,
    ModelId,
    Money,
    ObjectName,
    ServedName,
    Spec,
    listed_by,
    rule,
    rules,
)
from insource.api.pod import PodSettings
from insource.wire.vocabulary import Modality

SERVING_CLASS_DEFAULT = "cpu"
REPLICAS_DEFAULT = 1
REQUEST_TIMEOUT_DEFAULT = "10m"


class Accelerator(Spec):
    """What a replica runs on."""

    class_: Annotated[ObjectName, Field(alias="class")] = SERVING_CLASS_DEFAULT
    """An AcceleratorClass."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """Accelerators of that class per replica."""


class SecretName(Spec):
    """A Secret in this namespace."""

    name: ObjectName


class SourceCredentials(Spec):
    """What a download shows at the model's source."""

    secret_ref: SecretName
    """Keys: `token` (sent as bearer token), or `username` and `password`. Only the download sees them."""


class ModelCache(Spec):
    """A volume that keeps what was downloaded."""

    claim_name: ObjectName
    """A PersistentVolumeClaim in this namespace; replicas on several nodes need one that several nodes may write."""


class InHouse(Spec):
    """A model that we run."""

    model: ObjectName
    """A CatalogModel."""
    runtime: ObjectName | None = None
    """An InferenceRuntime that one of the CatalogModel's sources is for; absent: its first source's."""
    accelerator: Accelerator | None = None
    """Absent: one of the class `cpu`."""
    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    """Requests that one replica serves at once; absent: the model's profile for the class, else the runtime's."""
    startup_timeout: Duration | None = None
    """How long a server may take until it answers its health check; absent: the runtime's startupBudget. A download
    has the same time once more, before the server starts."""
    source_credentials: SourceCredentials | None = None
    """For a source that is not public, where the runtime's modelDelivery is Download."""
    model_cache: ModelCache | None = None
    """Where the runtime's modelDelivery is Download: replicas share one download, and it outlives them. Absent: each
    replica downloads for itself."""
    pod: PodSettings | None = None
    """What its pods have beside what we render."""


class VendorBackend(Spec):
    """A model that somebody else runs."""

    name: Label
    """A Vendor in this namespace."""
    model: ModelId
    """The vendor's own model or deployment id."""


class Backend(Spec):
    """One way to serve the work."""

    name: Label
    in_house: InHouse | None = None
    vendor: VendorBackend | None = None

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.inHouse) != has(self.vendor)",
                "a backend is either inHouse or vendor: set exactly one of the two",
            )
        )
    )


class Spill(Spec):
    """Where a request goes that the primary cannot take now."""

    backend: Label
    """A vendor backend other than the primary."""
    when: Literal["ColdStart", "Always"] = "Always"
    """ColdStart: only while no replica of the primary is ready. Always: also when it is full or failing."""
    daily_limit: Money | None = None
    """The most that spill may cost per day (UTC), in the installation's currency; absent: no limit."""


class Traffic(Spec):
    """Who serves."""

    primary: Label
    """The backend that should serve. Changing it moves the traffic, once the new one is ready."""
    spill: Spill | None = None
    request_timeout: Duration = REQUEST_TIMEOUT_DEFAULT
    """The longest one request may take, from 1s to 1h."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.requestTimeout) || (duration(self.requestTimeout) >= duration('1s')"
                " && duration(self.requestTimeout) <= duration('1h'))",
                "requestTimeout must be between 1s and 1h",
                fieldPath=".requestTimeout",
            )
        )
    )


ClientName = Annotated[
    str,
    Field(
        min_length=1, max_length=127, pattern=r"^(\*|([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$"
    ),
]


class Access(Spec):
    """Who may call."""

    clients: Annotated[tuple[ClientName, ...], Field(max_length=64, json_schema_extra=SET)] = ()
    """Client names, of other namespaces as `<namespace>/<client>`, or `*` for all; empty: this namespace's clients."""


class ModelDeploymentSpec(Spec):
    """What should be served, and by whom."""

    modality: Annotated[
        Modality,
        Field(
            json_schema_extra=rules(
                rule(
                    "self == oldSelf",
                    "modality cannot be changed: clients depend on it; create another ModelDeployment instead",
                )
            )
        ),
    ]
    """The kind of work; immutable."""
    served_names: Annotated[tuple[ServedName, ...], Field(max_length=8, json_schema_extra=SET)] = ()
    """What clients may send as `model` to the gateway's plain /v1, beside `<namespace>/<name>`; letters, digits and
    `._:@+/-`. Where several ModelDeployments claim a name, a client gets that of its own namespace, then the oldest."""
    backends: Annotated[tuple[Backend, ...], Field(min_length=1, max_length=8, json_schema_extra=listed_by("name"))]
    """The ways to serve it."""
    traffic: Traffic
    access: Access | None = None
    replicas: Annotated[int, Field(ge=0, le=100)] = REPLICAS_DEFAULT
    """Replicas of the primary backend if it is in-house; 0 means off. The scale subresource sets it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.backends.exists(b, b.name == self.traffic.primary)",
                "traffic.primary must be the name of one of spec.backends",
                fieldPath=".traffic.primary",
            ),
            rule(
                "!has(self.traffic.spill) || self.backends.exists(b, b.name == self.traffic.spill.backend"
                " && has(b.vendor))",
                "traffic.spill.backend must be the name of a vendor backend in spec.backends",
                fieldPath=".traffic.spill.backend",
            ),
            rule(
                "!has(self.traffic.spill) || self.traffic.spill.backend != self.traffic.primary",
                "traffic.spill.backend must be another backend than traffic.primary",
                fieldPath=".traffic.spill.backend",
            ),
            rule(
                "self.backends.all(b, !has(b.vendor) || self.backends.exists_one(c, has(c.vendor)"
                " && c.vendor.name == b.vendor.name))",
                "two backends use the same Vendor: each Vendor may be used by one backend of a ModelDeployment",
                fieldPath=".backends",
            ),
        )
    )

    def backend(self, name: str) -> Backend | None:
        """The backend of that name."""
        return next((backend for backend in self.backends if backend.name == name), None)


Revision = Annotated[str, Field(max_length=63)]
BackendName = Annotated[str, Field(min_length=1, max_length=63)]


class Weight(Spec):
    """A share of the traffic."""

    backend: BackendName
    revision: Revision = ""
    """Empty for a vendor backend."""
    weight: Annotated[int, Field(ge=0, le=100)]


class RescueTarget(Spec):
    """Priority 1."""

    backend: BackendName
    revision: Revision = ""


class SpillTarget(Spec):
    """Priority 2."""

    backend: BackendName
    when: Literal["ColdStart", "Always"]


class VendorTarget(Spec):
    """The Vendor and model behind a backend."""

    name: BackendName
    model: ModelId


class TrafficStatus(Spec):
    """What the gateway follows."""

    version: Annotated[int, Field(ge=1)]
    """Rises with every change of this block."""
    weights: Annotated[
        tuple[Weight, ...], Field(min_length=1, max_length=8, json_schema_extra=listed_by("backend", "revision"))
    ]
    rescue: RescueTarget | None = None
    spill: SpillTarget | None = None
    vendors: Annotated[dict[str, VendorTarget], Field(max_length=8)] = {}
    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)]
    max_body_bytes: Annotated[int, Field(ge=1)]
    modality: Modality


class BackendStatus(Spec):
    """One backend that is used, or still in use."""

    name: BackendName
    revision: Revision = ""
    class_: Annotated[str, Field(alias="class", max_length=63)] = ""
    ready: Annotated[int, Field(ge=0)] = 0
    """Ready replicas at the last transition (none, some, all); metrics have the present number."""
    desired: Annotated[int, Field(ge=0)] = 0
    message: Annotated[str, Field(max_length=1024)] = ""


class RevisionStatus(Spec):
    """One in-house revision that has a workload."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Of its ReplicaSet, Service and ControllerRevision."""
    backend: BackendName
    revision: Revision
    state: Literal["Starting", "Serving"]
    served: bool = False
    """It has been ready while it had weight: it is kept until its successor is ready."""


class ModelDeploymentStatus(StatusModel):
    """What is the case."""

    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """The OpenAI SDK's base_url."""
    primary: Annotated[str, Field(max_length=63)] | None = None
    """The backend that has the weight now."""
    replicas: Annotated[int, Field(ge=0)] | None = None
    selector: Annotated[str, Field(max_length=512)] | None = None
    traffic: TrafficStatus | None = None
    backends: Annotated[
        tuple[BackendStatus, ...], Field(max_length=24, json_schema_extra=listed_by("name", "revision"))
    ] = ()
    revisions: Annotated[tuple[RevisionStatus, ...], Field(max_length=16, json_schema_extra=listed_by("name"))] = ()
