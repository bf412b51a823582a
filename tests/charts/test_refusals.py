"""Values that make no sense are refused before anything is sent, in words that say what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.charts.helm import template

REFUSED = {
    "an unknown value": ["gateway.replica=3"],
    "a value of an unknown part": ["redis.enabled=true"],
    "no replicas": ["operator.replicas=0"],
    "a pull policy that there is not": ["image.pullPolicy=Sometimes"],
    "a pull secret without a name": ["imagePullSecrets[0].nam=x"],
    "an URL without a scheme": ["gateway.publicURL=models.example.com"],
    "a size that is none": ["ledger.persistence.size=big"],
    "an ingress without a host": ["gateway.ingress.enabled=true"],
    "a wildcard without an address": ["gateway.ingress.enabled=true", "gateway.ingress.host=*.example.com"],
    "a route without a parent": ["gateway.httpRoute.enabled=true"],
    "a parent of a field that there is not": [
        "gateway.httpRoute.enabled=true",
        *("gateway.httpRoute.parentRefs[0].name=public", "gateway.httpRoute.parentRefs[0].listener=https"),
    ],
    "a hostname with a port": ["gateway.httpRoute.hostnames[0]=models.example.com:443"],
    "an interval without a unit": ["serviceMonitors.interval=30"],
    "a drain without time": ["gateway.drain.settleSeconds=60", "gateway.drain.limitSeconds=60"],
    "a namespace that is none": ["operator.watchNamespaces[0]=Speech"],
    "its own namespace": ["operator.watchNamespaces[0]=insource-system"],
    "a least above the most": ["gateway.autoscaling.enabled=true", "gateway.autoscaling.minReplicas=20"],
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    done = template(tmp_path, *(flag for value in REFUSED[what] for flag in ("--set", value)))
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr == snapshot


def test_another_namespace_is_refused_with_the_right_one(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    done = template(tmp_path, namespace="default")
    assert done.returncode != 0
    assert done.stderr == snapshot
