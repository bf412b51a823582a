"""What to say of objects that do not fit their kind, and of those that do again. What serves is left as it is."""

from __future__ import annotations

from typing import Any

from insource.api import conditions as c
from insource.api.conditions import Condition
from insource.api.kinds import Misfit, Resource
from insource.domain.problem import INVALID_SPEC, Problem
from insource.domain.snapshot import NO_PLAN, Plan
from insource.domain.status import events_between, stalled_status, worth_writing


def problem_of(misfit: Misfit) -> Problem:
    """What is wrong with the object itself."""
    return Problem(
        INVALID_SPEC,
        f"{misfit.problem}; correct the field. If the API server accepted it, its CustomResourceDefinition of "
        f"{misfit.kind} is missing or of another release: apply the CRDs of this one",
    )


def plan_misfit(misfit: Misfit, now: str) -> Plan:
    """What to do for an object that does not fit: nothing but to tell. Its children stay."""
    if misfit.deleting:
        return NO_PLAN
    status = stalled_status(problem_of(misfit), misfit.generation, misfit.status, now)
    if not worth_writing(status, misfit.status, now):
        return NO_PLAN
    return Plan(status=status, events=events_between(misfit.status, status))


def plan_mended(obj: Resource[Any], now: str) -> Plan:
    """What to do for an object of the catalogue that fits: take back what was said against it, if anything was."""
    before = obj.status.get("conditions") or ()
    if obj.deleting or c.status_of(before, c.STALLED) != c.TRUE:
        return NO_PLAN
    ready = Condition(c.READY, c.TRUE, "Valid", "it fits its kind")
    conditions = c.render([ready], previous=before, generation=obj.generation, now=now)
    status = {"observedGeneration": obj.generation, "conditions": conditions}
    return Plan(status=status, events=events_between(obj.status, status))
