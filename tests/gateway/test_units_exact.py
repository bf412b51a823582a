"""Requests of all kinds, of whose clients some leave: gateway, adapter, ledger and bill have the same units."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.units_account import account, books_of
from tests.gateway.units_work import Leaving
from tests.gateway.units_world import plan, play, world

pytestmark = pytest.mark.gateway


async def test_every_unit_of_every_request_is_counted_once_by_everybody(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await play(here, plan(180, 0.3, seed=20261129), at_once=12)
        await here.settled()
        bill = await here.meter()
        books = await books_of(here.store, bill["lines"])
        found = account(books, here.sent, here.answered, here.adapter_units())
        assert found.wrong == ()
        assert found.attempts["gateway"] == found.attempts["adapter, in the ledger"] + len(books.unseen) == 180
        assert found.attempts["of them on the vendor's bill"] == len(bill["lines"])
        assert len(here.answered) == 126
        assert sum(found.left.values()) == 54
        assert {leaving for leaving, _ in here.sent} == set(Leaving)
        assert {row.unit for row in found.rows} == {
            "audio_ms", "characters", "images", "pixels", "input_tokens", "output_tokens", "image_tokens",
        }  # fmt: skip
        for row in found.rows:
            assert row.ledger == row.expected > 0
            assert row.bill in (None, row.expected)
        charged, billed = found.nano["answered"]
        assert charged == billed > 0
        assert here.adapter.wal.unshipped == 0
