"""Memory that one 100 MB upload in flight costs the adapter, and what its measuring process takes beside it.

`python -m bench.upload_memory [uploads]`: a real adapter process before a fake server, uploads of 100 MB of WAV at
once, and the growth of its resident set at the highest sample over that before, by upload. Target: < 2 MiB.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from tests.gateway.adapter_harness import TOKEN, FakeLedger, FakeServer, ledger_application, serve, server_application
from tests.gateway.test_adapter_crash import environment, running

from insource.adapter.warmup import tone_wav
from insource.wire.headers import ROLE_PORTS

UPLOAD_BYTES = 100 * 1024 * 1024
CHUNK = bytes(65536)
IP = "127.77.3.1"
TARGET_MIB = 2.0


def resident_kib(pid: int) -> int:
    """VmRSS without file pages."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


async def body() -> AsyncIterator[bytes]:
    """A form with a 100 MB WAV."""
    yield b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nw\r\n'
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + tone_wav()
    for _ in range(UPLOAD_BYTES // len(CHUNK)):
        yield CHUNK
    yield b"\r\n--b--\r\n"


async def upload(session: aiohttp.ClientSession, number: int) -> int:
    """Send one; returns the status."""
    headers = {
        "x-request-id": f"bench-{number}",
        "x-envoy-attempt-count": "1",
        "x-insource-namespace": "voice",
        "x-insource-deployment": "dictation",
        "x-insource-gateway-token": TOKEN,
        "content-type": "multipart/form-data; boundary=b",
    }
    url = f"http://{IP}:{ROLE_PORTS['serve']}/v1/audio/transcriptions"
    async with session.post(url, data=body(), headers=headers) as response:
        return response.status


async def main(uploads: int) -> None:
    """Run and print."""
    server, ledger = FakeServer(), FakeLedger()
    server_runner, server.port = await serve(server_application(server))
    ledger_runner, ledger.port = await serve(ledger_application(ledger))
    with tempfile.TemporaryDirectory() as folder:
        values = environment(Path(folder), "inHouse", IP, server.port, ledger.port)
        values |= {"INSOURCE_MAX_BODY_BYTES": str(2 * UPLOAD_BYTES), "TMPDIR": folder}
        async with aiohttp.ClientSession() as session, running({**os.environ, **values}, session) as process:
            await upload(session, 0)  # once first: lazily loaded code is not the upload's
            before = peak = resident_kib(process.pid)
            sending = [asyncio.create_task(upload(session, 1 + number)) for number in range(uploads)]
            while not all(task.done() for task in sending):
                peak = max(peak, resident_kib(process.pid))
                await asyncio.sleep(0.01)
            statuses = [task.result() for task in sending]
    await server_runner.cleanup()
    await ledger_runner.cleanup()
    each = (peak - before) / 1024 / uploads
    print(f"{uploads} x 100 MB, statuses {statuses}: {before / 1024:.1f} MiB before, {peak / 1024:.1f} MiB at most")
    figure = {"name": "adapter memory per 100 MB upload", "value": round(each, 2), "unit": "MiB", "target": TARGET_MIB}
    print(json.dumps(figure))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
