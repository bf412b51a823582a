"""In-house cost's raw material: who held which accelerators from when to when, and what a class costs.

Pure reading of Pods and AcceleratorClasses, and the rows that follow. Knows no API client; `watch` feeds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, text

from insource.api import meta
from insource.domain.pricing import class_price_nano
from insource.ledger import schema
from insource.ledger.prices import instant_ms

BOUND = "bound"
RELEASED = "released"
FINISHED_PHASES = frozenset({"Succeeded", "Failed"})
SLOTS_VARIABLES = ("INSOURCE_SLOTS", "SLOTS")


@dataclass(frozen=True)
class PodFacts:
    """What of an in-house pod matters to cost. `bound_at_ms` None: not on a node yet."""

    uid: str
    namespace: str
    name: str
    deployment: str
    backend: str
    revision: str
    accelerator_class: str
    count: int
    slots: int
    bound_at_ms: int | None
    finished: bool


@dataclass(frozen=True)
class ClassPrice:
    """One accelerator of a class for an hour, overhead included; None: no price is known."""

    accelerator_class: str
    hourly_nano: int | None
    source: str


def read_pod(pod: Mapping[str, Any]) -> PodFacts:
    """A Pod object with the label `insource.dev/backend` -> its facts. What is missing or odd counts as 1 of it."""
    metadata, status = pod["metadata"], pod.get("status", {})
    labels = metadata.get("labels", {})
    return PodFacts(
        uid=metadata.get("uid", ""),
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        deployment=labels.get(meta.LABEL_DEPLOYMENT, ""),
        backend=labels.get(meta.LABEL_BACKEND, ""),
        revision=labels.get(meta.LABEL_REVISION, ""),
        accelerator_class=labels.get(meta.LABEL_CLASS, ""),
        count=_positive(metadata.get("annotations", {}).get(meta.ANNOTATION_COUNT)),
        slots=_positive(_slots(pod.get("spec", {}))),
        bound_at_ms=_bound_at_ms(pod.get("spec", {}), status),
        finished=status.get("phase") in FINISHED_PHASES,
    )


def read_class(accelerator_class: Mapping[str, Any]) -> ClassPrice:
    """An AcceleratorClass object -> its price; a price that cannot be read is none."""
    name = accelerator_class["metadata"]["name"]
    spec = accelerator_class.get("spec", {})
    price, factor = spec.get("pricePerHour"), spec.get("overheadFactor") or "1"
    if price in (None, ""):
        return ClassPrice(name, None, "AcceleratorClass without pricePerHour")
    try:
        hourly_nano = class_price_nano(str(price), str(factor))
    except ValueError:
        return ClassPrice(name, None, f"unreadable: pricePerHour {price!r}, overheadFactor {factor!r}")
    return ClassPrice(name, hourly_nano, f"pricePerHour {price} x overheadFactor {factor}")


def record_pods(connection: Connection, pods: Iterable[PodFacts], seen_before: Iterable[str], *, now_ms: int) -> None:
    """Bring the rows level with the pods that are there now; safe to repeat.

    A pod that this process saw before and sees no more was released now. One that vanished while nobody watched was
    released when it was last seen, marked approximate.
    """
    held = {pod.uid: pod for pod in pods if pod.bound_at_ms is not None and not pod.finished}
    opened = {row.pod_uid: row.seen_at_ms for row in connection.execute(_OPEN)}
    rows = [_row(pod, BOUND, pod.bound_at_ms or 0) for uid, pod in held.items() if uid not in opened]
    if rows:
        connection.execute(insert(schema.allocation).prefix_with("OR IGNORE"), rows)
    if held:
        connection.execute(_BEAT, [{"uid": uid, "now": now_ms} for uid in held])
    watched = set(seen_before)
    for uid in opened.keys() - held.keys():
        last_seen = opened[uid]
        exact = uid in watched or last_seen is None
        where = {"uid": uid, "at": now_ms if exact else last_seen, "approximate": int(not exact)}
        connection.execute(_RELEASE, where)
        connection.execute(_FORGET, {"uid": uid})


def record_class_price(connection: Connection, price: ClassPrice, *, now_ms: int) -> bool:
    """Add a row if the class costs something else than it did; True if so."""
    latest = connection.execute(_LATEST_PRICE, {"class": price.accelerator_class}).one_or_none()
    if latest is not None and latest.hourly_nano == price.hourly_nano:
        return False
    row = {
        "class": price.accelerator_class,
        "hourly_nano": price.hourly_nano,
        "effective_from_ms": now_ms,
        "source": price.source,
    }
    # Note: two changes within one millisecond; the later one must win, so it takes the next moment.
    if latest is not None and latest.effective_from_ms >= now_ms:
        row["effective_from_ms"] = latest.effective_from_ms + 1
    connection.execute(insert(schema.class_price), [row])
    return True


_OPEN = text("""
    SELECT b.pod_uid, h.seen_at_ms FROM allocation b LEFT JOIN heartbeat h ON h.pod_uid = b.pod_uid
    WHERE b.kind = 'bound'
        AND NOT EXISTS (SELECT 1 FROM allocation r WHERE r.pod_uid = b.pod_uid AND r.kind = 'released')
""")
_BEAT = text("""
    INSERT INTO heartbeat (pod_uid, seen_at_ms) VALUES (:uid, :now)
    ON CONFLICT (pod_uid) DO UPDATE SET seen_at_ms = max(seen_at_ms, excluded.seen_at_ms)
""")
_RELEASE = text("""
    INSERT OR IGNORE INTO allocation (pod_uid, kind, sequence, namespace, pod, deployment, backend, revision, class,
        count, slots, at_ms, approximate)
    SELECT pod_uid, 'released', 0, namespace, pod, deployment, backend, revision, class, count, slots,
        max(at_ms, :at), :approximate
    FROM allocation WHERE pod_uid = :uid AND kind = 'bound'
""")
_FORGET = text("DELETE FROM heartbeat WHERE pod_uid = :uid")
_LATEST_PRICE = text("""
    SELECT hourly_nano, effective_from_ms FROM class_price WHERE class = :class
    ORDER BY effective_from_ms DESC LIMIT 1
""")


def _row(pod: PodFacts, kind: str, at_ms: int) -> dict[str, Any]:
    return {
        "pod_uid": pod.uid,
        "kind": kind,
        "sequence": 0,
        "namespace": pod.namespace,
        "pod": pod.name,
        "deployment": pod.deployment,
        "backend": pod.backend,
        "revision": pod.revision,
        "class": pod.accelerator_class,
        "count": pod.count,
        "slots": pod.slots,
        "at_ms": at_ms,
    }


def _bound_at_ms(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int | None:
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            moment = condition.get("lastTransitionTime") or status.get("startTime")
            return instant_ms(moment) if moment else None
    if spec.get("nodeName") and status.get("startTime"):
        return instant_ms(status["startTime"])
    return None


def _slots(spec: Mapping[str, Any]) -> str | None:
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        for variable in container.get("env", ()):
            if variable.get("name") in SLOTS_VARIABLES and variable.get("value"):
                return str(variable["value"])
    return None


def _positive(value: str | None) -> int:
    try:
        return max(1, int(value or 1))
    except ValueError:
        return 1
