"""Vendor: an account with somebody who serves models, owned by whoever owns its key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from insource.api.conditions import StatusModel
from insource.api.fields import SET, Date, Label, ModelId, Spec, Word, listed_by, rule, rules
from insource.wire.vocabulary import Dialect


class SecretKeyRef(Spec):
    """A key of a Secret in the Vendor's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    key: Word = "key"


class Credentials(Spec):
    """How the vendor knows us."""

    secret_ref: SecretKeyRef


class Proxy(Spec):
    """An HTTP proxy that requests to the vendor go through: by CONNECT, if the endpoint is https."""

    url: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^https?://[^\s/?#@]+$")]
    """Such as `http://proxy.example:3128`, without credentials; `https` if the proxy itself is spoken to by TLS."""
    credentials: Credentials | None = None
    """`user:password`, sent to the proxy by HTTP's Basic scheme; absent: it wants none."""


class ConfigMapKeyRef(Spec):
    """A key of a ConfigMap in the Vendor's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    key: Word = "ca.crt"


class CaBundle(Spec):
    """Who must have signed the vendor's certificate, or that of the proxy which looks inside, and that of a proxy by
    `https`. PEM, one or more."""

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


API_VERSION_PATTERN = r"^(v1|preview|[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?)$"


class VendorSpec(Spec):
    """Where, how, with which key, and for whom."""

    dialect: Dialect = Dialect.OPENAI
    """The vendor's wire format; which modalities each has: docs/vendors.md."""
    endpoint: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^https?://[^\s?#@]+$")]
    """OpenAI, OpenAICompatible: base URL up to and with `/v1`. Azure's dialects: scheme and host alone."""
    api_version: Annotated[str, Field(max_length=32, pattern=API_VERSION_PATTERN)] | None = None
    """AzureOpenAI, required: a dated version (a deployment's own path), or `v1` or `preview` (the path without
    versions). AzureSpeech: the dated version of fast transcription; absent: 2025-10-15."""
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
            ),
            rule(
                "!has(self.dialect) || !self.dialect.startsWith('Azure') || self.endpoint.matches('^https?://[^/]+/?$')",
                "endpoint of an Azure dialect is scheme and host alone: its paths follow from the dialect",
                fieldPath=".endpoint",
            ),
            rule(
                "has(self.apiVersion) || !has(self.dialect) || self.dialect != 'AzureOpenAI'",
                "dialect AzureOpenAI needs apiVersion: a dated one such as 2024-10-21, or v1, or preview",
                fieldPath=".apiVersion",
            ),
            rule(
                "!has(self.apiVersion) || (has(self.dialect) && (self.dialect == 'AzureOpenAI' || "
                "self.dialect == 'AzureSpeech' && self.apiVersion.startsWith('20')))",
                "apiVersion belongs to dialect AzureOpenAI, and, if it is a date, to AzureSpeech: leave it out",
                fieldPath=".apiVersion",
            ),
        )
    )


BY_VENDOR: Literal["Vendor"] = "Vendor"
BY_CATALOGUE: Literal["Catalogue"] = "Catalogue"


class VendorModel(Spec):
    """A model at the vendor."""

    id: ModelId
    """The vendor's own."""
    in_use: bool = False
    """A ModelDeployment names it, or still has traffic to it."""
    listed: bool | None = None
    """Whether the vendor's own list of models has it; absent: no list has told."""
    shutdown_date: Date | None = None
    """The day on which the vendor stops serving it."""
    source: Literal["Vendor", "Catalogue"] | None = None
    """Who names that day: the vendor's list, or, where it names none, `vendorEquivalents` of a CatalogModel."""


class VendorStatus(StatusModel):
    """What the vendor, and the catalogue, say of its models."""

    models: Annotated[tuple[VendorModel, ...], Field(max_length=128, json_schema_extra=listed_by("id"))] = ()
    """Those in use, and others for which the vendor names a day; those in use first, if they are more than fit."""
