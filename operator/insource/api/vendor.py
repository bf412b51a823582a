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


class Proxy(Spec):
    """An HTTP proxy that requests to the vendor go through: by CONNECT, if the endpoint is https."""

    url: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^http://[^\s/?#@]+$")]
    """Such as `http://proxy.example:3128`, without credentials."""
    credentials: Credentials | None = None
    """`user:password`, sent to the proxy by HTTP's Basic scheme; absent: it wants none."""


class ConfigMapKeyRef(Spec):
    """A key of a ConfigMap in the Vendor's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    key: Word = "ca.crt"


class CaBundle(Spec):
    """Who must have signed the vendor's certificate, or that of the proxy which looks inside. PEM, one or more."""

    inline: Annotated[str, Field(max_length=65_536, pattern="-----BEGIN CERTIFICATE-----")] | None = None
    config_map_ref: ConfigMapKeyRef | None = None

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.inline) != has(self.configMapRef)", "set exactly one of inline and configMapRef")
        )
    )


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
    proxy: Proxy | None = None
    """Absent: the vendor is called directly."""
    ca_bundle: CaBundle | None = None
    """Absent: the authorities of the adapter's image. Given: these and no others."""
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
