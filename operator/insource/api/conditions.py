"""Conditions (metav1.Condition): their shape, and the one rule about `lastTransitionTime`.

kstatus reads them: `Reconciling` only while working, `Stalled` only when the user must act, neither beside Ready=True.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from insource.api.fields import Spec

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
BACKENDS_AVAILABLE = "BackendsAvailable"
MODEL_LOADED = "ModelLoaded"
CREDENTIALS_RESOLVED = "CredentialsResolved"
TRAFFIC_APPLIED = "TrafficApplied"
SCHEDULABLE = "Schedulable"
NAMES_SERVED = "NamesServed"
MODELS_OFFERED = "ModelsOffered"

NOT_OBSERVED = -1
"""The `observedGeneration` of an object that nobody has reported on: kstatus calls one without a status current."""


class ConditionModel(Spec):
    """One aspect of the object's state."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    message: Annotated[str, Field(max_length=1024)] = ""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    last_transition_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]


class StatusModel(Spec):
    """What every kind's status has."""

    observed_generation: Annotated[int, Field(ge=NOT_OBSERVED)] | None = None
    conditions: Annotated[
        tuple[ConditionModel, ...],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """What we want to say; generation and transition time are added when it is rendered."""

    type: str
    status: str
    reason: str
    message: str = ""


def stalled(reason: str, message: str) -> list[Condition]:
    """Not ready, and it stays so until somebody acts."""
    return [Condition(READY, FALSE, reason, message), Condition(STALLED, TRUE, reason, message)]


def render(
    conditions: Iterable[Condition], *, previous: Iterable[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """Conditions as they go into a status, in the order given.

    `now` (RFC 3339) becomes the transition time of those whose status differs from `previous`.
    """
    before = {item["type"]: item for item in previous}
    rendered = []
    for condition in conditions:
        old = before.get(condition.type)
        same = old is not None and old.get("status") == condition.status
        rendered.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:1024],
                "observedGeneration": generation,
                "lastTransitionTime": old.get("lastTransitionTime", now) if old is not None and same else now,
            }
        )
    return rendered


def status_of(conditions: Iterable[Mapping[str, Any]], type_: str) -> str:
    """`True`, `False` or `Unknown` (also when absent) of one condition in a rendered status."""
    return next((str(item.get("status", UNKNOWN)) for item in conditions if item.get("type") == type_), UNKNOWN)
