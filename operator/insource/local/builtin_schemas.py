"""How lists and maps of the built-in kinds merge: the part of their Go types that server-side apply needs.

Only what differs from the default (granular maps, atomic lists); `builtin_types.closed` adds all the fields.
Knows nothing of validation.
"""

from __future__ import annotations

from insource.local.schema_nodes import Node


def struct(**properties: Node) -> Node:
    """A Go struct by value."""
    return Node(properties=properties, keeps_unknown=True, struct=True)


def pointer(**properties: Node) -> Node:
    """A Go struct by pointer, or a list item."""
    return Node(properties=properties, keeps_unknown=True)


def atomic() -> Node:
    return Node(keeps_unknown=True, atomic=True)


def set_list() -> Node:
    return Node(list_type="set", keeps_unknown=True)


def map_list(*keys: str, item: Node | None = None) -> Node:
    return Node(list_type="map", keys=tuple(sorted(keys)), items=item or Node.open(), keeps_unknown=True)


_PROTOCOL = Node(type="string", default="TCP")


def _ports(number: str) -> Node:
    item = Node(properties={"protocol": _PROTOCOL}, keeps_unknown=True, defaulted=(("protocol", "TCP"),))
    return map_list(number, "protocol", item=item)


METADATA = struct(
    finalizers=set_list(),
    ownerReferences=map_list("uid", item=atomic()),
)

CONDITIONS = map_list("type")

_ENV = map_list(
    "name",
    item=pointer(
        valueFrom=pointer(secretKeyRef=atomic(), configMapKeyRef=atomic(), fieldRef=atomic(), resourceFieldRef=atomic())
    ),
)
_CONTAINER = pointer(
    env=_ENV,
    ports=_ports("containerPort"),
    volumeMounts=map_list("mountPath"),
    volumeDevices=map_list("devicePath"),
    resources=struct(claims=map_list("name")),
)
_CONTAINERS = map_list("name", item=_CONTAINER)

POD_SPEC = struct(
    containers=_CONTAINERS,
    initContainers=_CONTAINERS,
    ephemeralContainers=_CONTAINERS,
    volumes=map_list("name", item=pointer()),
    imagePullSecrets=map_list("name", item=atomic()),
    hostAliases=map_list("ip"),
    nodeSelector=atomic(),
    topologySpreadConstraints=map_list("topologyKey", "whenUnsatisfiable"),
)
POD = struct(
    metadata=METADATA,
    spec=POD_SPEC,
    status=struct(conditions=CONDITIONS, podIPs=map_list("ip"), hostIPs=Node.open()),
)
TEMPLATE = struct(metadata=METADATA, spec=POD_SPEC)
WORKLOAD = struct(
    metadata=METADATA,
    spec=struct(template=TEMPLATE, selector=atomic(), strategy=struct()),
    status=struct(conditions=CONDITIONS),
)
SERVICE = struct(
    metadata=METADATA,
    spec=struct(selector=atomic(), ports=_ports("port")),
    status=struct(conditions=CONDITIONS, loadBalancer=struct()),
)
SERVICE_ACCOUNT = struct(metadata=METADATA, secrets=map_list("name"))
NODE = struct(
    metadata=METADATA,
    spec=struct(podCIDRs=set_list()),
    status=struct(conditions=CONDITIONS, addresses=map_list("type")),
)
CLAIM = struct(metadata=METADATA, spec=struct(selector=atomic()), status=struct(conditions=CONDITIONS))
CRD = struct(metadata=METADATA, spec=struct(names=struct(), versions=Node.open()), status=struct(conditions=CONDITIONS))
PLAIN = struct(metadata=METADATA, spec=struct(), status=struct(conditions=CONDITIONS))
ROLE_BINDING = struct(metadata=METADATA, roleRef=atomic())
EVENT = struct(metadata=METADATA, involvedObject=atomic(), source=struct())

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey",),
    "secrets": ("name",),
    "taints": ("key",),
    "addresses": ("type",),
    "podIPs": ("ip",),
}
"""Strategic merge: list field -> merge key (`patchMergeKey` of the Go types). Ports: see `patches.merge_key`."""
MERGED_SETS = frozenset({"finalizers", "podCIDRs"})
"""Strategic merge: lists of scalars that merge."""
