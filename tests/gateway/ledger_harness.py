"""A real ledger over HTTP, in front of a cluster that knows a few tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from insource.ledger.attempts import Patience
from insource.ledger.auth import Authenticator, ReviewUnavailableError
from insource.ledger.service import LedgerService, ServiceOptions
from insource.ledger.store import Store
from insource.wire.records import RecordBatch
from tests.unit.ledger_building import ManualClock, started

USERS = {
    "adapter": "system:serviceaccount:voice:insource-adapter",
    "other-adapter": "system:serviceaccount:other:insource-adapter",
    "own-account": "system:serviceaccount:voice:speech",
    "gateway": "system:serviceaccount:insource-system:insource-gateway",
    "cli": "system:serviceaccount:insource-system:insource-cli",
    "false-gateway": "system:serviceaccount:voice:insource-gateway",
    "person": "admin",
}


class Reviewer:
    """A cluster that knows `USERS`, and may be away."""

    def __init__(self) -> None:
        self.away = False
        self.calls = 0

    async def review(self, token: str, audience: str) -> str | None:
        assert audience == "insource-ledger"
        self.calls += 1
        if self.away:
            raise ReviewUnavailableError("away")
        return USERS.get(token)


class Ledger:
    """One running ledger and a client for it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, store: Store, reviewer: Reviewer, clock: ManualClock):
        self.url, self.session, self.store, self.reviewer, self.clock = url, session, store, reviewer, clock

    async def post(self, path: str, body: Any, token: str = "adapter") -> tuple[int, Any, Any]:
        data = body if isinstance(body, (str, bytes)) else body.model_dump_json()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.post(self.url + path, data=data, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers

    async def get(self, path: str, token: str = "cli", **query: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.get(self.url + path, params=query, headers=headers) as answer:
            return answer.status, await answer.json()

    async def records(self, *records: Any, token: str = "adapter") -> tuple[int, Any, Any]:
        return await self.post("/v1/records", RecordBatch(records=records), token)

    async def still_serves(self) -> None:
        status, body, _ = await self.records(started("still", model=f"m{self.reviewer.calls}"), token="other-adapter")
        assert status == 200
        assert body["accepted"] + body["duplicates"] + len(body["conflicts"]) == 1


@asynccontextmanager
async def running_ledger(folder: Path) -> AsyncIterator[Ledger]:
    clock, reviewer = ManualClock(), Reviewer()
    store = await Store.open(folder / "ledger.sqlite", clock)
    options = ServiceOptions("USD", Patience(grace_ms=30_000, open_ms=3_600_000))
    service = LedgerService(store, Authenticator(reviewer, clock), options)
    server = TestServer(service.application())
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        yield Ledger(str(server.make_url("")).rstrip("/"), session, store, reviewer, clock)
    await server.close()
    await store.close()
