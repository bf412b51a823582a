"""What the API server's refusal of one of our objects means to the person who must act. Decides no write."""

from __future__ import annotations

from dataclasses import dataclass

from insource.domain.problem import NOT_ACCEPTED, NOT_PERMITTED, QUOTA_EXCEEDED, Problem
from insource.domain.snapshot import Deletion
from insource.kube.client import ApiError
from insource.kube.resources import Object

RETRY_AT_MOST_S = 60.0
"""Nothing tells us when a quota or a policy has changed, and a person is waiting: never longer than this."""
_TERMINATING = "because it is being terminated"
_INVALID = frozenset({400, 413, 422})
_LONGEST = 640
"""Characters of the server's own words: the whole message must fit a condition."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused write; `retry_after_s` as the API server asked."""

    problem: Problem
    retry_after_s: float = 0.0


class RefusedError(Exception):
    """The API server refused an object; its owner's status says so. The work is to be tried again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.problem.message)
        self.refusal = refusal


def refusal_of(manifest: Object, error: ApiError) -> Refusal | None:
    """The refusal of `manifest`; None if the API server was only away, busy, or behind: then nobody need act."""
    if error.status == 403 and error.message.endswith(_TERMINATING):
        return None  # the owner goes with its namespace
    if error.status == 403:
        quota = "exceeded quota" in error.message
        reason = QUOTA_EXCEEDED if quota else NOT_PERMITTED
    elif error.status in _INVALID:
        reason = NOT_ACCEPTED
    else:
        return None
    words = error.message if len(error.message) <= _LONGEST else f"{error.message[:_LONGEST]}..."
    metadata = manifest["metadata"]
    message = f'the API server refused {manifest["kind"]} "{metadata["name"]}": {words}; {_ADVICE[reason]}'
    return Refusal(Problem(reason, message), error.retry_after or 0.0)


def refusal_to_delete(deletion: Deletion, error: ApiError) -> Refusal | None:
    """The same for an object that should go: it still runs, and still costs."""
    if error.status != 403:
        return None
    words = error.message[:_LONGEST]
    message = f'the API server refused to delete {deletion.kind} "{deletion.name}": {words}; {_ADVICE[NOT_PERMITTED]}'
    return Refusal(Problem(NOT_PERMITTED, message), error.retry_after or 0.0)


def refused_status(error: ApiError) -> str:
    """What to tell when the API server refuses a status; empty if it was only away, busy, or behind."""
    if error.status != 403 and error.status not in _INVALID:
        return ""
    words = error.message[:_LONGEST]
    what = "roles" if error.status == 403 else "CustomResourceDefinitions"
    return f"the API server refused this object's status: {words}; apply the {what} of this release"


_ADVICE = {
    QUOTA_EXCEEDED: "raise the quota of this namespace or free what it counts; it is tried again by itself",
    NOT_PERMITTED: "allow it (the operator's permissions, or the policy that refused it); it is tried again by itself",
    NOT_ACCEPTED: "correct what it is made from (this object, or what this one refers to); it is tried again by itself",
}
