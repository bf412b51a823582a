"""Ingest into the ledger: records per second over HTTP and into the store, on this machine.

`python -m bench.ledger [--attempts N]`. Every batch is acknowledged after fsync; at the end the rows are counted,
and sending everything again must change nothing. Nothing is asserted on time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web
from sqlalchemy import text

from bench.report import Figure, show, write
from insource.env import SystemClock
from insource.ledger.attempts import Patience
from insource.ledger.auth import Authenticator
from insource.ledger.prices import StoredPrice
from insource.ledger.service import LedgerService, ServiceOptions
from insource.ledger.store import Store
from insource.wire.records import AttemptEnded, AttemptStarted, Quantity, Record, RecordBatch
from insource.wire.vocabulary import BackendKind, Modality, Outcome, Role, Unit, UsageSource

BATCH = 500
SENDERS = 4
TARGET = ">= 5000"


class Reviewer:
    """A cluster that knows one adapter."""

    async def review(self, token: str, audience: str) -> str | None:
        del token, audience
        return "system:serviceaccount:voice:insource-adapter"


def records_of(index: int) -> tuple[Record, Record]:
    """One attempt at a vendor: what its adapter writes before and after."""
    vendor = index % 2 == 0
    start = AttemptStarted(
        attempt_id=f"{index:08x}-7d1c-4f6e-9c2a-5b8f0e3d1a77.0.1",
        request_id=f"{index:08x}-7d1c-4f6e-9c2a-5b8f0e3d1a77",
        number=1,
        deployment="dictation",
        backend="openai" if vendor else "inhouse",
        backend_kind=BackendKind.VENDOR if vendor else BackendKind.IN_HOUSE,
        vendor="openai" if vendor else "",
        model="whisper-1" if vendor else "whisper-tiny-en",
        modality=Modality.TRANSCRIPTION,
        role=Role.SPILL if vendor else Role.SERVE,
        client="example-app",
        pod="dictation-inhouse-cpu-5d8f7c9b6-x2x4x",
        started_at_ms=1_795_000_000_000 + index,
    )
    end = AttemptEnded(
        attempt_id=start.attempt_id,
        outcome=Outcome.OK,
        status=200,
        quantities=(Quantity(unit=Unit.AUDIO_MS, source=UsageSource.MEASURED, quantity=14_885),),
        ended_at_ms=start.started_at_ms + 900,
        busy_ms=900,
    )
    return start, end


async def send_all(url: str, bodies: list[bytes]) -> float:
    """Seconds until every batch is acknowledged, with `SENDERS` senders."""
    waiting = list(reversed(bodies))

    async def sender(session: aiohttp.ClientSession) -> None:
        while waiting:
            async with session.post(url, data=waiting.pop(), headers={"Authorization": "Bearer t"}) as answer:
                answer.raise_for_status()
                await answer.read()

    async with aiohttp.ClientSession() as session:
        begin = time.perf_counter()
        await asyncio.gather(*(sender(session) for _ in range(SENDERS)))
        return time.perf_counter() - begin


async def bench(attempts: int, folder: Path) -> list[Figure]:
    """Both ways of ingest, each into a new file."""
    clock = SystemClock()
    batches = [
        tuple(record for index in range(low, min(low + BATCH // 2, attempts)) for record in records_of(index))
        for low in range(0, attempts, BATCH // 2)
    ]
    price = StoredPrice(0, "default", "openai", "whisper-1", "audio_ms", 0, 360_000_000, 3_600_000, 0, 1, "bench")
    figures: list[Figure] = []

    def figure(name: str, value: float, unit: str, target: str = "") -> None:
        figures.append(Figure(name, value, unit, target))

    store = await Store.open(folder / "store.sqlite", clock)
    await store.record_book("default", [price])
    begin = time.perf_counter()
    for batch in batches:
        await store.ingest("voice", batch)
    figure("store, one sender", 2 * attempts / (time.perf_counter() - begin), "records/s", TARGET)
    await store.close()

    store = await Store.open(folder / "http.sqlite", clock)
    await store.record_book("default", [price])
    service = LedgerService(
        store, Authenticator(Reviewer(), clock), ServiceOptions("USD", Patience(grace_ms=30_000, open_ms=3_600_000))
    )
    runner = web.AppRunner(service.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/records"
    bodies = [RecordBatch(records=batch).model_dump_json().encode() for batch in batches]
    cpu = time.process_time()
    wall = await send_all(url, bodies)
    cpu = time.process_time() - cpu
    figure(f"HTTP, {SENDERS} senders in the same process", 2 * attempts / wall, "records/s", TARGET)
    figure("HTTP, CPU (sender included)", 1e6 * cpu / (2 * attempts), "us/record")
    figure("HTTP, sent again (duplicates)", 2 * attempts / await send_all(url, bodies), "records/s", TARGET)
    counts = await store.read(
        lambda c: [c.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in ("attempt", "charge")]
    )
    if counts != [attempts, (attempts + 1) // 2]:
        raise SystemExit(f"lost or doubled: {counts} of {attempts} attempts and their charges")
    begin = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        small = RecordBatch(records=records_of(attempts + 1)).model_dump_json().encode()
        latencies = []
        for _ in range(200):
            begin = time.perf_counter()
            async with session.post(url, data=small, headers={"Authorization": "Bearer t"}) as answer:
                await answer.read()
            latencies.append(time.perf_counter() - begin)
    figure("HTTP, one small batch, p50", 1e3 * sorted(latencies)[100], "ms")
    figure("file per attempt", (folder / "http.sqlite").stat().st_size / attempts, "bytes")
    await runner.cleanup()
    await store.close()
    return figures


def main() -> None:
    """Print the table and write bench/out/ledger.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        figures = asyncio.run(bench(arguments.attempts, Path(folder)))
    show("ledger", figures)
    write("ledger", figures)


if __name__ == "__main__":
    main()
