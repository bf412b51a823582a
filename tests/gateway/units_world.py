"""Envoy, agent, vendor adapter and ledger, all real, before the emulated OpenAI; and clients that may leave."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from insource.adapter.server import Adapter
from insource.env import system_env
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView, Pool
from insource.ledger.attempts import Patience
from insource.ledger.auth import Authenticator
from insource.ledger.prices import StoredPrice
from insource.ledger.service import LedgerService, ServiceOptions
from insource.ledger.store import Store
from insource.wire.vocabulary import BackendKind, Role
from tests.gateway.adapter_harness import settings_for, vendor
from tests.gateway.emulator_harness import KEY, emulator, faults, meter
from tests.gateway.gateway_harness import MASTER, Gateway, gateway, until
from tests.gateway.units_work import KINDS, SERVICES, STREAMING, Leaving, Work

ACCOUNTS = {
    "token-1": "system:serviceaccount:voice:insource-adapter",
    "ledger-token": "system:serviceaccount:insource-system:insource-gateway",
}
KEYS = {leaving: ClientKey(leaving.value, f"sk-{leaving.value}-5d41402abc4b2a76") for leaving in Leaving}
BOTH_S = 90.0
"""How long the two entries of an attempt may lie apart."""


class Reviewer:
    """A cluster that knows the adapter and the gateway."""

    async def review(self, token: str, audience: str) -> str | None:
        del audience
        return ACCOUNTS.get(token)


@dataclass
class World:
    """All of it."""

    gateway: Gateway
    adapter: Adapter
    store: Store
    vendor_url: str
    answered: dict[str, Work] = field(default_factory=dict)
    """Request id of each whole answer -> its work."""
    sent: list[tuple[Leaving, Work]] = field(default_factory=list)

    async def settled(self) -> None:
        """Wait until nothing is inside and both have told the ledger of everything."""

        def quiet() -> bool:
            return not self.adapter.entrance.in_flight and not self.adapter.wal.unshipped

        async def told() -> bool:
            # Note: every request is one attempt here, and Envoy writes a line for each that it has routed.
            if not quiet():
                return False
            seen = await self.store.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM sighting").scalar_one())
            known = await self.store.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM attempt").scalar_one())
            return bool(seen == len(self.sent) and known <= seen)

        await until(told, BOTH_S, "adapter and gateway have told the ledger")

    async def meter(self) -> dict[str, Any]:
        """What the vendor has billed."""
        found: dict[str, Any] = await meter(self.vendor_url)
        return found

    def adapter_units(self) -> dict[tuple[str, str, str], int]:
        """(deployment, unit, source) -> quantity, by the adapter's metrics."""
        return {
            (sample.labels["deployment"], sample.labels["unit"], sample.labels["source"]): int(sample.value)
            for family in self.adapter._metrics.registry.collect()
            if family.name == "insource_units"
            for sample in family.samples
            if sample.name == "insource_units_total"
        }


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Everything ready."""
    async with AsyncExitStack() as stack:
        (folder / "emulator").mkdir()
        vendor_url = await stack.enter_async_context(emulator(folder / "emulator", "openai", requests_per_minute=10**9))
        env = system_env()
        store = await Store.open(folder / "ledger.sqlite", env.clock)
        stack.push_async_callback(store.close)
        await store.record_book("default", prices())
        options = ServiceOptions("USD", Patience(grace_ms=30_000, open_ms=3_600_000))
        ledger = LedgerService(store, Authenticator(Reviewer(), env.clock), options)
        runner = web.AppRunner(ledger.application(), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ledger_port = runner.addresses[0][1]
        adapter = Adapter(adapter_settings(folder, int(vendor_url.rpartition(":")[2]), ledger_port), env)
        await adapter.start()
        stack.push_async_callback(adapter.close)
        (folder / "gateway").mkdir()
        gw = await stack.enter_async_context(gateway(folder / "gateway", ledger_url=f"http://127.0.0.1:{ledger_port}"))
        gw.source.set_keys(tuple(KEYS.values()))
        for service in SERVICES:
            await gw.put(view(service.name, adapter.ports["serve"]))
        here = World(gw, adapter, store, vendor_url)
        await until(lambda: _keys_known(gw), what="the clients' keys are known")
        yield here


async def _keys_known(gw: Gateway) -> bool:
    headers = {"authorization": f"Bearer {KEYS[Leaving.DURING].key}"}
    async with gw.session.get(f"{gw.url}/v1/models", headers=headers) as answer:
        return answer.status == 200


def prices() -> list[StoredPrice]:
    """The vendor's, in our units."""
    return [
        StoredPrice(0, "default", "openai", service.model, unit, 0, nano, per, 0, 1, "price page")
        for service in SERVICES
        for unit, (nano, per) in service.prices.items()
    ]


def adapter_settings(folder: Path, vendor_port: int, ledger_port: int) -> Any:
    """A vendor's adapter that serves all services, and believes this gateway."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "key").write_text(KEY + "\n")
    routes = {
        service.name: {"backend": "openai", "model": service.model, "modality": service.modality.value}
        for service in SERVICES
    }
    (folder / "adapter" / "routes.json").write_text(json.dumps({"deployments": routes}))
    settings = settings_for(folder / "adapter", vendor(folder / "adapter", vendor_port), ledger_port)
    token = hmac.new(MASTER, b"voice", hashlib.sha256).hexdigest()
    (folder / "adapter" / "tokens" / "sha256").write_text(hashlib.sha256(token.encode()).hexdigest() + "\n")
    return settings


def view(name: str, port: int) -> DeploymentView:
    """Served by the vendor alone."""
    pool = Pool("openai", "", BackendKind.VENDOR, "openai", Role.SERVE, 1, (("127.0.0.1", port),))
    clients = tuple(sorted(key.client for key in KEYS.values()))
    return DeploymentView(DeploymentKey("voice", name), 1, 1, serve=(pool,), clients=clients, request_timeout_s=120)


def plan(count: int, left_share: float, seed: int) -> list[tuple[Leaving, Work]]:
    """`count` requests of all kinds, of which this share leaves, a third each time."""
    dice = random.Random(seed)
    leaving = [Leaving.UPLOAD, Leaving.BEFORE, Leaving.DURING]
    chosen = [leaving[at % 3] for at in range(round(count * left_share))]
    chosen += [Leaving.STAYS] * (count - len(chosen))
    dice.shuffle(chosen)
    made: list[tuple[Leaving, Work]] = []
    for at, each in enumerate(chosen):
        size = dice.randrange(40)
        if each is Leaving.DURING:
            made.append((each, STREAMING[at % len(STREAMING)](size - size % 3 + 1)))
        else:
            made.append((each, KINDS[at % len(KINDS)](size)))
    return made


async def play(here: World, requests: Sequence[tuple[Leaving, Work]], at_once: int) -> None:
    """Send them: those that leave during the answer last, when the vendor sends it byte by byte."""
    # Note: else an answer of a few kB is in the client's socket before the client could go.
    slow = [each for each in requests if each[0] is Leaving.DURING]
    fast = [each for each in requests if each[0] is not Leaving.DURING]
    for some, byte_ms in ((fast, 0), (slow, 1)):
        await faults(here.vendor_url, byte_ms=byte_ms)
        waiting = list(enumerate(some))
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(_client(here, session, waiting))
        here.sent += some
        await until(lambda: not here.adapter.entrance.in_flight, BOTH_S, "nobody is inside")
    await faults(here.vendor_url)


async def _client(here: World, session: aiohttp.ClientSession, waiting: list[tuple[int, tuple[Leaving, Work]]]) -> None:
    while waiting:
        at, (leaving, work) = waiting.pop()
        if leaving is Leaving.STAYS:
            await _stay(here, session, work)
        else:
            await _leave(here, leaving, work, at)


async def _stay(here: World, session: aiohttp.ClientSession, work: Work) -> None:
    headers = {"authorization": f"Bearer {KEYS[Leaving.STAYS].key}", "content-type": work.content_type}
    async with session.post(here.gateway.url + work.path, data=work.body, headers=headers) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        assert body.endswith(b"data: [DONE]\n\n") if work.streamed else body, body
        here.answered[answer.headers["x-request-id"]] = work


async def _leave(here: World, leaving: Leaving, work: Work, at: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.gateway.port)
    try:
        head = (
            f"POST {work.path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEYS[leaving].key}\r\n"
            f"content-type: {work.content_type}\r\ncontent-length: {len(work.body)}\r\n\r\n"
        )
        sent = work.body[: len(work.body) // 2] if leaving is Leaving.UPLOAD else work.body
        writer.write(head.encode() + sent)
        await writer.drain()
        if leaving is Leaving.DURING:
            status = await reader.readline()
            assert b" 200 " in status, status
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.read(1)
        else:
            # At once, or anywhere on the request's way: to the gateway, the adapter, the vendor.
            await asyncio.sleep(at % 8 * 0.003)
    finally:
        writer.transport.abort() if at % 2 else writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
