"""Which backend an attempt at this adapter is for: one for an in-house adapter, one per deployment for a vendor's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from insource.adapter.refusals import Refusal, refused_policy, server_failure
from insource.adapter.settings import InHouseSettings, VendorSettings
from insource.adapter.watched_file import WatchedFile
from insource.env import Clock
from insource.wire.routes import VendorRoute, VendorRoutes
from insource.wire.vocabulary import BackendKind, Modality


@dataclass(frozen=True)
class Route:
    """What the records say about an attempt's backend, and the limits it works under."""

    backend: str
    backend_kind: BackendKind
    revision: str
    vendor: str
    model: str
    """For the records: the vendor's model id, or the CatalogModel."""
    modality: Modality
    request_timeout_s: float
    spill_daily_limit: str = ""
    refusal: Refusal | None = None
    """Why no attempt may be made, if so."""


class Routes(Protocol):
    """Finds the route of a deployment."""

    def of(self, deployment: str) -> Route:
        """The route; for a deployment that may not be served, one with its `refusal`."""
        ...


class InHouseRoutes:
    """An in-house adapter serves one deployment."""

    def __init__(self, settings: InHouseSettings) -> None:
        self._deployment = settings.deployment
        self._route = Route(
            settings.backend,
            BackendKind.IN_HOUSE,
            settings.revision,
            "",
            settings.model,
            settings.modality,
            settings.request_timeout_s,
        )

    def of(self, deployment: str) -> Route:
        """The one route; with a refusal for any other deployment, which the gateway should not have sent."""
        if deployment == self._deployment:
            return self._route
        refusal = server_failure(
            f"This pod serves the deployment {self._deployment}, not {deployment}.", reason="wrong_deployment"
        )
        return replace(self._route, refusal=refusal)


class VendorAdapterRoutes:
    """`routes.json`, read again when the operator changes it."""

    def __init__(self, settings: VendorSettings, clock: Clock, look_every_s: float) -> None:
        self._vendor = settings.vendor
        self._file: WatchedFile[VendorRoutes | None] = WatchedFile(
            settings.routes_file, VendorRoutes.model_validate_json, None, clock, look_every_s
        )

    def of(self, deployment: str) -> Route:
        """The deployment's route; refused when there is none or the Vendor excludes it."""
        routes = self._file.value()
        route = routes.deployments.get(deployment) if routes else None
        if route is None:
            missing = VendorRoute(backend="", model="", modality=Modality.TRANSCRIPTION)
            return self._route(
                missing,
                refused_policy(f"The vendor {self._vendor} has no route for {deployment}.", reason="no_route"),
            )
        if not route.allowed:
            return self._route(
                route,
                refused_policy(
                    f"The vendor {self._vendor} does not allow the deployment {deployment} (allowedDeployments).",
                    reason="deployment_not_allowed",
                ),
            )
        return self._route(route, None)

    def _route(self, route: VendorRoute, refusal: Refusal | None) -> Route:
        return Route(
            route.backend,
            BackendKind.VENDOR,
            "",
            self._vendor,
            route.model,
            route.modality,
            route.request_timeout_s,
            route.spill_daily_limit,
            refusal,
        )

    def models(self) -> frozenset[str]:
        """The vendor's ids of all models that a deployment may use here."""
        routes = self._file.value()
        return (
            frozenset(route.model for route in routes.deployments.values() if route.allowed) if routes else frozenset()
        )

    @property
    def error(self) -> str:
        """Why routes.json cannot be used, or nothing."""
        self._file.value()
        return self._file.error
