"""Pods on nodes whose clocks are wrong: what was used is counted once, both sides agree, and the cap stays the cap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from insource.wire.records import SightingBatch
from insource.wire.vocabulary import BackendKind, Role
from tests.gateway.ledger_harness import Ledger, running_ledger
from tests.unit.ledger_building import HOUR_MS, START_MS, ended, price, sighted, started

pytestmark = pytest.mark.gateway
VENDOR = {"backend_kind": BackendKind.VENDOR, "backend": "openai", "vendor": "openai", "role": Role.SPILL}
DAY_MS = 24 * HOUR_MS
RIGHT, AHEAD, BEHIND = 0, HOUR_MS, -HOUR_MS


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with running_ledger(tmp_path) as running:
        await running.store.record_book("default", [price()])
        yield running


async def metrics(ledger: Ledger) -> dict[str, str]:
    async with ledger.session.get(ledger.url + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


async def one_attempt(ledger: Ledger, adapter: int, agent: int) -> None:
    """A minute of audio at the vendor, as the adapter's and the agent's clocks tell it."""
    seen = sighted(**VENDOR, started_at_ms=START_MS + agent)
    assert (await ledger.post("/v1/sightings", SightingBatch(sightings=(seen,)), "gateway"))[0] == 200
    begun = started(vendor="openai", started_at_ms=START_MS + adapter)
    done = ended(billed=60_000, ended_at_ms=START_MS + 2_000 + adapter)
    assert (await ledger.records(begun, done))[0] == 200


@pytest.mark.parametrize("adapter", [RIGHT, AHEAD, BEHIND])
@pytest.mark.parametrize("agent", [RIGHT, AHEAD, BEHIND])
async def test_what_was_used_is_counted_once_and_nobody_disagrees(ledger: Ledger, adapter: int, agent: int) -> None:
    await one_attempt(ledger, adapter, agent)
    ledger.clock.advance(2 * 3600)
    _, body = await ledger.get("/v1/attempts", request_id="r1")
    (row,) = body["attempts"]
    assert (row["outcome"], row["agree"], row["billed"]) == ("ok", True, {"audio_ms": 60_000})
    found = await metrics(ledger)
    assert (found["insource_capture_ratio"], found["insource_attempts_unknown_total"]) == ("1.0", "0.0")
    _, report = await ledger.get("/v1/cost", since=str(START_MS - 2 * HOUR_MS))
    assert Decimal(report["totals"]["vendor"]["cost"]) == Decimal("0.006")


@pytest.mark.parametrize("adapter", [RIGHT, AHEAD, BEHIND, DAY_MS, -DAY_MS])
async def test_the_day_of_a_spill_limit_is_the_ledger_s(ledger: Ledger, adapter: int) -> None:
    """An adapter whose clock says tomorrow, or yesterday, has no other limit than the rest."""
    limit: dict[str, Any] = {
        **{"deployment": "dictation", "backend": "openai", "vendor": "openai", "model": "whisper-1"},
        **{"daily_limit": "0.006", "unit": "audio_ms", "quantity": 60_000},
    }

    async def granted(request_id: str) -> bool:

        _, body, _ = await ledger.post("/v1/reservations", json.dumps({"attempt_id": f"{request_id}.0.1", **limit}))
        return bool(body["granted"])

    assert await granted("r1")
    begun = started("r1", vendor="openai", started_at_ms=START_MS + adapter)
    await ledger.records(begun, ended("r1", measured=60_000, ended_at_ms=START_MS + 2_000 + adapter))
    assert not await granted("r2"), "the day's money is spent"
    ledger.clock.advance(DAY_MS / 1000)
    assert await granted("r2"), "the next day has begun"
