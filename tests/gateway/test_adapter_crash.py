"""A real adapter process, killed under load: what the backend saw is what the ledger has, `unknown` ones listed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from insource.wire.headers import ADMIN_PORT, ROLE_PORTS
from tests.gateway.adapter_harness import (
    KEY,
    TOKEN,
    FakeLedger,
    FakeServer,
    form,
    in_house,
    ledger_application,
    serve,
    server_application,
    settings_for,
    until,
    write_routes,
)

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(240)]


def environment(folder: Path, side: str, ip: str, server: int, ledger: int) -> dict[str, str]:
    settings_for(folder, in_house(server), ledger)  # writes the mounted files
    values = {
        "POD_IP": ip, "POD_NAME": "pod-1", "POD_UID": "u", "INSOURCE_NAMESPACE": "voice",
        "INSOURCE_TOKENS_DIR": str(folder / "tokens"), "INSOURCE_LEDGER_URL": f"http://127.0.0.1:{ledger}",
        "INSOURCE_LEDGER_TOKEN_FILE": str(folder / "ledger-token"), "INSOURCE_WAL_DIR": str(folder / "wal"),
        "INSOURCE_KIND": side, "INSOURCE_DRAIN_GRACE_S": "10", "INSOURCE_MAX_BODY_BYTES": "1000000",
    }  # fmt: skip
    base = f"http://127.0.0.1:{server}"
    if side == "inHouse":
        values |= {
            "INSOURCE_DEPLOYMENT": "dictation", "INSOURCE_BACKEND": "inhouse", "INSOURCE_REVISION": "r1",
            "INSOURCE_MODALITY": "Transcription", "INSOURCE_MODEL": "m", "INSOURCE_SERVER_URL": f"{base}/v1",
            "INSOURCE_SERVER_HEALTH_URL": f"{base}/health", "INSOURCE_REQUEST_MODEL": "tiny.en",
            "INSOURCE_SLOTS": "16", "INSOURCE_REQUEST_TIMEOUT_S": "60",
        }  # fmt: skip
    else:
        (folder / "key").write_text(KEY)
        write_routes(folder)
        values |= {
            "INSOURCE_VENDOR": "openai", "INSOURCE_DIALECT": "OpenAI", "INSOURCE_ENDPOINT": f"{base}/v1",
            "INSOURCE_VENDOR_KEY_FILE": str(folder / "key"), "INSOURCE_VENDOR_SECRET": "openai-key/key",
            "INSOURCE_ROUTES_FILE": str(folder / "routes.json"), "INSOURCE_REQUESTS_PER_MINUTE": "0",
            "INSOURCE_CONCURRENCY": "0",
        }  # fmt: skip
    return {**os.environ, **values}


@asynccontextmanager
async def running(values: dict[str, str], session: aiohttp.ClientSession) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "insource", "adapter", env=values,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while True:
                assert process.returncode is None
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{values['POD_IP']}:{ADMIN_PORT}/readyz") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


async def until_gone(pids: list[int]) -> None:
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize("side", ["inHouse", "vendor"])
async def test_killed_under_load(tmp_path: Path, side: str) -> None:
    server, ledger = FakeServer(), FakeLedger()
    server_runner, server.port = await serve(server_application(server))
    ledger_runner, ledger.port = await serve(ledger_application(ledger))
    ip = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(2, 255)}"
    values = environment(tmp_path, side, ip, server.port, ledger.port)
    url = f"http://{ip}:{ROLE_PORTS['serve']}/v1/audio/transcriptions"
    sent = 0
    answered: set[str] = set()
    stop = asyncio.Event()

    async def load(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        while not stop.is_set():
            sent += 1
            name = f"req-{sent}"
            headers = {
                "x-request-id": name, "x-envoy-attempt-count": "1", "x-insource-namespace": "voice",
                "x-insource-deployment": "dictation", "x-insource-client": "a", "x-insource-gateway-token": TOKEN,
            }  # fmt: skip
            try:
                async with session.post(url, data=form(None, b""), headers=headers) as response:
                    if response.status == 200:
                        answered.add(name)
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)

    async def kill(process: asyncio.subprocess.Process) -> None:
        """At a moment at which the backend surely works on something: it takes one call and keeps it."""
        taken, dead = asyncio.Event(), asyncio.Event()

        async def keep_one() -> None:
            if not taken.is_set():
                taken.set()
                await dead.wait()

        server.working = keep_one
        async with asyncio.timeout(60):
            await taken.wait()
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        server.working = None
        dead.set()
        assert workers
        await until_gone(workers)

    async def until_more(than: int) -> None:
        await until(lambda: len(answered) > than)

    try:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for round_number in range(2):
                async with running(values, session) as process:
                    if round_number == 0:
                        for _ in range(6):
                            group.create_task(load(session))
                    before = len(answered)
                    await until_more(before + 25)
                    ledger.away = round_number == 1
                    await until_more(before + 40)
                    await kill(process)
            stop.set()
            ledger.away = False
            async with running(values, session) as process:
                await until(lambda: ledger.starts().keys() == ledger.ends().keys() and len(ledger.ends()) > 0)
                async with session.get(f"http://{ip}:{ADMIN_PORT}/state") as response:
                    state = await response.json()
                await until(lambda: len(ledger.ends()) >= len(answered))
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(60):
                    assert await process.wait() == 0
                assert state["ready"]
        ends = {attempt.removesuffix(".0.1"): end["outcome"] for attempt, end in ledger.ends().items()}
        seen = [call["request_id"] for call in server.calls]
        assert len(seen) == len(set(seen))
        assert ledger.conflicts == []
        assert set(seen) <= ends.keys()  # nothing that the backend did is missing
        assert answered <= {name for name, outcome in ends.items() if outcome in ("ok", "unknown")}
        assert len(answered - {name for name, outcome in ends.items() if outcome == "ok"}) == 0
        extra = {name: outcome for name, outcome in ends.items() if name not in seen}
        assert set(extra.values()) <= {"unknown", "gone"}  # killed between the record and the call
        assert list(ends.values()).count("unknown") >= 2  # at least the one that was kept at each kill
    finally:
        stop.set()
        await server_runner.cleanup()
        await ledger_runner.cleanup()
