"""What a ModelDeployment may say about its pods: a bounded, typed subset, not a pod template.

Left out on purpose: what restricted pod security refuses (hostPath, host namespaces, privileges) and other containers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from insource.api import meta
from insource.api.fields import (
    ATOMIC,
    LABEL_VALUE_PATTERN,
    SUBDOMAIN_PATTERN,
    Quantity,
    Spec,
    Text,
    listed_by,
    rule,
    rules,
)
from insource.api.inference_runtime import Argument, Resources
from insource.api.toleration import Toleration

RESERVED_VOLUMES = frozenset(
    {"gateway-tokens", "ledger-token", "wal", "tmp", "cache", "model", "models", "weights", "shm"}
    | {"source-credentials", "download-ca"}
)
"""Volumes of ours, now or soon; also every name that begins with `insource-`."""
RESERVED_ENV = frozenset(
    {"POD_IP", "PORT", "MODEL_NAME", "MODEL_ID", "MODEL_URI", "MODEL_REVISION", "MODEL_SHA256", "MODEL_DIR", "SLOTS"}
    | {"MODEL_FILE", "ACCELERATOR_COUNT", "CACHE_DIR"}
)
"""What the server is told by us; also every name that begins with `INSOURCE_`."""

OPTIONAL_SUBDOMAIN = f"^({SUBDOMAIN_PATTERN[1:-1]})?$"

LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]
LabelKey = Annotated[str, Field(min_length=1, max_length=316)]
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=SUBDOMAIN_PATTERN)]
"""The name of another object in the namespace."""
PartName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
EnvName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Path = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/[^:]*$")]
Values = Annotated[tuple[LabelValue, ...], Field(max_length=64, json_schema_extra=ATOMIC)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=16)]


def _listed(names: frozenset[str]) -> str:
    """A CEL list."""
    return f"[{', '.join(repr(name) for name in sorted(names))}]"


_NOT_OUR_KEYS = rules(
    rule(
        f"self.all(key, !key.startsWith('{meta.GROUP}/') && key != '{meta.LABEL_MANAGED_BY}')",
        f"keys of {meta.GROUP}/ and {meta.LABEL_MANAGED_BY} are ours: take another name",
    )
)
_NOT_OUR_VOLUME = rules(
    rule(
        f"!self.name.startsWith('insource-') && !(self.name in {_listed(RESERVED_VOLUMES)})",
        "this volume name is ours: take another one",
        fieldPath=".name",
    )
)
_NOT_OUR_VARIABLE = rules(
    rule(
        f"!self.name.startsWith('INSOURCE_') && !(self.name in {_listed(RESERVED_ENV)})",
        "this variable is told to the server by us: take another name",
        fieldPath=".name",
    ),
    rule(
        "!has(self.valueFrom) || !has(self.value) || self.value == ''",
        "set either value or valueFrom",
    ),
)
_MOUNTS_HAVE_VOLUMES = rules(
    rule(
        "!has(self.server) || !has(self.server.volumeMounts) || self.server.volumeMounts.all(mount,"
        " has(self.volumes) && self.volumes.exists(volume, volume.name == mount.name))",
        "each of server.volumeMounts must name one of pod.volumes",
        fieldPath=".server",
    )
)


def _exactly_one(*names: str, also: dict[str, Any] | None = None) -> ConfigDict:
    """Exactly one of these fields is set, and the rules of `also`."""
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    listed = ", ".join(names)
    key = "x-kubernetes-validations"
    more = also[key] if also else []
    return ConfigDict(json_schema_extra=rules(rule(f"{count} == 1", f"set exactly one of {listed}"), *more))


class LocalName(Spec):
    """Another object in the namespace."""

    name: Name


class KeyOf(Spec):
    """One key of a ConfigMap or Secret in the namespace."""

    name: Name
    key: DataKey
    optional: bool = False
    """Start without it."""


class ValueFrom(Spec):
    """Where a value is read from by the kubelet; the operator reads no Secret."""

    config_map_key_ref: KeyOf | None = None
    secret_key_ref: KeyOf | None = None

    model_config = _exactly_one("configMapKeyRef", "secretKeyRef")


class ServerEnv(Spec):
    """One environment variable of the server; it goes before the runtime's of that name."""

    name: EnvName
    value: Annotated[str, Field(max_length=4096)] = ""
    value_from: ValueFrom | None = None

    model_config = ConfigDict(json_schema_extra=_NOT_OUR_VARIABLE)


class AllOf(Spec):
    """All of a ConfigMap or Secret in the namespace."""

    name: Name
    optional: bool = False


class EnvFrom(Spec):
    """Many environment variables at once; those that have a name of their own go before."""

    prefix: Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    config_map_ref: AllOf | None = None
    secret_ref: AllOf | None = None

    model_config = _exactly_one("configMapRef", "secretRef")


class VolumeMount(Spec):
    """Where the server sees one of `pod.volumes`."""

    name: PartName
    mount_path: Path
    sub_path: Annotated[str, Field(max_length=512)] = ""
    read_only: bool = False


class ConfigMapVolume(Spec):
    """Files of a ConfigMap."""

    name: Name
    optional: bool = False


class SecretVolume(Spec):
    """Files of a Secret."""

    secret_name: Name
    optional: bool = False


class ClaimVolume(Spec):
    """A PersistentVolumeClaim."""

    claim_name: Name
    read_only: bool = False


class EmptyDirVolume(Spec):
    """Scratch, or shared memory with `medium: Memory`."""

    medium: Literal["", "Memory"] = ""
    size_limit: Quantity | None = None


class Volume(Spec):
    """A volume that the server may mount."""

    name: PartName
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None
    empty_dir: EmptyDirVolume | None = None

    model_config = _exactly_one("configMap", "secret", "persistentVolumeClaim", "emptyDir", also=_NOT_OUR_VOLUME)


class NodeRequirement(Spec):
    """What a node's label must be."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: Values = ()


class NodeTerm(Spec):
    """All of these."""

    match_expressions: Annotated[
        tuple[NodeRequirement, ...], Field(min_length=1, max_length=16, json_schema_extra=ATOMIC)
    ]


class PreferredNodes(Spec):
    """Nodes that are better than others."""

    weight: Annotated[int, Field(ge=1, le=100)]
    preference: NodeTerm


class RequiredNodes(Spec):
    """One of these."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Field(min_length=1, max_length=8, json_schema_extra=ATOMIC)]


class NodeAffinity(Spec):
    """Which nodes."""

    required: Annotated[RequiredNodes | None, Field(alias="requiredDuringSchedulingIgnoredDuringExecution")] = None
    preferred: Annotated[
        tuple[PreferredNodes, ...],
        Field(alias="preferredDuringSchedulingIgnoredDuringExecution", max_length=8, json_schema_extra=ATOMIC),
    ] = ()


class PodRequirement(Spec):
    """What a pod's label must be."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Values = ()


class PodSelector(Spec):
    """Pods of this namespace; all that is said must hold."""

    match_labels: Labels = {}
    match_expressions: Annotated[tuple[PodRequirement, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()


class PodTerm(Spec):
    """Pods that are near: in the same domain of a topology."""

    label_selector: PodSelector | None = None
    """Absent: the pods of the same revision."""
    topology_key: LabelKey


class PreferredPods(Spec):
    """Pods that should rather be near, or far."""

    weight: Annotated[int, Field(ge=1, le=100)]
    pod_affinity_term: PodTerm


class PodAffinity(Spec):
    """Which pods must, or should, be near (or far, in an anti-affinity)."""

    required: Annotated[
        tuple[PodTerm, ...],
        Field(alias="requiredDuringSchedulingIgnoredDuringExecution", max_length=8, json_schema_extra=ATOMIC),
    ] = ()
    preferred: Annotated[
        tuple[PreferredPods, ...],
        Field(alias="preferredDuringSchedulingIgnoredDuringExecution", max_length=8, json_schema_extra=ATOMIC),
    ] = ()


class Affinity(Spec):
    """As in a Kubernetes pod, without namespaces and fields."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class SpreadConstraint(Spec):
    """How evenly replicas are spread."""

    max_skew: Annotated[int, Field(ge=1, le=100)] = 1
    topology_key: LabelKey
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    min_domains: Annotated[int, Field(ge=1, le=100)] | None = None
    label_selector: PodSelector | None = None
    """Absent: the pods of the same revision."""


class ServerSettings(Spec):
    """Of the model server's container, over what its runtime says."""

    env: Annotated[tuple[ServerEnv, ...], Field(max_length=64, json_schema_extra=listed_by("name"))] = ()
    env_from: Annotated[tuple[EnvFrom, ...], Field(max_length=8, json_schema_extra=ATOMIC)] = ()
    resources: Resources | None = None
    """Each named amount replaces the runtime's."""
    volume_mounts: Annotated[
        tuple[VolumeMount, ...], Field(max_length=16, json_schema_extra=listed_by("mountPath"))
    ] = ()
    extra_args: Annotated[tuple[Argument, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = ()
    """After the runtime's arguments."""


class AdapterPart(Spec):
    """Of the adapter's container."""

    resources: Resources | None = None
    """Each named amount replaces ours."""


class PodSettings(Spec):
    """What a backend's pods have beside what we render. Part of the revision: a change starts new pods."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=16, json_schema_extra=_NOT_OUR_KEYS)] = {}
    annotations: Annotated[dict[str, Text], Field(max_length=16, json_schema_extra=_NOT_OUR_KEYS)] = {}
    service_account_name: Annotated[str, Field(max_length=253, pattern=OPTIONAL_SUBDOMAIN)] = ""
    """A ServiceAccount in the namespace; empty: `insource-adapter`. No token for the Kubernetes API is mounted."""
    image_pull_secrets: Annotated[tuple[LocalName, ...], Field(max_length=8, json_schema_extra=listed_by("name"))] = ()
    priority_class_name: Annotated[str, Field(max_length=253)] = ""
    node_selector: Labels = {}
    """Beside the class's; a key that both have must have one value."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    """Beside the class's."""
    affinity: Affinity | None = None
    topology_spread_constraints: Annotated[
        tuple[SpreadConstraint, ...],
        Field(max_length=4, json_schema_extra=listed_by("topologyKey", "whenUnsatisfiable")),
    ] = ()
    volumes: Annotated[tuple[Volume, ...], Field(max_length=16, json_schema_extra=listed_by("name"))] = ()
    server: ServerSettings | None = None
    adapter: AdapterPart | None = None

    model_config = ConfigDict(json_schema_extra=_MOUNTS_HAVE_VOLUMES)
