"""Vendor: an account with somebody who serves models, owned by whoever owns its key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from insource.api.conditions import StatusModel
from insource.api.fields import SET, Label, Spec, Word, rule, rules


class SecretKeyRef(Spec):
    """A key of a Secret in the Vendor's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    key: Word = "key"


class Credentials(Spec):
    """How the vendor knows us."""

    secret_ref: SecretKeyRef


class VendorLimits(Spec):
    """What the vendor allows this key; 0: unlimited."""

    requests_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    concurrency: Annotated[int, Field(ge=0, le=10_000)] = 0


class AllowedDeployments(Spec):
    """Which ModelDeployments of this namespace may use the key."""

    names: Annotated[tuple[Label, ...], Field(max_length=256, json_schema_extra=SET)] = ()
    """Empty: none by name."""
    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = {}
    """ModelDeployments that carry all of these labels; empty: none by label."""


class VendorSpec(Spec):
    """Where, how, with which key, and for whom."""

    dialect: Literal["OpenAI"] = "OpenAI"
    endpoint: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^https?://[^\s?#@]+$")]
    """Base URL up to and with `/v1`."""
    credentials: Credentials
    limits: VendorLimits | None = None
    allowed_deployments: AllowedDeployments | None = None
    """Absent: every ModelDeployment of this namespace."""
    replicas: Annotated[int, Field(ge=1, le=20)] = 1
    """Of the vendor's adapter."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.endpoint.endsWith('/')",
                "endpoint must not end with '/': write it up to and with /v1",
                fieldPath=".endpoint",
            )
        )
    )


class VendorStatus(StatusModel):
    """Nothing beyond conditions yet."""
