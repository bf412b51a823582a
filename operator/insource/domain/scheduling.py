"""Whether replicas get a place: the condition Schedulable, from what pods and their ReplicaSet say.

A full cluster, a queue and a used-up quota are waited for (Reconciling): they free by themselves. Pods that the API
server refuses for another reason are not (Stalled): somebody must act. docs/decisions/0026 says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from insource.api import conditions as c
from insource.api import meta
from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.conditions import Condition
from insource.domain.pod_troubles import NO_TROUBLE, Trouble
from insource.domain.problem import PODS_REFUSED, QUOTA_EXCEEDED

_POD_NAME = re.compile(r'^pods "[^"]*" is forbidden: ')
_FRAGMENT = re.compile(r"[,.:;] ")
_FIGURE = re.compile(r"^\d+(/\d+)? ")
_LONGEST = 900
"""Characters of a message: it stands in others, and all must fit a condition."""


def replica_set_trouble(message: str) -> Trouble:
    """What a ReplicaSet's ReplicaFailure means. Without the pod's name, which is another one at each try."""
    if not message or f'"{meta.ADAPTER_SERVICE_ACCOUNT}" not found' in message:
        return NO_TROUBLE  # ours, and on its way; were it refused, the namespace's own pass would say so
    words = _POD_NAME.sub("", message)
    if "exceeded quota" in message:
        advice = "raise the quota of this namespace or free what it counts; Kubernetes tries again by itself"
        return Trouble(QUOTA_EXCEEDED, f"{words}; {advice}")
    return Trouble(PODS_REFUSED, f"the API server refuses the pods: {words}; allow them, or correct what they refer to")


def first_trouble(troubles: Iterable[Trouble]) -> Trouble:
    """The first that is one."""
    return next((each for each in troubles if each.reason), NO_TROUBLE)


def told(trouble: Trouble, class_: str, asked: str, before: Mapping[str, Any]) -> Trouble:
    """The trouble with the class that was asked for; as it was told before, if only its figures differ."""
    if not trouble.reason:
        return trouble
    what = f'class "{class_}" ({asked})' if asked else f'class "{class_}"'
    message = f"{what}: {trouble.words}"[:_LONGEST]
    published = str(before.get("message", ""))
    same = (before.get("status"), before.get("reason")) == (c.FALSE, trouble.reason)
    return Trouble(trouble.reason, published if same and _reasons(published) == _reasons(message) else message)


def schedulable(
    trouble: Trouble, before: Mapping[str, Any] | None, *, all_ready: bool, class_: AcceleratorClassSpec
) -> Condition:
    """The condition; `trouble` as `told` gives it."""
    if trouble.reason:
        return Condition(c.SCHEDULABLE, c.FALSE, trouble.reason, trouble.words)
    if all_ready or (before is not None and before["status"] != c.UNKNOWN):
        return Condition(c.SCHEDULABLE, c.TRUE, "Scheduled", "nothing keeps a replica from its place")
    return Condition(c.SCHEDULABLE, c.UNKNOWN, "Scheduling", f"replicas are on their way to a node{_needs(class_)}")


def _needs(class_: AcceleratorClassSpec) -> str:
    """What a pod waits for without a word, if it is not there: seen on a real scheduler."""
    whose = f' by scheduler "{class_.scheduler_name}"' if class_.scheduler_name else ""
    template = class_.resource_claim_template
    claim = f'; they need a ResourceClaimTemplate "{template}" in this namespace' if template else ""
    return whose + claim


def _reasons(message: str) -> frozenset[str]:
    """A scheduler's reasons without counts and order: both change as nodes come and go."""
    return frozenset(_FIGURE.sub("", fragment).rstrip(".") for fragment in _FRAGMENT.split(message))
