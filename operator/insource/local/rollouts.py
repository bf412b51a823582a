"""How many replicas each ReplicaSet of a Deployment should have next: Kubernetes' rolling update, as pure arithmetic.

After k8s.io/kubernetes/pkg/controller/deployment (rolling.go, recreate.go). One difference: a Deployment that is scaled
in the middle of a rollout is not scaled proportionally; the rollout's own steps bring it to the new size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Scale:
    """One ReplicaSet, as far as a rollout cares."""

    name: str
    wanted: int
    """`spec.replicas`."""
    available: int
    existing: int
    """Pods that it has, terminating ones not counted."""

    @property
    def counted(self) -> int:
        """Available pods that will stay: those that it is about to delete are not to be relied on."""
        return min(self.available, self.wanted)


@dataclass(frozen=True)
class Limits:
    """How far a rolling update may go above and below the wanted number of replicas."""

    surge: int
    unavailable: int


def limits(strategy: Mapping[str, Any], replicas: int) -> Limits:
    """`maxSurge` and `maxUnavailable` (numbers or percentages, 25 % by default) for that many replicas."""
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    if surge == 0 and unavailable == 0:
        # Both may round to zero; without this the rollout could never move.
        unavailable = 1
    return Limits(surge, min(unavailable, replicas))


def _share(value: int | str, replicas: int, rounding: Any) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int(rounding(int(value.removesuffix("%")) * replicas / 100))
    return int(value)


def rolling_scales(replicas: int, bounds: Limits, new: Scale, old: Sequence[Scale]) -> dict[str, int]:
    """ReplicaSet name -> `spec.replicas` after one step; `old` is ordered oldest first."""
    total = new.wanted + sum(scale.wanted for scale in old)
    grown = new.wanted
    if new.wanted > replicas:
        grown = replicas
    elif new.wanted < replicas:
        grown += max(0, min(replicas + bounds.surge - total, replicas - new.wanted))
    result = {new.name: grown}
    new = replace(new, wanted=grown)
    total = grown + sum(scale.wanted for scale in old)
    least = replicas - bounds.unavailable
    # Replicas of the new set that are not available yet are not to be counted on when old ones go.
    spare = total - least - (grown - new.counted)
    shrunk: list[Scale] = []
    for scale in old:
        unhealthy = min(max(spare, 0), scale.wanted - scale.counted)
        spare -= unhealthy
        shrunk.append(replace(scale, wanted=scale.wanted - unhealthy))
    spare = new.counted + sum(scale.counted for scale in shrunk) - least
    for scale in shrunk:
        gone = min(max(spare, 0), scale.wanted)
        spare -= gone
        result[scale.name] = scale.wanted - gone
    return result


def recreate_scales(replicas: int, new: Scale, old: Sequence[Scale], old_pods: int) -> dict[str, int]:
    """ReplicaSet name -> `spec.replicas`: the new set grows once the old ones have no pod (`old_pods`)."""
    return {scale.name: 0 for scale in old} | {new.name: new.wanted if old_pods else replicas}
