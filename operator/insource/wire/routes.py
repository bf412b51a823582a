"""What the operator tells a vendor's adapter about the deployments it serves (a ConfigMap, key `routes.json`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from insource.wire.vocabulary import Modality


class VendorRoute(BaseModel):
    """One ModelDeployment's backend at this vendor."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backend: str
    model: str
    """The vendor's own model or deployment id."""
    modality: Modality
    spill_daily_limit: str = ""
    """Decimal text; empty: no daily limit on spill."""
    request_timeout_s: int = 600
    allowed: bool = True
    """False: `Vendor.allowedDeployments` excludes it; every attempt is refused_policy."""


class VendorRoutes(BaseModel):
    """Content of `routes.json`: ModelDeployment name -> its route."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    deployments: dict[str, VendorRoute] = Field(default_factory=dict)
