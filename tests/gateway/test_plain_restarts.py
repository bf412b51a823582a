"""Requests by model name while the agent is killed, while Envoy drains, and with uploads larger than memory allows."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from bench.upload_memory import resident_kib

from tests.gateway.gateway_harness import KEY, Gateway, gateway, ok, until
from tests.gateway.test_gateway_drain import hook, refused
from tests.gateway.test_gateway_restarts import start_agent_process
from tests.gateway.test_plain import AUDIO, CHAT, FORM, JSON, MIB, asked_for, attempts, serve_names

pytestmark = pytest.mark.gateway

UPLOAD_MIB = 100
PATIENCE_S = 10.0
"""So long Envoy waits for an agent at the very least. On a busy machine one may take longer to start."""


async def snapshot_holds(gw: Gateway, version: int) -> None:
    wanted = f'"version":{version}'.encode()
    await until(lambda: wanted in (gw.state_dir / "snapshot.json").read_bytes(), what="the snapshot")


async def ask(gw: Gateway, stop: asyncio.Event, codes: list[int]) -> None:
    async with aiohttp.ClientSession() as session:
        while not stop.is_set():
            began = time.monotonic()
            code, _, _ = await gw.post(CHAT, asked_for("whisper-1"), JSON, session=session)
            if code != 503 or time.monotonic() - began < PATIENCE_S:
                codes.append(code)
            await asyncio.sleep(0.01)


async def test_the_agent_killed_and_back_under_load(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        await snapshot_holds(gw, 2)

        async def not_at_once(request: web.Request, size: int) -> web.StreamResponse:
            await asyncio.sleep(0.02)
            return await ok(request, size)

        gw.adapter.behaviour["serve"] = gw.adapter.behaviour["rescue"] = not_at_once
        await gw.stop_agent()
        assert gw.agent
        port, processes = gw.agent.admin_port, []
        stop, codes = asyncio.Event(), list[int]()
        users = []
        try:
            for _ in range(2):
                process = start_agent_process(gw, port)
                processes.append(process)
                await gw.ready()
                users = users or [asyncio.create_task(ask(gw, stop, codes)) for _ in range(4)]
                answered = len(codes)
                await until(lambda: len(codes) > answered + 20)  # noqa: B023
                process.send_signal(signal.SIGKILL)
                process.wait()
            processes.append(start_agent_process(gw, port))
            await gw.ready()
            stop.set()
            await asyncio.gather(*users)
            assert set(codes) == {200}
            made = attempts(gw.adapter, gw.vendor)
            # What was under way when the agent died was tried again, and each of its attempts has a name of its own.
            assert len(made) == len(set(made)) >= len(codes)
            await until(lambda: set(made) <= gw.ledger.sightings.keys(), what="the ledger knows every attempt")
            good = [each for each in gw.ledger.sightings.values() if each["outcome"] == "ok"]
            assert len(good) >= len(codes)
        finally:
            stop.set()
            for process in processes:
                process.kill()
                process.wait()


async def test_what_is_in_flight_is_answered_while_envoy_drains(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw)
        gate = asyncio.Event()

        async def slow(request: web.Request, size: int) -> web.StreamResponse:
            await gate.wait()
            return await ok(request, size)

        gw.adapter.behaviour["serve"] = slow
        async with aiohttp.ClientSession() as session:
            served = asyncio.create_task(gw.post(CHAT, asked_for("whisper-1"), JSON, session=session))
            uploaded = asyncio.Event()

            async def upload() -> AsyncIterator[bytes]:
                yield b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
                await uploaded.wait()
                yield b"--b--\r\n"

            uploading = asyncio.create_task(_status(session, gw, upload()))
            assert gw.agent
            plain = gw.agent._plain
            await until(lambda: gw.adapter.seen["serve"] and plain.under_way == 2 and plain._budget.used)
            draining = await hook(gw)
            await until(lambda: refused(gw), what="new connections are refused")
            # One whose body is not here yet goes in again only now.
            uploaded.set()
            await until(lambda: len(gw.adapter.seen["serve"]) == 2)
            assert draining.returncode is None
            gate.set()
            assert (await served)[0] == 200
            assert await uploading == 200
            assert await asyncio.wait_for(draining.wait(), 60) == 0


async def _status(session: aiohttp.ClientSession, gw: Gateway, body: AsyncIterator[bytes]) -> int:
    async with session.post(gw.url + AUDIO, data=body, headers=FORM) as answer:
        await answer.read()
        return answer.status


async def test_a_large_upload_is_never_in_memory(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gw:
        await serve_names(gw, max_body_bytes=(UPLOAD_MIB + 1) * MIB)
        await snapshot_holds(gw, 2)
        await gw.stop_agent()
        assert gw.agent
        process = start_agent_process(gw, gw.agent.admin_port)
        try:
            await gw.ready()
            assert await _status(gw.session, gw, _form(1)) == 200
            before = resident_kib(process.pid)
            highest = before

            async def upload() -> AsyncIterator[bytes]:
                nonlocal highest
                async for chunk in _form(UPLOAD_MIB):
                    highest = max(highest, resident_kib(process.pid))
                    yield chunk

            assert await _status(gw.session, gw, upload()) == 200
            highest = max(highest, resident_kib(process.pid))
            assert gw.adapter.seen["serve"][-1].size > UPLOAD_MIB * MIB
            assert gw.adapter.seen["serve"][-1].headers["x-insource-deployment"] == KEY.name
            assert highest - before < 24 * 1024, f"{highest - before} KiB for an upload of {UPLOAD_MIB} MiB"
        finally:
            process.kill()
            process.wait()


async def _form(size_mib: int) -> AsyncIterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for _ in range(size_mib * 4):
        yield bytes(MIB // 4)
    yield b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
