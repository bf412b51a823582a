"""The ModelDeployment's status: what we say about it, as a pure function of what is the case and what was said before.

Made so that a new deployment costs two writes: weights first, Ready second. What merely gets better on the way there
is not worth a write (`worth_writing`), and counts are published when they are none, some or all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from insource.api import conditions as c
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.conditions import Condition
from insource.domain.pod_troubles import NO_TROUBLE, Trouble
from insource.domain.problem import PODS_REFUSED, Problem
from insource.domain.scheduling import schedulable
from insource.domain.served_names import Contest
from insource.domain.snapshot import Event, Manifest

GATEWAYS_PATIENCE_S = 30.0
"""So long after traffic has changed, gateways that have not applied it are worth a status write of their own."""


@dataclass(frozen=True, slots=True)
class BackendState:
    """One backend that has, will have, or may get traffic."""

    name: str
    revision: str
    class_: str
    ready: int
    desired: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class InHouseState:
    """What is known of the wanted in-house revision."""

    class_: str
    class_spec: AcceleratorClassSpec
    ready: int
    desired: int
    unscheduled: Trouble = NO_TROUBLE
    """What keeps its replicas from a node, with the class, in the scheduler's or the quota's own words."""
    trouble: Trouble = NO_TROUBLE
    """Why its containers cannot run."""
    downloading: bool = False
    """A replica is downloading the model."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is the case, as far as status is concerned."""

    generation: int
    wanted: str
    """What should serve, in words: `inhouse (revision x)`."""
    serving: str
    """What has the weight, in words."""
    switched: bool
    """The wanted side has the weight."""
    wanted_available: bool
    """The wanted side can serve."""
    in_house: InHouseState | None
    """None if the primary is a vendor."""
    traffic: Manifest
    traffic_confirmed: bool
    credentials: tuple[tuple[str, bool | None, str], ...]
    """For each Vendor used: its name, whether its key was found (None: not known yet), the adapter's message."""
    backends: tuple[BackendState, ...]
    revisions: tuple[Mapping[str, Any], ...]
    primary: str
    endpoint: str
    replicas: int
    selector: str
    note: str = ""
    """Something about a Ready deployment that its owner should know."""
    refused: Problem | None = None
    """What the API server refused of our objects."""
    full_name: str = ""
    served_names: tuple[str, ...] = ()
    contests: tuple[Contest, ...] = ()
    """Those of the names that another answers."""


def status_of(facts: Facts, previous: Mapping[str, Any], now: str) -> Manifest:
    """The whole status."""
    before = {item["type"]: item for item in previous.get("conditions") or ()}
    conditions = c.render(_conditions(facts, before), previous=before.values(), generation=facts.generation, now=now)
    status: Manifest = {
        "observedGeneration": facts.generation,
        "conditions": conditions,
        "traffic": facts.traffic,
        "primary": facts.primary,
        "replicas": facts.replicas,
        "backends": _backends(facts.backends, previous.get("backends") or ()),
        "revisions": [dict(item) for item in facts.revisions],
    }
    if facts.endpoint:
        status["endpoint"] = facts.endpoint
    if facts.selector:
        status["selector"] = facts.selector
    return status


def stalled_status(problem: Problem, generation: int, previous: Mapping[str, Any], now: str) -> Manifest:
    """The status of a spec that cannot be carried out: all that was said about what serves still stands."""
    before = list(previous.get("conditions") or ())
    told = {c.READY, c.RECONCILING, c.STALLED}
    kept = [
        Condition(item["type"], item["status"], item["reason"], item.get("message", ""))
        for item in before
        if item["type"] not in told
    ]
    summary = c.stalled(problem.reason, problem.message)
    rendered = c.render([*summary, *kept], previous=before, generation=generation, now=now)
    return {**previous, "observedGeneration": generation, "conditions": rendered}


def worth_writing(new: Mapping[str, Any], previous: Mapping[str, Any], now: str) -> bool:
    """False if `new` says nothing that cannot wait for the next write.

    While we are working towards Ready, a condition that turns from Unknown to True, a count, or another wording waits;
    so do gateways that are the last thing in the way, unless they take longer than `GATEWAYS_PATIENCE_S`.
    """
    if new == previous:
        return False
    if any(new.get(key) != previous.get(key) for key in ("observedGeneration", "traffic", "endpoint", "replicas")):
        return True
    if c.status_of(new["conditions"], c.RECONCILING) != c.TRUE:
        return True
    before = {item["type"]: item for item in previous.get("conditions") or ()}
    if before.keys() != {item["type"] for item in new["conditions"]}:
        return True
    soon = _gateways_are_on_time(new["conditions"], now)
    return any(_is_news(item, before[item["type"]], soon=soon) for item in new["conditions"])


def events_between(previous: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Event, ...]:
    """One event for each transition that a person wants to see in `kubectl describe`."""
    before = {item["type"]: item for item in previous.get("conditions") or ()}
    events = []
    moved = _moved(previous.get("traffic"), new.get("traffic"))
    if moved:
        events.append(Event("Normal", "TrafficMoved", moved))
    stalled_by = {item["reason"] for item in new["conditions"] if item["type"] == c.STALLED}
    for item in new["conditions"]:
        type_ = _event_type(item, before.get(item["type"], {}))
        if type_ and (item["type"] == c.STALLED or item["reason"] not in stalled_by):  # told once
            events.append(Event(type_, item["reason"], item["message"]))
    return tuple(events)


def _event_type(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Normal, Warning, or empty for what needs no event. Ready=False of a new object is not worth one."""
    changed = old.get("status") != new["status"]
    if new["type"] == c.STALLED:
        return "Warning" if changed or old.get("message") != new["message"] else ""
    if not changed:
        return ""
    if new["type"] == c.READY:
        return {c.TRUE: "Normal", c.FALSE: "Warning" if old.get("status") == c.TRUE else ""}.get(new["status"], "")
    return (
        "Warning" if new["type"] in (c.SCHEDULABLE, c.MODEL_LOADED, c.NAMES_SERVED) and new["status"] == c.FALSE else ""
    )


def _moved(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    if not old or not new or old["weights"] == new["weights"]:
        return ""
    names = [
        f"{w['backend']}{' ' + w['revision'] if w.get('revision') else ''}" for w in (*old["weights"], *new["weights"])
    ]
    return f"all traffic moves from {names[0]} to {names[-1]} (version {new['version']})"


def _gateways_are_on_time(conditions: Iterable[Mapping[str, Any]], now: str) -> bool:
    applied = next((item for item in conditions if item["type"] == c.TRAFFIC_APPLIED), None)
    if applied is None:
        return False
    try:
        waited = datetime.fromisoformat(now) - datetime.fromisoformat(applied["lastTransitionTime"])
    except (ValueError, TypeError):  # somebody else wrote that time
        return False
    return waited.total_seconds() < GATEWAYS_PATIENCE_S


def _is_news(new: Mapping[str, Any], old: Mapping[str, Any], *, soon: bool) -> bool:
    if soon and new["status"] == old["status"] and (old["reason"], new["reason"]) == ("Starting", "ApplyingTraffic"):
        return False
    if new["status"] == c.TRUE and (old["status"] == c.UNKNOWN or new["type"] == c.BACKENDS_AVAILABLE):
        return False
    if (new["status"], new["reason"]) != (old["status"], old["reason"]):
        return True
    # The words of whoever stands in the way are news; our own rewording of a wait is not.
    return new["type"] in (c.SCHEDULABLE, c.MODEL_LOADED, c.CREDENTIALS_RESOLVED) and new["message"] != old["message"]


def _conditions(facts: Facts, before: Mapping[str, Mapping[str, Any]]) -> list[Condition]:
    aspects = [_backends_available(facts)]
    if facts.in_house is not None:
        aspects.append(_model_loaded(facts.in_house))
    if facts.credentials:
        aspects.append(_credentials(facts))
    aspects.append(_traffic_applied(facts))
    if facts.served_names:
        aspects.append(_names_served(facts))
    if facts.in_house is not None:
        state = facts.in_house
        aspects.append(
            schedulable(
                state.unscheduled,
                before.get(c.SCHEDULABLE),
                all_ready=state.ready >= state.desired,
                class_=state.class_spec,
            )
        )
    was_ready = before.get(c.READY, {}).get("status") == c.TRUE
    return [*_summary(facts, {item.type: item for item in aspects}, was_ready=was_ready), *aspects]


def _summary(facts: Facts, aspects: Mapping[str, Condition], *, was_ready: bool) -> list[Condition]:
    """Ready, and beside a False one either Stalled (the user must act) or Reconciling (we are at it)."""
    if facts.refused is not None:
        return c.stalled(facts.refused.reason, facts.refused.message)
    credentials = aspects.get(c.CREDENTIALS_RESOLVED)
    if credentials is not None and credentials.status == c.FALSE:
        return c.stalled(credentials.reason, credentials.message)
    obstacle = _obstacle(facts, aspects, was_ready=was_ready)
    if obstacle is None:
        return [_ready(facts)]
    reason, message = obstacle
    if reason == PODS_REFUSED:
        return c.stalled(reason, message)
    return [Condition(c.READY, c.FALSE, reason, message), Condition(c.RECONCILING, c.TRUE, reason, message)]


def _ready(facts: Facts) -> Condition:
    state = facts.in_house
    if state is not None and state.desired == 0:
        return Condition(c.READY, c.TRUE, "Off", "replicas is 0: the primary is switched off")
    message = f"{facts.serving} serves"
    return Condition(c.READY, c.TRUE, "Serving", f"{message}; {facts.note}" if facts.note else message)


def _obstacle(facts: Facts, aspects: Mapping[str, Condition], *, was_ready: bool) -> tuple[str, str] | None:
    """What is between us and Ready: reason and message, worded so that they stay while nothing happens."""
    for type_ in (c.SCHEDULABLE, c.MODEL_LOADED):
        aspect = aspects.get(type_)
        if (
            aspect is not None
            and aspect.status == c.FALSE
            and not (facts.switched and facts.wanted_available and was_ready)
        ):
            return aspect.reason, aspect.message
    if not facts.switched:
        return "Switching", f"{facts.wanted} is starting; {facts.serving} serves until it is ready"
    state = facts.in_house
    if state is not None and state.desired > 0 and state.ready < (1 if was_ready else state.desired):
        return ("NotAvailable" if was_ready or facts.note else "Starting"), f"waiting for replicas of {facts.wanted}"
    if state is None and not facts.wanted_available:
        return "Starting", f"waiting for the adapter of {facts.wanted}"
    unknown = [name for name, resolved, _ in facts.credentials if resolved is None]
    if unknown:
        return "WaitingForVendor", f'waiting for the adapter of Vendor "{unknown[0]}" to report on its key'
    if not facts.traffic_confirmed:
        return "ApplyingTraffic", f"waiting for every gateway to apply traffic version {facts.traffic['version']}"
    return None


def _backends_available(facts: Facts) -> Condition:
    if facts.in_house is not None and facts.in_house.desired == 0:
        return Condition(c.BACKENDS_AVAILABLE, c.FALSE, "Off", "replicas is 0: the primary is switched off")
    missing = [f"{item.name}: {item.message or 'no ready replica'}" for item in facts.backends if item.ready == 0]
    if missing:
        return Condition(c.BACKENDS_AVAILABLE, c.FALSE, "NotReady", "; ".join(missing))
    return Condition(c.BACKENDS_AVAILABLE, c.TRUE, "Available", "every backend has a ready replica")


def _model_loaded(state: InHouseState) -> Condition:
    if state.ready > 0:
        return Condition(c.MODEL_LOADED, c.TRUE, "Loaded", "a replica has loaded the model")
    if state.trouble.reason:
        return Condition(c.MODEL_LOADED, c.FALSE, state.trouble.reason, state.trouble.words)
    if state.desired == 0:
        return Condition(c.MODEL_LOADED, c.UNKNOWN, "Off", "there is no replica to load it")
    if state.downloading:
        return Condition(c.MODEL_LOADED, c.UNKNOWN, "Downloading", "a replica is downloading the model")
    return Condition(c.MODEL_LOADED, c.UNKNOWN, "Loading", "no replica has loaded the model yet")


def _credentials(facts: Facts) -> Condition:
    for name, resolved, message in facts.credentials:
        if resolved is False:
            words = message or "its key was not found"
            return Condition(c.CREDENTIALS_RESOLVED, c.FALSE, "CredentialsMissing", f'Vendor "{name}": {words}')
    if any(resolved is None for _, resolved, _ in facts.credentials):
        return Condition(c.CREDENTIALS_RESOLVED, c.UNKNOWN, "NotReported", "the vendor's adapter has not reported yet")
    return Condition(c.CREDENTIALS_RESOLVED, c.TRUE, "Resolved", "every vendor's key was found")


def _traffic_applied(facts: Facts) -> Condition:
    version = facts.traffic["version"]
    if facts.traffic_confirmed:
        return Condition(c.TRAFFIC_APPLIED, c.TRUE, "Applied", f"every gateway has applied version {version}")
    return Condition(c.TRAFFIC_APPLIED, c.UNKNOWN, "Applying", f"not every gateway has applied version {version} yet")


def _names_served(facts: Facts) -> Condition:
    if not facts.contests:
        words = ", ".join(f'"{name}"' for name in facts.served_names)
        return Condition(c.NAMES_SERVED, c.TRUE, "Served", f"on plain /v1, clients may send {words} as model")
    taken = "; ".join(f'"{name}" is answered by ModelDeployment {other.full_name}' for name, other in facts.contests)
    return Condition(
        c.NAMES_SERVED,
        c.FALSE,
        "NameTaken",
        f"{taken}, to which clients of both are sent; choose another name, or have clients send "
        f'"{facts.full_name}" as model',
    )


def _backends(states: Iterable[BackendState], previous: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    before = {(item["name"], item.get("revision", "")): int(item.get("ready", 0)) for item in previous}
    return [
        {
            "name": state.name,
            "revision": state.revision,
            "class": state.class_,
            "ready": coarse(state.ready, state.desired, before.get((state.name, state.revision), 0)),
            "desired": state.desired,
            "message": state.message[:1024],
        }
        for state in states
    ]


def coarse(ready: int, desired: int, published: int) -> int:
    """Ready replicas as published: exact when none or all are, else what was said when it became `some`."""
    if ready == 0 or ready >= desired:
        return min(ready, desired)
    return published if 0 < published < desired else ready
