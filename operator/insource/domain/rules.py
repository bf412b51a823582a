"""The schema's cross-field rules once more, for an API server whose CustomResourceDefinition lacks them.

They are CEL in the CRD, where a person meets them first; an older or newer CRD, or one without CEL, lets them pass.
"""

from __future__ import annotations

from collections import Counter

from insource.api.fields import duration_s
from insource.api.model_deployment import ModelDeploymentSpec
from insource.domain.problem import INVALID_SPEC, Problem

_SHORTEST_S, _LONGEST_S = 1, 3600


def broken_rule(spec: ModelDeploymentSpec) -> Problem | None:
    """The first rule that a spec breaks, with the field's path."""
    where = _backends(spec) or _traffic(spec)
    return Problem(INVALID_SPEC, where) if where else None


def _backends(spec: ModelDeploymentSpec) -> str:
    for index, backend in enumerate(spec.backends):
        if (backend.in_house is None) == (backend.vendor is None):
            return f"spec.backends[{index}]: a backend is either inHouse or vendor: set exactly one of the two"
    names = Counter(backend.name for backend in spec.backends)
    vendors = Counter(backend.vendor.name for backend in spec.backends if backend.vendor is not None)
    for name, count in names.items():
        if count > 1:
            return f'spec.backends: two backends have the name "{name}": give each its own'
    for name, count in vendors.items():
        if count > 1:
            return f'spec.backends: two backends use Vendor "{name}": each Vendor may be used by one backend'
    return ""


def _traffic(spec: ModelDeploymentSpec) -> str:
    traffic = spec.traffic
    if spec.backend(traffic.primary) is None:
        return f'spec.traffic.primary: "{traffic.primary}" is not the name of one of spec.backends'
    if not _SHORTEST_S <= duration_s(traffic.request_timeout) <= _LONGEST_S:
        return f"spec.traffic.requestTimeout: {traffic.request_timeout} is not between 1s and 1h"
    if traffic.spill is None:
        return ""
    spill = spec.backend(traffic.spill.backend)
    if spill is None or spill.vendor is None:
        return f'spec.traffic.spill.backend: "{traffic.spill.backend}" is not the name of a vendor backend'
    if traffic.spill.backend == traffic.primary:
        return f'spec.traffic.spill.backend: "{traffic.primary}" is the primary: name another backend'
    return ""
