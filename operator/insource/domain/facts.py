"""From a snapshot and the decisions made on it to the facts that the status is made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from insource.api import conditions as c
from insource.api import meta
from insource.domain.pod_troubles import START_TOO_SLOW, Trouble
from insource.domain.problem import QUOTA_EXCEEDED
from insource.domain.references import InHouseTarget, References, VendorBackendTarget, asked_of
from insource.domain.routing import Side
from insource.domain.scheduling import first_trouble, replica_set_trouble, told
from insource.domain.served_names import contests
from insource.domain.snapshot import Child, DeploymentSnapshot, Manifest, Pod, VendorAdapter, claim_of
from insource.domain.status import BackendState, Facts, InHouseState
from insource.domain.workloads import Children, Workload, find_replica_set, revision_state

_NO_ADAPTER = VendorAdapter()
STARTUP_SLACK_S = 10
"""The kubelet gives a server up to two probe periods early, and its times are whole seconds."""


def adapter_of(snapshot: DeploymentSnapshot, vendor: str) -> VendorAdapter:
    """What is known of a Vendor's adapter."""
    return snapshot.vendor_adapters.get(vendor, _NO_ADAPTER)


def has_served(snapshot: DeploymentSnapshot, name: str) -> bool:
    """Whether a workload has been ready while it had weight."""
    revisions = snapshot.deployment.status.get("revisions") or ()
    return any(item["name"] == name and item.get("served", False) for item in revisions)


def gather(
    snapshot: DeploymentSnapshot,
    resolved: References,
    wanted: Side,
    serving: Side,
    workload: Workload | None,
    children: Children,
    traffic: Manifest,
    *,
    confirmed: bool,
    note: str,
) -> Facts:
    """Everything that the status is made from."""
    deployment = snapshot.deployment
    in_house = _in_house_state(snapshot, resolved, workload, children)
    selector = ""
    if workload is not None:
        selector = f"{meta.LABEL_DEPLOYMENT}={deployment.name},{meta.LABEL_BACKEND}={wanted.backend}"
    gateway = snapshot.settings.gateway_url.rstrip("/")
    return Facts(
        generation=deployment.generation,
        wanted=_words(wanted),
        serving=_words(serving),
        switched=wanted.same_as(serving),
        wanted_available=wanted.ready,
        in_house=in_house,
        traffic=traffic,
        traffic_confirmed=confirmed,
        credentials=_credentials(snapshot, resolved),
        backends=_backend_states(snapshot, resolved, wanted, serving, in_house),
        revisions=_revisions(snapshot, wanted, serving, workload),
        primary=serving.backend,
        endpoint=f"{gateway}/{deployment.namespace}/{deployment.name}/v1" if gateway else "",
        replicas=deployment.spec.replicas if workload is not None else 0,
        selector=selector,
        note=note,
        refused=snapshot.refused,
        full_name=f"{deployment.namespace}/{deployment.name}",
        served_names=deployment.spec.served_names,
        contests=contests(deployment.spec.served_names, claim_of(deployment), snapshot.rivals),
    )


def _words(side: Side) -> str:
    return f'backend "{side.backend}" (revision {side.revision})' if side.revision else f'backend "{side.backend}"'


def _in_house_state(
    snapshot: DeploymentSnapshot, resolved: References, workload: Workload | None, children: Children
) -> InHouseState | None:
    if workload is None or not isinstance(resolved.primary, InHouseTarget):
        return None
    child = children.get(("ReplicaSet", workload.name))
    pods = [
        pod for pod in snapshot.pods if pod.revision == workload.revision and pod.backend == resolved.primary.backend
    ]
    troubles = [*(pod.unscheduled for pod in pods), replica_set_trouble(child.message if child else "")]
    if snapshot.refused is not None and snapshot.refused.reason == QUOTA_EXCEEDED:
        troubles.append(Trouble(QUOTA_EXCEEDED, snapshot.refused.message))
    class_ = resolved.primary.class_
    before = _condition(snapshot, c.SCHEDULABLE)
    unscheduled = told(first_trouble(troubles), class_.name, asked_of(resolved.primary), before)
    return InHouseState(
        class_=class_.name,
        class_spec=class_.spec,
        ready=child.ready if child else 0,
        desired=snapshot.deployment.spec.replicas,
        unscheduled=unscheduled,
        trouble=first_trouble(_troubles(pods, resolved.primary.startup_timeout_s)),
        downloading=any(pod.downloading for pod in pods),
    )


def _troubles(pods: Iterable[Pod], startup_timeout_s: int) -> Iterator[Trouble]:
    """Those of the containers. A server that was ended for its silence is told so, whatever it waits for now."""
    too_long_s = startup_timeout_s - min(STARTUP_SLACK_S, startup_timeout_s // 4)
    for pod in pods:
        if pod.unanswered_s is not None and pod.unanswered_s >= too_long_s:
            words = (
                f"container server has not answered its health check within {startup_timeout_s}s and was ended: "
                "read its log, or raise startupTimeout"
            )
            yield Trouble(START_TOO_SLOW, words)
        yield pod.trouble


def _condition(snapshot: DeploymentSnapshot, type_: str) -> Mapping[str, Any]:
    """As it was published last; empty if it was not."""
    conditions = snapshot.deployment.status.get("conditions") or ()
    return next((item for item in conditions if item.get("type") == type_), {})


def _credentials(snapshot: DeploymentSnapshot, resolved: References) -> tuple[tuple[str, bool | None, str], ...]:
    used = [target for target in (resolved.primary, resolved.spill) if isinstance(target, VendorBackendTarget)]
    before = c.status_of(snapshot.deployment.status.get("conditions") or (), c.CREDENTIALS_RESOLVED)
    rows: list[tuple[str, bool | None, str]] = []
    for target in used:
        adapter = adapter_of(snapshot, target.vendor.name)
        known = adapter.credentials_resolved
        if known is None and (adapter.ready > 0 or before == c.TRUE):
            known = True  # a ready adapter has its key; one that nobody could ask has not lost it
        rows.append((target.vendor.name, known, adapter.credentials_message))
    return tuple(rows)


def _backend_states(
    snapshot: DeploymentSnapshot, resolved: References, wanted: Side, serving: Side, in_house: InHouseState | None
) -> tuple[BackendState, ...]:
    states = []
    if in_house is not None:
        message = in_house.unscheduled.words or in_house.trouble.words
        states.append(
            BackendState(wanted.backend, wanted.revision, in_house.class_, in_house.ready, in_house.desired, message)
        )
    for child in _superseded(snapshot, wanted, serving):
        class_ = child.labels.get(meta.LABEL_CLASS, "")
        states.append(BackendState(serving.backend, serving.revision, class_, child.ready, child.desired))
    for target in (resolved.primary, resolved.spill):
        if isinstance(target, VendorBackendTarget):
            adapter = adapter_of(snapshot, target.vendor.name)
            ready, desired = adapter.ready, target.vendor.spec.replicas
            message = (
                ""
                if ready
                else adapter.credentials_message or f'the adapter of Vendor "{target.vendor.name}" is not ready'
            )
            states.append(BackendState(target.backend, "", "", ready, desired, message))
    return tuple(states)


def _revisions(
    snapshot: DeploymentSnapshot, wanted: Side, serving: Side, workload: Workload | None
) -> tuple[Mapping[str, Any], ...]:
    rows = []
    if workload is not None:
        in_weights = wanted.same_as(serving)
        served = has_served(snapshot, workload.name) or (in_weights and wanted.ready)
        rows.append(revision_state(workload.name, wanted.backend, wanted.revision, serving=in_weights, served=served))
    for child in _superseded(snapshot, wanted, serving):
        served = serving.ready or serving.served
        rows.append(revision_state(child.name, serving.backend, serving.revision, serving=True, served=served))
    return tuple(rows)


def _superseded(snapshot: DeploymentSnapshot, wanted: Side, serving: Side) -> tuple[Child, ...]:
    """The live ReplicaSet that still has the weight though another is wanted: none or one."""
    if serving.same_as(wanted):
        return ()
    child = find_replica_set(snapshot.children, serving.backend, serving.revision)
    return () if child is None else (child,)
