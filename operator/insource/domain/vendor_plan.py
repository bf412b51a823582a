"""What to do for one Vendor: its adapter's Deployment, Service and routes, and what we say about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from insource.api import conditions as c
from insource.api import meta
from insource.api.conditions import Condition
from insource.domain.build.service import build_service
from insource.domain.build.vendor_deployment import build_vendor_deployment
from insource.domain.build.vendor_routes import build_vendor_routes
from insource.domain.names import vendor_adapter_name
from insource.domain.scheduling import first_trouble
from insource.domain.snapshot import NO_PLAN, Event, Manifest, Plan, VendorSnapshot
from insource.domain.status import worth_writing
from insource.domain.vendor_models import Offer, models_offered, models_status, next_look_s, offers_of, used_models
from insource.domain.workloads import differing

RECHECK_S = 30.0


def plan_vendor(snapshot: VendorSnapshot) -> Plan:
    """What to do for one Vendor."""
    vendor = snapshot.vendor
    if vendor.deleting:
        return NO_PLAN
    labels = {meta.LABEL_VENDOR: vendor.name}
    children = {(child.kind, child.name): child for child in snapshot.children}
    routes = children.get(("ConfigMap", vendor_adapter_name(vendor.name)))
    wanted = (
        build_vendor_routes(vendor, snapshot.deployments, snapshot.unfit_deployments, routes),
        build_service(vendor, name=vendor_adapter_name(vendor.name), labels=labels, selector=labels),
        build_vendor_deployment(vendor, snapshot.settings),
    )
    applies = differing(wanted, children)
    users = used_models(vendor, snapshot.deployments, snapshot.unfit_deployments)
    offers = offers_of(vendor, users, snapshot.adapter.models, snapshot.catalogue)
    status = _status(snapshot, offers)
    waits = (
        RECHECK_S if snapshot.adapter.credentials_resolved is not True else None,
        next_look_s(offers, snapshot.now),
    )
    again = min((wait for wait in waits if wait is not None), default=None)
    if not worth_writing(status, vendor.status, snapshot.now):
        return Plan(applies=applies, requeue_after_s=again)
    return Plan(applies=applies, status=status, events=_events(vendor.status, status), requeue_after_s=again)


def _status(snapshot: VendorSnapshot, offers: tuple[Offer, ...]) -> Manifest:
    vendor, before = snapshot.vendor, snapshot.vendor.status.get("conditions") or ()
    credentials = _credentials(snapshot, c.status_of(before, c.CREDENTIALS_RESOLVED))
    told = [*_summary(snapshot, credentials), credentials]
    offered = models_offered(offers, snapshot.adapter.models, snapshot.now)
    if offered is not None:
        told.append(offered)
    conditions = c.render(told, previous=before, generation=vendor.generation, now=snapshot.now)
    models = models_status(offers)
    return {
        "observedGeneration": vendor.generation,
        "conditions": conditions,
        **({"models": models} if models else {}),
    }


def _credentials(snapshot: VendorSnapshot, before: str) -> Condition:
    known, secret = snapshot.adapter.credentials_resolved, snapshot.vendor.spec.credentials.secret_ref
    if known is None and (snapshot.adapter.ready > 0 or before == c.TRUE):
        known = True
    if known is False:
        words = snapshot.adapter.credentials_message or f'key "{secret.key}" of Secret "{secret.name}" not found'
        return Condition(c.CREDENTIALS_RESOLVED, c.FALSE, "CredentialsMissing", words)
    if known is None:
        return Condition(c.CREDENTIALS_RESOLVED, c.UNKNOWN, "NotReported", "the adapter has not reported yet")
    if known and snapshot.adapter.credentials_message:
        return Condition(c.CREDENTIALS_RESOLVED, c.TRUE, "LastGoodKey", snapshot.adapter.credentials_message)
    return Condition(c.CREDENTIALS_RESOLVED, c.TRUE, "Resolved", f'the adapter has the key of Secret "{secret.name}"')


def _summary(snapshot: VendorSnapshot, credentials: Condition) -> list[Condition]:
    if snapshot.refused is not None:
        return c.stalled(snapshot.refused.reason, snapshot.refused.message)
    if credentials.status == c.FALSE:
        return c.stalled(credentials.reason, credentials.message)
    if snapshot.adapter.ready > 0:
        return [Condition(c.READY, c.TRUE, "Available", "the adapter is ready")]
    message = first_trouble(each for pod in snapshot.pods for each in (pod.unscheduled, pod.trouble)).words
    reason = "AdapterFailing" if message else "Starting"
    message = message or "waiting for the adapter"
    return [Condition(c.READY, c.FALSE, reason, message), Condition(c.RECONCILING, c.TRUE, reason, message)]


def _events(previous: Any, new: Manifest) -> tuple[Event, ...]:
    return *_of_readiness(previous, new), *_of_models(previous, new)


def _of_models(previous: Any, new: Manifest) -> tuple[Event, ...]:
    """One warning when a model's end comes in sight, and one for each way in which it gets worse, or is another."""
    before = _found(previous.get("conditions") or ())
    now = _found(new["conditions"])
    if now.get("status") != c.FALSE or (before.get("status"), before.get("reason")) == (c.FALSE, now["reason"]):
        return ()
    return (Event("Warning", now["reason"], now["message"]),)


def _found(conditions: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((item for item in conditions if item["type"] == c.MODELS_OFFERED), {})


def _of_readiness(previous: Any, new: Manifest) -> tuple[Event, ...]:
    before = c.status_of(previous.get("conditions") or (), c.READY)
    ready = new["conditions"][0]
    if ready["status"] == before:
        return ()
    type_ = "Normal" if ready["status"] == c.TRUE else "Warning"
    if before == c.UNKNOWN and ready["reason"] == "Starting":  # it has just been created
        return ()
    return (Event(type_, ready["reason"], ready["message"]),)
