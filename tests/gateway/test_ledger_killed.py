"""A real ledger process, killed -9 again and again while a sender ships: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from insource.wire.records import RecordBatch
from tests.ports import free_port
from tests.unit.ledger_building import ended, started

# Note: each start of the process costs 3 s of CPU, most of it the Kubernetes client's import.
pytestmark = [pytest.mark.gateway, pytest.mark.timeout(180)]

BATCHES, PER_BATCH, KILLS = 120, 25, 3
PRICE = {
    "vendor": "openai", "model": "whisper-1", "unit": "audio_ms", "effectiveFrom": "2020-01-01",
    "price": "0.36", "per": 3_600_000, "source": "a test",
}  # fmt: skip
OBJECTS: dict[str, list[dict[str, Any]]] = {
    "pricebooks": [{"metadata": {"name": "default", "resourceVersion": "1"}, "spec": {"entries": [PRICE]}}],
    "acceleratorclasses": [{"metadata": {"name": "cpu", "resourceVersion": "1"}, "spec": {"pricePerHour": "0.10"}}],
    "pods": [
        {
            "metadata": {
                "name": "pod-1", "namespace": "voice", "uid": "u1", "resourceVersion": "1",
                "labels": {
                    "insource.dev/deployment": "dictation", "insource.dev/backend": "inhouse",
                    "insource.dev/class": "cpu",
                },
            },
            "spec": {"nodeName": "local"},
            "status": {"phase": "Running", "startTime": "2026-11-23T12:00:00Z"},
        }
    ],
}  # fmt: skip


class Api:
    """As much of an API server as the ledger asks: lists, watches that say nothing, and TokenReview."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self.review)
        app.router.add_get("/{path:.*}", self.list)
        return app

    async def review(self, request: web.Request) -> web.Response:
        spec = (await request.json())["spec"]
        users = {"adapter": "voice:insource-adapter", "cli": "insource-system:insource-cli"}
        if spec["token"] not in users or spec["audiences"] != ["insource-ledger"]:
            return web.json_response({"status": {"authenticated": False}})
        user = {"username": f"system:serviceaccount:{users[spec['token']]}"}
        return web.json_response({"status": {"authenticated": True, "user": user, "audiences": spec["audiences"]}})

    async def list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") in ("1", "true"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            await self.over.wait()
            return answer
        items = OBJECTS.get(request.path.rsplit("/", 1)[-1], [])
        return web.json_response({"items": items, "metadata": {"resourceVersion": "1"}})


class LedgerProcess:
    """`insource ledger` on one port and one folder, started as often as wanted."""

    def __init__(self, folder: Path, api_url: str) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": api_url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "insource", "ledger", "--kubeconfig", str(self.kubeconfig)),
            *("--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"),
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()

    async def ready(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[LedgerProcess]:
    api = Api()
    server = TestServer(api.application())
    await server.start_server()
    process = LedgerProcess(tmp_path, str(server.make_url("")).rstrip("/"))
    await process.start()
    yield process
    await process.end(signal.SIGKILL)
    api.over.set()
    await server.close()


class Progress:
    """How many batches are acknowledged."""

    def __init__(self) -> None:
        self._count = 0
        self._moved = asyncio.Event()

    def one_more(self) -> None:
        self._count += 1
        self._moved.set()

    async def reached(self, count: int) -> None:
        while self._count < count:
            self._moved.clear()
            await self._moved.wait()


async def ship(ledger: LedgerProcess, session: aiohttp.ClientSession, progress: Progress) -> int:
    """Every batch until it is acknowledged, as an adapter does; returns how often one had to be sent again."""
    again = 0
    for number in range(BATCHES):
        names = [f"b{number}-{index}" for index in range(PER_BATCH)]
        records = [record for name in names for record in (started(name, vendor="openai"), ended(name))]
        body = RecordBatch(records=tuple(records)).model_dump_json()
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(
                    f"{ledger.url}/v1/records", data=body, headers={"Authorization": "Bearer adapter"}
                ) as answer:
                    if answer.status == 200:
                        result = await answer.json()
                        assert result["conflicts"] == []
                        progress.one_more()
                        break
            again += 1
            await asyncio.sleep(0.02)
    return again


async def test_nothing_is_lost_or_doubled_when_the_ledger_is_killed(ledger: LedgerProcess) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        await ledger.ready(session)
        progress = Progress()
        shipping = asyncio.create_task(ship(ledger, session, progress))
        for kill in range(1, KILLS + 1):
            await progress.reached(kill * BATCHES // (KILLS + 1))
            await ledger.end(signal.SIGKILL)
            await ledger.start()
        assert await shipping >= KILLS, "the kills were felt"

        async def waiting_for_allocation() -> dict[str, Any]:
            while True:
                async with session.get(f"{ledger.url}/v1/cost", headers={"Authorization": "Bearer cli"}) as answer:
                    assert answer.status == 200
                    report = json.loads(await answer.read())
                    if any(row["backend"] == "inhouse" for row in report["rows"]) and not report["totals"]["unpriced"]:
                        return dict(report)
                await asyncio.sleep(0.05)

        async with asyncio.timeout(60):
            report = await waiting_for_allocation()
    rows = {row["backend"]: row for row in report["rows"]}
    assert rows["openai"]["attempts"] == {"ok": BATCHES * PER_BATCH}
    assert rows["openai"]["vendor"]["cost"] == str(BATCHES * PER_BATCH * 6 // 1000), "0.006 for each minute"
    assert float(rows["inhouse"]["in_house"]["idle"]) > 0, "the pod is being paid for"
    assert await ledger.end(signal.SIGTERM) == 0
    with contextlib.closing(sqlite3.connect(ledger.data / "ledger.sqlite")) as file:
        counts = {
            table: file.execute(f"SELECT count(*), count(DISTINCT attempt_id) FROM {table}").fetchone()
            for table in ("attempt", "usage", "charge", "conflict")
        }
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        amount = file.execute("SELECT sum(amount_nano) FROM charge").fetchone()[0]
    total = BATCHES * PER_BATCH
    assert counts["attempt"] == (total, total)
    assert counts["usage"] == (2 * total, total)
    assert counts["conflict"] == (0, 0)
    assert amount == total * 6_000_000
