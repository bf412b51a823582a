"""What to do for an object that does not fit its kind: say so, and leave everything that serves as it is."""

from __future__ import annotations

from insource.api.kinds import Misfit
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
    """What to do for a ModelDeployment or Vendor that does not fit: nothing but to tell. Its children stay."""
    if misfit.deleting:
        return NO_PLAN
    status = stalled_status(problem_of(misfit), misfit.generation, misfit.status, now)
    if not worth_writing(status, misfit.status):
        return NO_PLAN
    return Plan(status=status, events=events_between(misfit.status, status))
