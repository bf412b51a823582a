"""The audit log's entries: `audit.k8s.io/v1` Events at the level Metadata. Pure; knows nothing of HTTP or files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from insource.local.auth import User
from insource.local.rbac import Decision, Request
from insource.local.store_errors import Object


@dataclass(frozen=True)
class Answered:
    """One request and how it was answered."""

    uri: str
    asked: Request
    version: str
    """Of the API, `v1`; empty if no resource was asked for."""
    code: int
    received: datetime
    answered: datetime
    sender: User
    acting: User | None = None
    """Whom the sender was taken for."""
    decision: Decision | None = None
    """Whether they may; None: nobody asked."""
    status: Object | None = None
    """The Status that was answered, if it was one."""
    sent: Any = None
    """The body of a creation or an update."""
    address: str = ""
    agent: str = ""


def entry(request: Answered, audit_id: str) -> Object:
    """The Event, with a real server's fields in its order."""
    found: Object = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": "ResponseComplete",
        "requestURI": request.uri,
        "verb": request.asked.verb,
        "user": request.sender.as_object(),
    }
    if request.acting is not None and request.acting != request.sender:
        found["impersonatedUser"] = request.acting.as_object()
    if request.address:
        found["sourceIPs"] = [request.address]
    if request.agent:
        found["userAgent"] = request.agent
    if request.asked.resource:
        found["objectRef"] = _reference(request)
    found["responseStatus"] = _status(request)
    found["requestReceivedTimestamp"] = micro_time(request.received)
    found["stageTimestamp"] = micro_time(request.answered)
    if request.decision is not None:
        found["annotations"] = {
            "authorization.k8s.io/decision": "allow" if request.decision.allowed else "forbid",
            "authorization.k8s.io/reason": request.decision.reason,
        }
    return found


def _reference(request: Answered) -> Object:
    """What the path names, completed by what the body says of itself."""
    asked = request.asked
    metadata = request.sent.get("metadata") if isinstance(request.sent, dict) else None
    said = metadata if isinstance(metadata, dict) else {}
    reference = {
        "resource": asked.resource,
        "namespace": asked.namespace or said.get("namespace"),
        "name": asked.name or said.get("name"),
        "uid": said.get("uid"),
        "apiGroup": asked.group,
        "apiVersion": request.version,
        "resourceVersion": said.get("resourceVersion"),
        "subresource": asked.subresource,
    }
    return {name: value for name, value in reference.items() if value}


def _status(request: Answered) -> Object:
    said = request.status or {}
    names = ("status", "message", "reason", "details")
    return {"metadata": {}, **{name: said[name] for name in names if name in said}, "code": request.code}


def micro_time(moment: datetime) -> str:
    """Kubernetes' MicroTime: always six digits and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
