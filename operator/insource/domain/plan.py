"""The decisions of the reconciler: everything it will do is in the plan that these functions return.

Pure: the same snapshot gives the same plan, and the plan for a snapshot in which it has been carried out is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insource.api import conditions as c
from insource.api.fields import duration_s
from insource.domain.build.gateway_tokens import build_gateway_tokens
from insource.domain.build.network_policies import build_network_policies
from insource.domain.build.pod import GRACE_BEYOND_REQUEST_S
from insource.domain.build.revision import stored_request_timeout_s, stored_template
from insource.domain.build.service_account import build_service_account
from insource.domain.facts import adapter_of, gather, has_served
from insource.domain.misfits import plan_misfit
from insource.domain.problem import Problem
from insource.domain.references import InHouseTarget, References, VendorBackendTarget, resolve
from insource.domain.routing import (
    Side,
    SpillOver,
    Terms,
    choose_serving,
    is_confirmed,
    serving_of,
    traffic_block,
)
from insource.domain.snapshot import (
    NO_PLAN,
    Deletion,
    DeploymentSnapshot,
    Manifest,
    NamespaceSnapshot,
    Plan,
)
from insource.domain.status import (
    events_between,
    stalled_status,
    status_of,
    worth_writing,
)
from insource.domain.vendor_plan import plan_vendor
from insource.domain.workloads import Children, Workload, differing, find_replica_set, retirements, wanted_workload

__all__ = ["plan_deployment", "plan_misfit", "plan_namespace", "plan_vendor"]

RECHECK_S = 30.0
"""When to look again at what sends no events of its own (gateways, adapters), should nobody have told us."""


def plan_deployment(snapshot: DeploymentSnapshot) -> Plan:
    """What to do for one ModelDeployment."""
    deployment = snapshot.deployment
    if deployment.deleting:  # garbage collection removes the children
        return NO_PLAN
    resolved = resolve(snapshot)
    if isinstance(resolved, Problem):
        status = stalled_status(resolved, deployment.generation, deployment.status, snapshot.now)
        return _with_status(snapshot, status, Plan())
    children = {(child.kind, child.name): child for child in snapshot.children}
    timeout_s = duration_s(deployment.spec.traffic.request_timeout)
    workload = None
    if isinstance(resolved.primary, InHouseTarget):
        workload = wanted_workload(snapshot, resolved.primary, children, timeout_s)
    wanted = _wanted_side(snapshot, resolved, workload, children)
    serving = choose_serving(wanted, _current_side(snapshot), replicas_wanted=deployment.spec.replicas)
    limit_s = _finishable_s(snapshot, serving, workload, children)
    previous = deployment.status.get("traffic")
    traffic = traffic_block(
        serving,
        _spill(deployment.spec.traffic.spill, resolved),
        Terms(deployment.spec.modality, min(timeout_s, limit_s or timeout_s), snapshot.settings.max_body_bytes),
        previous,
    )
    confirmed = _confirmed(snapshot, traffic)
    note = ""
    if limit_s is not None and limit_s < timeout_s:
        note = f"requestTimeout is held at {limit_s}s, what its pods can drain, until the next revision"
    facts = gather(snapshot, resolved, wanted, serving, workload, children, traffic, confirmed=confirmed, note=note)
    applies = workload.objects if workload else ()
    unconfirmed = traffic != previous or not confirmed
    waiting = any(resolved_ is None for _, resolved_, _ in facts.credentials)
    plan = Plan(
        applies=differing(applies, children),
        deletes=() if unconfirmed else _retired(snapshot, serving, workload),
        outline=workload.outline if workload else None,
        requeue_after_s=RECHECK_S if (unconfirmed and snapshot.gateway_versions) or waiting else None,
    )
    return _with_status(snapshot, status_of(facts, deployment.status, snapshot.now), plan)


def plan_namespace(snapshot: NamespaceSnapshot) -> Plan:
    """What every adapter of a namespace needs beside its own objects."""
    children = {(child.kind, child.name): child for child in snapshot.children}
    wanted: tuple[Manifest, ...] = (
        build_service_account(snapshot.namespace),
        build_gateway_tokens(snapshot.namespace, snapshot.token_digests),
    )
    if snapshot.settings is not None and snapshot.settings.delivery.network_policies:
        wanted += build_network_policies(snapshot.namespace, snapshot.settings)
    return Plan(applies=differing(wanted, children))


def _with_status(snapshot: DeploymentSnapshot, status: Manifest, plan: Plan) -> Plan:
    previous = snapshot.deployment.status
    if not worth_writing(status, previous, snapshot.now):
        return plan
    return Plan(
        applies=plan.applies,
        deletes=plan.deletes,
        status=status,
        events=events_between(previous, status),
        outline=plan.outline,
        requeue_after_s=plan.requeue_after_s,
    )


def _wanted_side(
    snapshot: DeploymentSnapshot, resolved: References, workload: Workload | None, children: Children
) -> Side:
    primary = resolved.primary
    if isinstance(primary, VendorBackendTarget):
        adapter = adapter_of(snapshot, primary.vendor.name)
        ready = adapter.ready > 0 and adapter.credentials_resolved is not False
        return Side(primary.backend, "", ready, vendor=(primary.vendor.name, primary.model))
    assert workload is not None
    child = children.get(("ReplicaSet", workload.name))
    return Side(primary.backend, workload.revision, ready=child is not None and child.ready > 0)


def _current_side(snapshot: DeploymentSnapshot) -> Side | None:
    """Who has the weight by the status, if it still exists."""
    traffic = snapshot.deployment.status.get("traffic")
    if not traffic:
        return None
    backend, revision = serving_of(traffic)
    if revision:
        child = find_replica_set(snapshot.children, backend, revision)
        if child is None:
            return None
        return Side(backend, revision, ready=child.ready > 0, served=has_served(snapshot, child.name))
    vendor = (traffic.get("vendors") or {}).get(backend)
    if vendor is None or (vendor["name"] not in snapshot.vendors and vendor["name"] not in snapshot.unfit_vendors):
        return None
    # Note: a vendor's adapter may be restarting; it is no less the one who serves.
    return Side(backend, "", ready=True, served=True, vendor=(vendor["name"], vendor["model"]))


def _spill(wanted: Any, resolved: References) -> SpillOver | None:
    if wanted is None or resolved.spill is None:
        return None
    return SpillOver(wanted.backend, wanted.when, (resolved.spill.vendor.name, resolved.spill.model))


def _finishable_s(
    snapshot: DeploymentSnapshot, serving: Side, workload: Workload | None, children: Children
) -> int | None:
    """The longest request that the serving pods can finish while they are being stopped; None: no such limit."""
    if not serving.in_house:
        return None
    if workload is not None and workload.revision == serving.revision:
        return workload.request_timeout_s
    child = find_replica_set(snapshot.children, serving.backend, serving.revision)
    template = stored_template(children.get(("ControllerRevision", child.name))) if child is not None else None
    return stored_request_timeout_s(template, GRACE_BEYOND_REQUEST_S) if template is not None else None


def _confirmed(snapshot: DeploymentSnapshot, traffic: Mapping[str, Any]) -> bool:
    """Whether every gateway follows this block.

    Once said it stands: a gateway that restarts applies before it serves.
    """
    status = snapshot.deployment.status
    previous = status.get("traffic") or {}
    if traffic["version"] != previous.get("version"):
        return not snapshot.gateway_versions
    if c.status_of(status.get("conditions") or (), c.TRAFFIC_APPLIED) == c.TRUE:
        return True
    return is_confirmed(traffic["version"], snapshot.gateway_versions)


def _retired(snapshot: DeploymentSnapshot, serving: Side, workload: Workload | None) -> tuple[Deletion, ...]:
    in_use = {workload.name} if workload else set()
    current = find_replica_set(snapshot.children, serving.backend, serving.revision)
    if current is not None:
        in_use.add(current.name)
    return retirements(
        snapshot.children,
        snapshot.deployment.namespace,
        in_use=frozenset(in_use),
        history_limit=snapshot.settings.revision_history_limit,
    )
