"""PriceBook: effective-dated vendor prices, as data. A unit without an entry is unpriced, never free."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from insource.api.conditions import StatusModel
from insource.api.fields import Date, Label, ModelId, Money, Spec, listed_by
from insource.wire.vocabulary import Unit


class PriceEntry(Spec):
    """What one model costs at one vendor, from a day on until a later entry."""

    vendor: Label
    """The Vendor's name."""
    model: ModelId
    unit: Unit
    effective_from: Date
    price: Money
    """For `per` units."""
    per: Annotated[int, Field(ge=1, le=1_000_000_000_000)]
    """Units that `price` is for: 3600000 for a price per hour of audio in audio_ms."""
    minimum: Annotated[int, Field(ge=0, le=1_000_000_000_000)] = 0
    """Fewest units billed for one attempt that consumed any."""
    increment: Annotated[int, Field(ge=1, le=1_000_000_000_000)] = 1
    """Consumption is rounded up to a multiple of this."""
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    """Where the price was read, and when."""


class PriceBookSpec(Spec):
    """Prices in the installation's one currency."""

    currency: Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$")] = "USD"
    entries: Annotated[
        tuple[PriceEntry, ...],
        Field(max_length=1024, json_schema_extra=listed_by("vendor", "model", "unit", "effectiveFrom")),
    ] = ()


class PriceBookStatus(StatusModel):
    """Nothing beyond conditions yet."""
