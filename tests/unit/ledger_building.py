"""Records, sightings and a clock for the ledger's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from insource.ledger.prices import StoredPrice
from insource.ledger.store import Store
from insource.wire.records import AttemptEnded, AttemptStarted, Quantity, Sighting, attempt_id
from insource.wire.vocabulary import BackendKind, Modality, Outcome, Role, Unit, UsageSource

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
HOUR_MS = 3_600_000


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


@asynccontextmanager
async def opened(path: Path, clock: ManualClock | None = None) -> AsyncIterator[Store]:
    store = await Store.open(path, clock or ManualClock())
    try:
        yield store
    finally:
        await store.close()


def started(request_id: str = "r1", number: int = 1, **changes: Any) -> AttemptStarted:
    vendor = changes.pop("vendor", "")
    fields: dict[str, Any] = {
        "attempt_id": attempt_id(request_id, "", number),
        "request_id": request_id,
        "number": number,
        "deployment": "dictation",
        "backend": "openai" if vendor else "inhouse",
        "backend_kind": BackendKind.VENDOR if vendor else BackendKind.IN_HOUSE,
        "vendor": vendor,
        "model": "whisper-1" if vendor else "whisper-tiny-en",
        "modality": Modality.TRANSCRIPTION,
        "role": Role.SPILL if vendor else Role.SERVE,
        "pod": "" if vendor else "pod-1",
        "started_at_ms": START_MS,
    }
    return AttemptStarted(**fields | changes)


def ended(
    request_id: str = "r1", number: int = 1, *, measured: int | None = 60_000, billed: int | None = None, **changes: Any
) -> AttemptEnded:
    quantities = [
        Quantity(unit=Unit.AUDIO_MS, source=source, quantity=quantity)
        for source, quantity in ((UsageSource.MEASURED, measured), (UsageSource.BILLED, billed))
        if quantity is not None
    ]
    fields: dict[str, Any] = {
        "attempt_id": attempt_id(request_id, "", number),
        "outcome": Outcome.OK,
        "status": 200,
        "quantities": quantities,
        "ended_at_ms": START_MS + 2_000,
        "busy_ms": 2_000,
    }
    return AttemptEnded(**fields | changes)


def sighted(request_id: str = "r1", number: int = 1, **changes: Any) -> Sighting:
    fields: dict[str, Any] = {
        "attempt_id": attempt_id(request_id, "", number),
        "request_id": request_id,
        "number": number,
        "namespace": "voice",
        "deployment": "dictation",
        "backend": "inhouse",
        "backend_kind": BackendKind.IN_HOUSE,
        "role": Role.SERVE,
        "outcome": Outcome.OK,
        "status": 200,
        "reached": True,
        "started_at_ms": START_MS,
        "duration_ms": 2_000,
    }
    return Sighting(**fields | changes)


def price(amount_nano: int = 360_000_000, **changes: Any) -> StoredPrice:
    """By default 0.36 per hour of audio, for ever."""
    fields: dict[str, Any] = {
        "id": 0,
        "book": "default",
        "vendor": "openai",
        "model": "whisper-1",
        "unit": "audio_ms",
        "effective_from_ms": 0,
        "price_nano": amount_nano,
        "per": HOUR_MS,
        "minimum": 0,
        "increment": 1,
        "source": "a test",
    }
    return StoredPrice(**fields | changes)
