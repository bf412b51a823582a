"""The schema's cross-field rules once more, for an API server whose CustomResourceDefinition lacks them.

They are CEL in the CRD, where a person meets them first; an older or newer CRD, or one without CEL, lets them pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.fields import Spec, duration_s
from insource.api.model_deployment import ModelDeploymentSpec
from insource.api.pod_rules import broken_pod_rule
from insource.api.vendor import VendorSpec
from insource.wire.vocabulary import Dialect

_SHORTEST_S, _LONGEST_S = 1, 3600


def broken_rule(spec: Spec) -> str:
    """The first rule that a spec breaks: field's path and what is wrong; empty if it keeps them all."""
    if isinstance(spec, ModelDeploymentSpec):
        return _backends(spec) or _traffic(spec)
    if isinstance(spec, VendorSpec):
        return _vendor(spec)
    if isinstance(spec, AcceleratorClassSpec) and spec.resource_name and spec.resource_claim_template:
        return "spec.resourceClaimTemplate: set one of resourceName and resourceClaimTemplate"
    return ""


def _vendor(spec: VendorSpec) -> str:
    if spec.endpoint.endswith("/"):
        return f"spec.endpoint: {spec.endpoint} must not end with '/': write it up to and with /v1"
    dialect, version = spec.dialect, spec.api_version
    if dialect.startswith("Azure") and spec.endpoint.count("/") != 2:
        return f"spec.endpoint: {spec.endpoint} is not scheme and host alone, as dialect {dialect} wants it"
    if version is None and dialect is Dialect.AZURE_OPENAI:
        return "spec.apiVersion: dialect AzureOpenAI needs one: a dated one such as 2024-10-21, or v1, or preview"
    dated_speech = dialect is Dialect.AZURE_SPEECH and version is not None and version.startswith("20")
    if version is not None and dialect is not Dialect.AZURE_OPENAI and not dated_speech:
        return f"spec.apiVersion: {version} is none of dialect {dialect}: leave it out"
    bundle = spec.ca_bundle
    if bundle is not None and (bundle.inline is None) == (bundle.config_map_ref is None):
        return "spec.caBundle: set exactly one of inline and configMapRef"
    return ""


def _backends(spec: ModelDeploymentSpec) -> str:
    for index, backend in enumerate(spec.backends):
        if (backend.in_house is None) == (backend.vendor is None):
            return f"spec.backends[{index}]: a backend is either inHouse or vendor: set exactly one of the two"
        if backend.in_house is not None and backend.in_house.pod is not None:
            broken = broken_pod_rule(backend.in_house.pod, f"spec.backends[{index}].inHouse.pod")
            if broken:
                return broken
    twice = _twice(backend.name for backend in spec.backends)
    if twice:
        return f'spec.backends: two backends have the name "{twice}": give each its own'
    twice = _twice(backend.vendor.name for backend in spec.backends if backend.vendor is not None)
    if twice:
        return f'spec.backends: two backends use Vendor "{twice}": each Vendor may be used by one backend'
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


def _twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
