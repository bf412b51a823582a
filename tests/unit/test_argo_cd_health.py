"""The health check that our page gives to Argo CD says what kstatus says, whatever the status."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from insource.api.kinds import KINDS
from tests.argo_cd import argo_health, health_checks
from tests.kstatus import CURRENT, FAILED, IN_PROGRESS, kstatus

HEALTH = {CURRENT: "Healthy", IN_PROGRESS: "Progressing", FAILED: "Degraded"}
SAID = ("True", "False", "Unknown")


def obj(kind: str, generation: int, observed: int | None, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    status = {} if observed is None else {"observedGeneration": observed, "conditions": conditions}
    metadata = {"generation": generation}
    return {"apiVersion": "insource.dev/v1alpha1", "kind": kind, "metadata": metadata, "status": status}


def test_the_page_has_a_check_for_each_kind_that_the_operator_reports_on() -> None:
    assert health_checks().keys() == {f"insource.dev_{kind.kind}" for kind in KINDS if kind.reported}


@pytest.mark.parametrize("kind", ["ModelDeployment", "Vendor"])
def test_it_agrees_with_kstatus_on_what_the_operator_writes(kind: str) -> None:
    for observed, ready in product((-1, 1, 2), SAID):
        for beside in [(), ("Stalled",), ("Reconciling",)] if ready != "True" else [()]:
            conditions = [{"type": "Ready", "status": ready, "message": "why"}]
            conditions += [{"type": type_, "status": "True", "message": "why"} for type_ in beside]
            shown = obj(kind, 2, observed, conditions)
            assert argo_health(shown).status == HEALTH[kstatus(shown)], shown


def test_an_object_without_a_status_is_progressing() -> None:
    assert argo_health(obj("Vendor", 1, None, [])).status == "Progressing"


def test_the_message_is_the_condition_s() -> None:
    stalled = [
        {"type": "Ready", "status": "False", "message": "no such CatalogModel"},
        {"type": "Stalled", "status": "True", "message": "no such CatalogModel"},
    ]
    assert argo_health(obj("Vendor", 1, 1, stalled)).message == "no such CatalogModel"
