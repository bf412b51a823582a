"""What `kubectl get` shows of the built-in kinds: columns, and the cells of one object. Pure.

Source: k8s.io/kubernetes, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from insource.local.rbac import GROUP as RBAC
from insource.local.selectors import lookup, selector_text
from insource.local.store_errors import Object

Cells = Callable[[Object, datetime], list[Any]]
Columns = list[tuple[str, str, int]]
"""(name, type, priority)."""
_SHOWN = 3
"""Of ports and endpoints."""


def age(text: Any, now: datetime, otherwise: str = "<unknown>") -> str:
    """How long ago a timestamp was, as kubectl prints it: 25s, 3m4s, 5h, 8d."""
    try:
        then = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return otherwise
    seconds = int((now.astimezone(UTC) - then).total_seconds())
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _pod(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    sidecars = {c["name"] for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    states = (status.get("containerStatuses") or []) + [
        item for item in status.get("initContainerStatuses") or [] if item["name"] in sidecars
    ]
    ready = sum(1 for item in states if item.get("ready"))
    restarts = sum(int(item.get("restartCount") or 0) for item in states)
    return [
        obj["metadata"]["name"],
        f"{ready}/{len(spec.get('containers') or []) + len(sidecars)}",
        pod_status(obj),
        str(restarts),
        age(obj["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        "<none>",
    ]


def pod_status(obj: Object) -> str:
    """The word in kubectl's STATUS column."""
    status = obj.get("status") or {}
    word = status.get("reason") or status.get("phase") or "Pending"
    for i, item in enumerate(status.get("initContainerStatuses") or []):
        state = item.get("state") or {}
        if item.get("started") or (state.get("terminated") or {}).get("exitCode") == 0:
            continue
        reason = (state.get("terminated") or {}).get("reason") or (state.get("waiting") or {}).get("reason")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        total = len((obj.get("spec") or {}).get("initContainers") or [])
        word = f"Init:{i}/{total}"
        break
    else:
        for item in reversed(status.get("containerStatuses") or []):
            state = item.get("state") or {}
            for key in ("waiting", "terminated"):
                if (state.get(key) or {}).get("reason"):
                    word = state[key]["reason"]
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(word)


def _images(spec: Object) -> tuple[str, str]:
    containers = spec.get("containers") or []
    return ",".join(c["name"] for c in containers), ",".join(c.get("image", "") for c in containers)


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    names, images = _images(spec["template"].get("spec") or {})
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj["metadata"].get("creationTimestamp"), now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    names, images = _images(spec["template"].get("spec") or {})
    return [
        obj["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj["metadata"].get("creationTimestamp"), now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or [])
    return [
        obj["metadata"]["name"],
        spec.get("type", "ClusterIP"),
        (spec.get("clusterIPs") or [spec.get("clusterIP") or "<none>"])[0],
        _external(obj),
        ports or "<none>",
        created(obj, now),
        ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items())) or "<none>",
    ]


def _external(obj: Object) -> str:
    spec = obj.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    nobody = "<pending>" if spec.get("type") == "LoadBalancer" else "<none>"
    return ",".join(spec.get("externalIPs") or ()) or nobody


def _node(obj: Object, now: datetime) -> list[Any]:
    conditions = lookup(obj, ("status", "conditions")) or []
    ready = next((item.get("status") for item in conditions if item.get("type") == "Ready"), "Unknown")
    word = {"True": "Ready", "False": "NotReady"}.get(str(ready), "Unknown")
    if (obj.get("spec") or {}).get("unschedulable"):
        word += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(k.removeprefix(prefix) for k in obj["metadata"].get("labels") or {} if k.startswith(prefix))
    info = lookup(obj, ("status", "nodeInfo")) or {}
    addresses = {a["type"]: a["address"] for a in lookup(obj, ("status", "addresses")) or []}
    return [
        obj["metadata"]["name"],
        word,
        roles or "<none>",
        age(obj["metadata"].get("creationTimestamp"), now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage", "<unknown>"),
        info.get("kernelVersion", "<unknown>"),
        info.get("containerRuntimeVersion", "<unknown>"),
    ]


def _event(obj: Object, now: datetime) -> list[Any]:
    about, series = obj.get("involvedObject") or {}, obj.get("series") or {}
    first = age(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = age(series.get("lastObservedTime") or obj.get("lastTimestamp"), now, otherwise=first)
    name = f"/{about['name']}" if about.get("name") else ""
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        str(about.get("kind", "")).lower() + name,
        about.get("fieldPath", ""),
        _source(obj),
        str(obj.get("message", "")).strip(),
        first,
        series.get("count") or obj.get("count") or 1,
        obj["metadata"]["name"],
    ]


def _source(obj: Object) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


def _new_event(obj: Object, now: datetime) -> list[Any]:
    """Of events.k8s.io, which calls some things by other names."""
    old = {"regarding": "involvedObject", "note": "message", "reportingController": "reportingComponent"}
    deprecated = {"deprecatedSource": "source", "deprecatedCount": "count"}
    times = {"deprecatedFirstTimestamp": "firstTimestamp", "deprecatedLastTimestamp": "lastTimestamp"}
    names = old | deprecated | times
    return _event({names.get(name, name): value for name, value in obj.items()}, now)


def _data(obj: Object) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def created(obj: Object, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or []]
    addresses = [each for endpoint in obj.get("endpoints") or [] for each in endpoint.get("addresses") or []]
    return [
        obj["metadata"]["name"],
        obj.get("addressType", ""),
        _some(ports),
        _some(addresses),
        created(obj, now),
    ]


def _some(texts: Sequence[str]) -> str:
    more = f" + {len(texts) - _SHOWN} more..." if len(texts) > _SHOWN else ""
    return ",".join(texts[:_SHOWN]) + more or "<unset>"


def _claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    modes = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    bound = spec.get("volumeName", "")
    return [
        obj["metadata"]["name"],
        "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""),
        bound,
        lookup(status, ("capacity", "storage")) or "" if bound else "",
        ",".join(modes.get(mode, mode) for mode in status.get("accessModes") or []) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        created(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _scale(obj: Object, now: datetime) -> list[Any]:
    return [
        obj["metadata"]["name"],
        (obj.get("spec") or {}).get("replicas", 0),
        (obj.get("status") or {}).get("replicas", 0),
        created(obj, now),
    ]


def _created_at(obj: Object, _now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]


def _binding(obj: Object, now: datetime) -> list[Any]:
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = subject["name"]
        its = f"{subject.get('namespace', '')}/{name}" if subject["kind"] == "ServiceAccount" else name
        named[subject["kind"]].append(its)
    role = f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"
    return [obj["metadata"]["name"], role, created(obj, now), *(", ".join(names) for names in named.values())]


def _columns(text: str, wide: str = "", **types: str) -> Columns:
    shown = [(name, types.get(name.lower().replace("-", "_"), "string"), 0) for name in text.split()]
    return shown + [(name.replace("_", " "), "string", 1) for name in wide.split()]


_EVENT_COLUMNS: Columns = [
    (name, "string", priority)
    for name, priority in (
        ("Last Seen", 0), ("Type", 0), ("Reason", 0), ("Object", 0), ("Subobject", 1), ("Source", 1), ("Message", 0),
        ("First Seen", 1), ("Count", 1), ("Name", 1),
    )
]  # fmt: skip
CELLS: dict[tuple[str, str], tuple[Columns, Cells]] = {
    ("", "pods"): (_columns("Name Ready Status Restarts Age", "IP Node Nominated_Node Readiness_Gates"), _pod),
    ("apps", "deployments"): (
        _columns("Name Ready Up-to-date Available Age", "Containers Images Selector"),
        _deployment,
    ),
    ("apps", "replicasets"): (
        _columns("Name Desired Current Ready Age", "Containers Images Selector"),
        _replica_set,
    ),
    ("", "services"): (_columns("Name Type Cluster-IP External-IP Port(s) Age", "Selector"), _service),
    ("", "nodes"): (
        _columns("Name Status Roles Age Version", "Internal-IP External-IP OS-Image Kernel-Version Container-Runtime"),
        _node,
    ),
    ("", "events"): (_EVENT_COLUMNS, _event),
    ("events.k8s.io", "events"): (_EVENT_COLUMNS, _new_event),
    ("autoscaling", "scales"): (_columns("Name Desired Available Age", desired="integer", available="integer"), _scale),
    ("", "namespaces"): (
        _columns("Name Status Age"),
        lambda o, now: [o["metadata"]["name"], lookup(o, ("status", "phase")) or "", created(o, now)],
    ),
    ("", "configmaps"): (
        _columns("Name Data Age"),
        lambda o, now: [o["metadata"]["name"], _data(o), created(o, now)],
    ),
    ("", "secrets"): (
        _columns("Name Type Data Age"),
        lambda o, now: [o["metadata"]["name"], o.get("type", ""), _data(o), created(o, now)],
    ),
    ("", "serviceaccounts"): (
        _columns("Name Age"),
        lambda o, now: [o["metadata"]["name"], created(o, now)],
    ),
    ("", "persistentvolumeclaims"): (
        [
            *((n, "string", 0) for n in ("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass")),
            *(("VolumeAttributesClass", "string", 0), ("Age", "string", 0), ("VolumeMode", "string", 1)),
        ],
        _claim,
    ),
    ("discovery.k8s.io", "endpointslices"): (_columns("Name AddressType Ports Endpoints Age"), _slice),
    ("coordination.k8s.io", "leases"): (
        _columns("Name Holder Age"),
        lambda o, now: [o["metadata"]["name"], lookup(o, ("spec", "holderIdentity")) or "", created(o, now)],
    ),
    ("apps", "controllerrevisions"): (
        _columns("Name Controller Revision Age"),
        lambda o, now: [
            o["metadata"]["name"],
            next(
                (
                    f"{r['kind'].lower()}.{r['apiVersion'].partition('/')[0]}/{r['name']}"
                    for r in o["metadata"].get("ownerReferences") or []
                    if r.get("controller")
                ),
                "<none>",
            ),
            o.get("revision", 0),
            created(o, now),
        ],
    ),
    **{
        (RBAC, plural): ([("Name", "string", 0), ("Created At", "date", 0)], _created_at)
        for plural in ("roles", "clusterroles")
    },
    **{
        (RBAC, plural): (_columns("Name Role Age", "Users Groups ServiceAccounts"), _binding)
        for plural in ("rolebindings", "clusterrolebindings")
    },
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        [
            *((name, "string", 0) for name in ("Name", "Scope", "Versions")),
            ("Created At", "date", 0),
            *((name, "string", 1) for name in ("Group", "Kind", "ShortNames")),
            ("Established", "boolean", 1),
        ],
        lambda o, _: [
            o["metadata"]["name"],
            o["spec"].get("scope"),
            ",".join(v["name"] + ("(storage)" if v.get("storage") else "") for v in o["spec"]["versions"]),
            o["metadata"].get("creationTimestamp"),
            o["spec"]["group"],
            o["spec"]["names"]["kind"],
            ",".join(o["spec"]["names"].get("shortNames") or []),
            any(
                c["type"] == "Established" and c["status"] == "True" for c in lookup(o, ("status", "conditions")) or []
            ),
        ],
    ),
}
