"""What adapters and gateways tell the ledger. One record per line in the write-ahead log and on the wire.

Times are integer milliseconds since the epoch, UTC (the adapter's wall clock). Identity is
`attempt_id` (+ unit and source for a quantity); sending a record twice is harmless, sending the
same identity with another payload is a conflict that the ledger reports.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from insource.wire.vocabulary import BackendKind, Modality, Outcome, Role, Unit, UsageSource


def attempt_id(request_id: str, hop: str, number: int) -> str:
    """The one identity of an attempt, the same in adapter, gateway log and ledger: `<request>.<hop or 0>.<number>`."""
    return f"{request_id}.{hop or '0'}.{number}"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttemptStarted(_Record):
    """Written before the upstream call: we are about to try."""

    kind: Literal["attempt"] = "attempt"
    attempt_id: str = Field(max_length=200)
    request_id: str = Field(max_length=128)
    hop: str = Field(default="", max_length=32)
    number: int = Field(ge=1)
    deployment: str = Field(max_length=253)
    """ModelDeployment name; the namespace comes from the sender's token."""
    backend: str = Field(max_length=63)
    backend_kind: BackendKind
    revision: str = Field(default="", max_length=63)
    vendor: str = Field(default="", max_length=253)
    model: str = Field(max_length=253)
    """What the backend was asked for: the vendor's model id, or the in-house CatalogModel."""
    modality: Modality
    role: Role
    client: str = Field(default="", max_length=253)
    pod: str = Field(default="", max_length=253)
    started_at_ms: int = Field(ge=0)


class Quantity(_Record):
    """An amount of work in one unit, by one source."""

    unit: Unit
    source: UsageSource
    quantity: int = Field(ge=0)


class AttemptEnded(_Record):
    """Written when the attempt is over, whatever its end; carries what it consumed."""

    kind: Literal["usage"] = "usage"
    attempt_id: str = Field(max_length=200)
    outcome: Outcome
    status: int = Field(ge=0, le=599)
    """HTTP status sent to Envoy; 0 if none was sent."""
    reason: str = Field(default="", max_length=200)
    """A short machine word for refusals and failures, such as `daily_limit`."""
    quantities: tuple[Quantity, ...] = Field(default=(), max_length=16)
    ended_at_ms: int = Field(ge=0)
    busy_ms: int = Field(default=0, ge=0)
    """How long a slot of the backend was held."""


Record = Annotated[AttemptStarted | AttemptEnded, Field(discriminator="kind")]


class RecordBatch(_Record):
    """Body of `POST /v1/records`, from an adapter."""

    records: tuple[Record, ...] = Field(max_length=10_000)


class Sighting(_Record):
    """One attempt as the gateway's per-attempt log saw it. `POST /v1/sightings`, gateway only."""

    attempt_id: str = Field(max_length=200)
    request_id: str = Field(max_length=128)
    hop: str = Field(default="", max_length=32)
    number: int = Field(ge=1)
    namespace: str = Field(max_length=63)
    deployment: str = Field(max_length=253)
    backend: str = Field(default="", max_length=63)
    backend_kind: BackendKind
    revision: str = Field(default="", max_length=63)
    vendor: str = Field(default="", max_length=253)
    role: Role
    outcome: Outcome
    status: int = Field(ge=0, le=599)
    """What Envoy received; 0 if no response headers came."""
    flags: str = Field(default="", max_length=64)
    reached: bool
    """False if no connection to the adapter was made, so that nothing can have been consumed."""
    started_at_ms: int = Field(ge=0)
    duration_ms: int = Field(ge=0)


class SightingBatch(_Record):
    """Body of `POST /v1/sightings`."""

    sightings: tuple[Sighting, ...] = Field(max_length=10_000)


class Rejection(_Record):
    """One record of a batch that was not taken, because it is no valid record. Sending it again changes nothing."""

    index: int = Field(ge=0)
    """Its place in the batch, from 0."""
    attempt_id: str = ""
    """Empty if it has none that can be read."""
    reason: str = ""
    """The field and what is wrong with it; never the field's value."""


class IngestResult(BaseModel):
    """Answer to both: everything that is in neither `conflicts` nor `rejected` is durable; the sender may forget all.

    A body of which nothing can be taken is answered 400 instead.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    accepted: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    conflicts: tuple[str, ...] = ()
    """Identities that came again with another payload; the first one stands."""
    rejected: tuple[Rejection, ...] = ()
    """What was set aside; the rest of the batch was taken."""


class Estimate(_Record):
    """An amount of work that an attempt may consume."""

    unit: Unit
    quantity: int = Field(ge=0)


class ReservationRequest(_Record):
    """Body of `POST /v1/reservations`: may this spill attempt be made under the deployment's daily limit?"""

    attempt_id: str = Field(max_length=200)
    deployment: str = Field(max_length=253)
    backend: str = Field(max_length=63)
    vendor: str = Field(max_length=253)
    model: str = Field(max_length=253)
    daily_limit: str = Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")
    """In the installation's currency, from `traffic.spill.dailyLimit`."""
    unit: Unit
    quantity: int = Field(ge=0)
    """The estimate of what this attempt will consume."""
    more: tuple[Estimate, ...] = Field(default=(), max_length=8)
    """The same in further units."""


class ReservationAnswer(_Record):
    """`granted` false means: refuse with outcome refused_policy and this reason."""

    granted: bool
    reason: str = ""
    """`daily_limit`, or `unpriced` (a cap on something without a price cannot be kept)."""
    remaining: str = ""
    """Decimal text: what is left of today's limit after this reservation."""
