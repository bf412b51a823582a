"""One record that is none holds up nobody: the ledger names it, both senders set it aside and go on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from insource.adapter.ledger import LedgerClient as AdaptersLedger
from insource.adapter.ledger import Shipper
from insource.adapter.settings import Patience
from insource.adapter.wal import WriteAheadLog
from insource.adapter.watched_file import WatchedFile, bearer
from insource.env import system_env
from insource.gateway.ledger_client import LedgerClient
from tests.gateway.ledger_harness import Ledger, running_ledger
from tests.unit.ledger_building import ended, sighted, started

pytestmark = pytest.mark.gateway

SECRET = "sk-very-secret"
BAD_SIGHTINGS: dict[str, dict[str, Any]] = {
    "number": {"number": 0},
    "role": {"role": SECRET},
    "backend": {"backend": SECRET * 10},
    "started_at_ms": {"started_at_ms": 10**14},
    "sightings[1]: has a field that is not known": {SECRET: 1},
}


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with running_ledger(tmp_path) as running:
        yield running


def line(request_id: str, **changes: Any) -> bytes:
    return json.dumps({**sighted(request_id).model_dump(mode="json"), **changes}).encode()


def batch(*sightings: bytes) -> bytes:
    return b'{"sightings":[%b]}' % b",".join(sightings)


async def known(ledger: Ledger) -> list[str]:
    _, body = await ledger.get("/v1/attempts")
    return sorted(row["attempt_id"] for row in body["attempts"])


@pytest.mark.parametrize("what", BAD_SIGHTINGS)
async def test_a_bad_sighting_is_named_and_the_others_are_taken(ledger: Ledger, what: str) -> None:
    with capture_logs() as logs:
        status, body, _ = await ledger.post(
            "/v1/sightings", batch(line("a"), line("bad", **BAD_SIGHTINGS[what]), line("b")), "gateway"
        )
    assert (status, body["accepted"]) == (200, 2)
    (rejected,) = body["rejected"]
    assert (rejected["index"], rejected["attempt_id"]) == (1, "bad.0.1")
    assert what in rejected["reason"]
    assert SECRET not in json.dumps([rejected, logs])
    assert [each["count"] for each in logs if each["event"] == "sightings_rejected"] == [1]
    assert await known(ledger) == ["a.0.1", "b.0.1"]
    _, again, _ = await ledger.post("/v1/sightings", batch(line("a"), line("b")), "gateway")
    assert again["duplicates"] == 2
    async with ledger.session.get(ledger.url + "/metrics") as answer:
        assert 'insource_ledger_records_total{kind="sighting",result="rejected"} 1.0' in await answer.text()


async def test_many_kinds_of_bad_records_in_one_batch(ledger: Ledger) -> None:
    good = json.loads(started("a").model_dump_json())
    end = json.loads(ended("a").model_dump_json())
    twice = {**end, "attempt_id": "twice.0.1", "quantities": end["quantities"] * 2}
    sent = [{"kind": SECRET}, good, "words", twice, {**end, "ended_at_ms": 10**14}, end, None]
    status, body, _ = await ledger.post("/v1/records", json.dumps({"records": sent}))
    assert (status, body["accepted"], body["duplicates"]) == (200, 2, 0)
    assert [each["index"] for each in body["rejected"]] == [0, 2, 3, 4, 6]
    assert [each["attempt_id"] for each in body["rejected"]] == ["", "", "twice.0.1", "a.0.1", ""]
    assert SECRET not in json.dumps(body)
    assert await known(ledger) == ["a.0.1"]


async def test_a_batch_without_any_valid_record_is_still_400(ledger: Ledger) -> None:
    status, body, _ = await ledger.post("/v1/sightings", batch(line("a", number=0)), "gateway")
    assert (status, body["error"]["param"]) == (400, "sightings[0].number")
    await ledger.still_serves()


async def test_the_agent_goes_on_after_a_bad_sighting(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("gateway")
    client = LedgerClient(ledger.url, tmp_path / "token")
    try:
        assert await client.ship([line("a"), line("bad", number=0), line("b")])
        assert client.rejected_total == 1
        assert await client.ship([line("bad", number=0), line("worse", role="none")])
        assert client.rejected_total == 3
        assert await client.ship([line("a"), b'{"no json', line("c")])
        assert client.rejected_total == 4
    finally:
        await client.close()
    assert await known(ledger) == ["a.0.1", "b.0.1", "c.0.1"]


@pytest.mark.parametrize("refusal", [400, 413, 422])
async def test_the_agent_goes_on_where_the_ledger_refuses_whole_batches(tmp_path: Path, refusal: int) -> None:
    kept: list[str] = []

    async def take(request: web.Request) -> web.Response:
        ids = [each["attempt_id"] for each in (await request.json())["sightings"]]
        if "bad.0.1" in ids:
            return web.Response(status=refusal)
        kept.extend(ids)
        return web.json_response({"accepted": len(ids), "duplicates": 0})

    app = web.Application()
    app.router.add_post("/v1/sightings", take)
    (tmp_path / "token").write_text("gateway")
    async with TestServer(app) as server:
        client = LedgerClient(str(server.make_url("")), tmp_path / "token")
        try:
            assert await client.ship([line(name) for name in ("a", "b", "bad", "c", "d")])
            assert (client.rejected_total, client.failures_total) == (1, 0)
        finally:
            await client.close()
    assert sorted(kept) == ["a.0.1", "b.0.1", "c.0.1", "d.0.1"]


async def test_the_agent_does_not_give_up_on_a_ledger_that_is_away(tmp_path: Path) -> None:
    statuses = iter((500, 503, 401, 403, 200))

    async def take(_: web.Request) -> web.Response:
        return web.json_response({"accepted": 1, "duplicates": 0}, status=next(statuses))

    app = web.Application()
    app.router.add_post("/v1/sightings", take)
    (tmp_path / "token").write_text("gateway")
    async with TestServer(app) as server:
        client = LedgerClient(str(server.make_url("")), tmp_path / "token")
        try:
            assert [await client.ship([line("a")]) for _ in range(5)] == [False, False, False, False, True]
            assert (client.rejected_total, client.failures_total) == (0, 4)
        finally:
            await client.close()


async def test_the_adapter_sets_aside_what_the_ledger_names(ledger: Ledger, tmp_path: Path) -> None:
    env = system_env()
    wal = WriteAheadLog(tmp_path / "wal", env)
    wal.append(started("a"))
    wal.append(started("bad").model_copy(update={"number": 0}))
    wal.append(ended("a"))
    (tmp_path / "token").write_text("adapter")
    token = WatchedFile(tmp_path / "token", bearer, "", env.clock, 0.0)
    shipper = Shipper(wal, AdaptersLedger(ledger.url, token, ledger.session), env, Patience())
    await shipper.ship_present()
    assert (wal.unshipped, shipper.rejected) == (0, 1)
    (kept,) = (tmp_path / "wal" / "rejected.txt").read_text().splitlines()
    assert json.loads(kept)["attempt_id"] == "bad.0.1"
    assert await known(ledger) == ["a.0.1"]
    await wal.close()
