"""Which observations there are, in which order, and what a real server was seen to answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.contract.observed import (
    applying,
    auditing,
    deleting,
    discovery,
    identity,
    listing,
    validation,
    watching,
    workloads,
)
from tests.contract.observed.observer import DEADLINE_S, Observer
from tests.servers import ApiServer

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.jsonl"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCENARIOS: dict[str, Callable[[Observer], None]] = {
    "versions": identity.versions,
    "replacing": identity.replacing,
    "misfits": identity.misfits,
    "patching": identity.patching,
    "refusals": validation.refusals,
    "unknown-fields": validation.unknown_fields,
    "dry-runs": validation.dry_runs,
    "built-in": validation.built_in,
    "leases": validation.leases,
    "ownership": applying.ownership,
    "status-and-metadata": applying.status_and_metadata,
    "odd-bodies": applying.odd_bodies,
    "deployments": workloads.deployments,
    "scales": workloads.scales,
    "hand-over": workloads.hand_over,
    "without-replicas": workloads.without_replicas,
    "discovery": discovery.discovery,
    "pages": listing.pages,
    "selectors": listing.selectors,
    "odd-queries": listing.odd_queries,
    "shapes": listing.shapes,
    "watches": watching.watches,
    "finalizers": deleting.finalizers,
    "dependents": deleting.dependents,
    "namespaces": deleting.namespaces,
    "audit": auditing.audit,
}
"""Each in a namespace of its own: none sees what another has made."""


def golden() -> dict[str, tuple[str, Any]]:
    """Observation -> (scenario, what the real server answered)."""
    lines = (json.loads(line) for line in GOLDEN.read_text().splitlines()) if GOLDEN.exists() else ()
    return {line["name"]: (line["scenario"], line["value"]) for line in lines}


def prepare(api: ApiServer) -> None:
    """Serve Widgets."""
    crd = yaml.safe_load((HERE / "widget.yaml").read_text())
    name = crd["metadata"]["name"]
    if api.request("GET", f"{CRDS}/{name}").status == 404:
        api.ok("POST", CRDS, crd)
    observer = Observer(api, "default")
    observer.until(lambda: api.request("GET", observer.widgets).status == 200, f"Widgets, within {DEADLINE_S} s")


def observe(api: ApiServer, scenario: str) -> dict[str, Any]:
    """All observations of one scenario, by name."""
    observer = Observer(api, f"observed-{scenario}")
    with api.namespace(observer.namespace):
        # On a real server, a namespace is ready for Deployments once it has its ServiceAccount.
        account = f"/api/v1/namespaces/{observer.namespace}/serviceaccounts/default"
        observer.until(lambda: api.request("GET", account).status == 200, "a default ServiceAccount")
        SCENARIOS[scenario](observer)
    return observer.seen
