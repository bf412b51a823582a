"""The ConfigMap that tells a Vendor's adapter which ModelDeployments it serves, with which model and limits."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from insource.api import meta
from insource.api.fields import duration_s
from insource.api.kinds import Misfit
from insource.domain.build.objects import manifest
from insource.domain.build.vendor_deployment import CA_KEY, ROUTES_KEY
from insource.domain.names import vendor_adapter_name
from insource.domain.references import SERVED, allows
from insource.domain.snapshot import Child, Manifest, ModelDeployment, Vendor
from insource.wire.routes import VendorRoute, VendorRoutes


def build_vendor_routes(
    vendor: Vendor, deployments: Iterable[ModelDeployment], unfit: Iterable[Misfit] = (), live: Child | None = None
) -> Manifest:
    """One route for each ModelDeployment that uses the Vendor, or still has traffic to it.

    One that does not fit its kind (`unfit`) keeps the route that it has in the live ConfigMap, spending limit and all.
    """
    routes = _kept(vendor, unfit, live)
    for deployment in sorted(deployments, key=lambda item: item.name):
        route = route_of(vendor, deployment)
        if route is not None:
            routes[deployment.name] = route
    return manifest(
        "v1",
        "ConfigMap",
        name=vendor_adapter_name(vendor.name),
        namespace=vendor.namespace,
        labels={meta.LABEL_VENDOR: vendor.name},
        owner=vendor,
        body={"data": {ROUTES_KEY: VendorRoutes(deployments=routes).model_dump_json(), **_bundle(vendor)}},
    )


def _bundle(vendor: Vendor) -> dict[str, str]:
    bundle = vendor.spec.ca_bundle
    return {CA_KEY: bundle.inline} if bundle is not None and bundle.inline is not None else {}


def _kept(vendor: Vendor, unfit: Iterable[Misfit], live: Child | None) -> dict[str, VendorRoute]:
    deployments = {deployment.name: deployment for deployment in unfit}
    if live is None or not deployments:
        return {}
    try:
        routes = VendorRoutes.model_validate_json(live.data.get(ROUTES_KEY, ""))
    except ValidationError:
        return {}
    return {
        name: route.model_copy(update={"allowed": route.allowed and allows(vendor, deployments[name])})
        for name, route in routes.deployments.items()
        if name in deployments
    }


def route_of(vendor: Vendor, deployment: ModelDeployment) -> VendorRoute | None:
    """The ModelDeployment's route at this Vendor; None if it has nothing to do with it, or is not served at all."""
    spec = deployment.spec
    if spec.modality not in SERVED:
        return None
    found = next(
        ((item.name, item.vendor.model) for item in spec.backends if item.vendor and item.vendor.name == vendor.name),
        None,
    )
    if found is None:
        # Note: a backend that has left the spec keeps its route until the traffic has left it too.
        serving = (deployment.status.get("traffic") or {}).get("vendors") or {}
        found = next(((name, at["model"]) for name, at in serving.items() if at.get("name") == vendor.name), None)
    if found is None:
        return None
    backend, model = found
    spill = spec.traffic.spill
    limit = spill.daily_limit if spill is not None and spill.backend == backend else None
    return VendorRoute(
        backend=backend,
        model=model,
        modality=spec.modality,
        spill_daily_limit=limit or "",
        request_timeout_s=duration_s(spec.traffic.request_timeout),
        allowed=allows(vendor, deployment),
    )
