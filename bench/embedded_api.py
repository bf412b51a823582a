"""The embedded API server (`insource cluster`) from outside: start, memory, and CPU per request, item and watch event.

`python -m bench.embedded_api [--objects 1000,10000]`. CPU is user + system time of the server's process, divided by
how often something was done; so it holds on a busy machine, too. The requests come from this process over HTTP. A
ModelDeployment stands for the custom kinds; a Deployment with two containers, 30 variables and two volumes for the
built-in ones. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.embedded_api_objects import deployment, model_deployment
from bench.report import ROOT, Figure, show, write
from insource.env import system_env
from insource.local.builtin_types import struct_of
from insource.local.go_objects import decoded
from insource.local.store import Store

TOKEN = "bench"
NAMESPACE = "default"
MODEL_DEPLOYMENTS = f"/apis/insource.dev/v1alpha1/namespaces/{NAMESPACE}/modeldeployments"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
REPEATS = 400
WATCHERS = 20
READY_S = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
Body = dict[str, Any]


@dataclass
class Server:
    """One running `insource cluster`."""

    pid: int
    url: str
    session: aiohttp.ClientSession
    start_ms: float
    """From the start of the process to the first answer."""
    start_cpu_ms: float

    def cpu_s(self) -> float:
        """User + system seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mib(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

    async def get(self, path: str) -> bytes:
        """The body of a good answer."""
        async with self.session.get(self.url + path) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def apply(self, path: str, body: Body) -> None:
        """Server-side apply of one object of a collection's path."""
        async with self.session.patch(
            f"{self.url}{path}/{body['metadata']['name']}",
            params={"fieldManager": "bench", "force": "true"},
            data=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ) as answer:
            if answer.status >= 300:
                raise RuntimeError(await answer.text())
            await answer.read()


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[Server]:
    """`insource cluster` on this folder until the block is left."""
    (folder / "run").mkdir(exist_ok=True)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{TOKEN},bench,bench,"system:masters"\n')
    log = folder / "log"
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "insource", "cluster", "--data", str(folder / "c"), "--port", "0"),
            *("--run-dir", str(folder / "run"), "--tokens-file", str(tokens), "--crds", str(ROOT / "crds")),
            stdout=output,
            stderr=output,
        )
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
            url = await _ready_url(log)
            found = Server(process.pid, url, session, 0.0, 0.0)
            await found.get("/api/v1/namespaces")
            found.start_ms = (time.perf_counter() - begun) * 1000
            found.start_cpu_ms = found.cpu_s() * 1000
            yield found
    finally:
        process.terminate()
        await process.wait()


async def _ready_url(log: Path) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        url = _said_url(log)
        if url:
            return url
        await asyncio.sleep(0.01)
    raise RuntimeError(f"the cluster did not start, see {log}")


def _said_url(log: Path) -> str:
    for line in log.read_text().splitlines():
        if line.startswith("{") and (said := json.loads(line)).get("event") == "ready":
            return str(said["url"])
    return ""


async def cost_us(api: Server, work: Callable[[int], Awaitable[Any]], times: int) -> float:
    """Microseconds of the server's CPU for one of `times` calls."""
    before = api.cpu_s()
    for number in range(times):
        await work(number)
    return (api.cpu_s() - before) / times * 1e6


async def requests(api: Server) -> list[Figure]:
    """CPU per request on the objects that `fill` has left."""
    figures = []

    async def measure(name: str, work: Callable[[int], Awaitable[Any]]) -> None:
        figures.append(Figure(name, await cost_us(api, work, REPEATS), "µs CPU"))

    def custom(slots: int, first: int = 0) -> Callable[[int], Awaitable[None]]:
        return lambda number: api.apply(MODEL_DEPLOYMENTS, model_deployment(first + number, slots))

    def built_in(image: str) -> Callable[[int], Awaitable[None]]:
        return lambda number: api.apply(DEPLOYMENTS, deployment(number, image))

    await measure("GET one ModelDeployment", lambda number: api.get(f"{MODEL_DEPLOYMENTS}/m{number:05d}"))
    await measure("apply a ModelDeployment: create", custom(4, first=90_000))
    await measure("apply a ModelDeployment: change", custom(9))
    await measure("apply a ModelDeployment: no change", custom(9))
    await measure("apply a Deployment: create, with its ReplicaSet", built_in("image:1"))
    await _quiet(api)
    await measure("apply a Deployment: change, with its ReplicaSets", built_in("image:2"))
    await _quiet(api)
    await measure("apply a Deployment: no change", built_in("image:2"))
    return figures


async def _quiet(api: Server) -> None:
    """Until the controllers have worked off what was written."""
    before = -1.0
    while (now := api.cpu_s()) != before:
        before = now
        await asyncio.sleep(0.3)


async def listing(api: Server, count: int) -> Figure:
    """CPU per item of a list of everything."""
    spent = await cost_us(api, lambda _: api.get(MODEL_DEPLOYMENTS), max(5, 20_000 // count))
    return Figure(f"LIST of {count:,} ModelDeployments, per item", spent / count, "µs CPU")


async def watching(api: Server) -> Figure:
    """What a change costs for each open watch that hears of it."""
    changes = REPEATS // 2
    alone = await cost_us(api, lambda n: api.apply(MODEL_DEPLOYMENTS, model_deployment(n, slots=100)), changes)
    seen = 0
    everything = asyncio.Event()

    async def watch(opened: asyncio.Event) -> None:
        nonlocal seen
        version = json.loads(await api.get(f"{MODEL_DEPLOYMENTS}?limit=1"))["metadata"]["resourceVersion"]
        path = f"{api.url}{MODEL_DEPLOYMENTS}?watch=1&resourceVersion={version}"
        async with api.session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            opened.set()
            async for line in answer.content:
                if line.strip():
                    seen += 1
                    if seen >= WATCHERS * changes:
                        everything.set()

    opened = [asyncio.Event() for _ in range(WATCHERS)]
    tasks = [asyncio.create_task(watch(event)) for event in opened]
    try:
        for event in opened:
            await event.wait()
        before = api.cpu_s()
        for number in range(changes):
            await api.apply(MODEL_DEPLOYMENTS, model_deployment(number, slots=101))
        await asyncio.wait_for(everything.wait(), READY_S)
        together = (api.cpu_s() - before) / changes * 1e6
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Figure(f"watch event delivered ({WATCHERS} watches)", (together - alone) / WATCHERS, "µs CPU")


def in_the_store() -> list[Figure]:
    """A Deployment's apply without HTTP and controllers, and what the check of its fields' types is of that."""
    store = Store(system_env())
    store.create(("", "namespaces"), {"metadata": {"name": NAMESPACE}})
    kind = store.kinds.find(("apps", "deployments"))
    assert kind is not None

    def apply(number: int, image: str) -> Body:
        body = deployment(number, image)
        return store.patch(kind, NAMESPACE, body["metadata"]["name"], body, "apply", field_manager="bench", force=True)

    def spent_us(work: Callable[[int], Any]) -> float:
        before = resource.getrusage(resource.RUSAGE_SELF)
        for number in range(REPEATS):
            work(number)
        after = resource.getrusage(resource.RUSAGE_SELF)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / REPEATS * 1e6

    created = spent_us(lambda n: apply(n, "image:1"))
    changed = spent_us(lambda n: apply(n, "image:2"))
    body, present = deployment(0, "image:3"), store.get(kind, NAMESPACE, "d00000")
    of = struct_of("apps", "Deployment")
    fresh = spent_us(lambda _: decoded(body, None, of, []))
    against = spent_us(lambda _: decoded(body, present, of, []))
    return [
        Figure("Deployment applied in the store alone: create", created, "µs CPU"),
        Figure("of that, checking its fields' types", fresh / created * 100, "%"),
        Figure("Deployment applied in the store alone: change", changed, "µs CPU"),
        Figure("of that, checking its fields' types", against / changed * 100, "%"),
    ]


async def fill(api: Server, first: int, last: int) -> None:
    """ModelDeployments `first` to `last`, several at a time."""
    waiting = list(range(last - 1, first - 1, -1))

    async def sender() -> None:
        while waiting:
            await api.apply(MODEL_DEPLOYMENTS, model_deployment(waiting.pop()))

    await asyncio.gather(*(sender() for _ in range(8)))


async def bench(counts: list[int]) -> list[Figure]:
    """All figures: an empty server, then filled step by step, then started again on what it holds."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="x-bench-") as name:
        folder = Path(name)
        async with server(folder) as api:
            figures += [
                Figure("start to first answer, empty", api.start_ms, "ms"),
                Figure("CPU of that start", api.start_cpu_ms, "ms CPU"),
                Figure("RSS, empty", api.rss_mib(), "MiB"),
            ]
            done = 0
            for count in counts:
                await fill(api, done, count)
                done = count
                figures.append(Figure(f"RSS, {count:,} ModelDeployments applied", api.rss_mib(), "MiB"))
                figures.append(await listing(api, count))
        async with server(folder) as api:
            figures += [
                Figure(f"start to first answer with {done:,} ModelDeployments", api.start_ms, "ms"),
                Figure("CPU of that start", api.start_cpu_ms, "ms CPU"),
                Figure(f"RSS after a start with {done:,} ModelDeployments", api.rss_mib(), "MiB"),
            ]
            figures += await requests(api)
            figures.append(await watching(api))
    return figures + in_the_store()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", default="1000,10000", help="how many ModelDeployments, rising")
    counts = [int(text) for text in parser.parse_args().objects.split(",")]
    figures = asyncio.run(bench(counts))
    show("Embedded API server", figures)
    path = write("embedded_api", figures, [f"{REPEATS} requests of each sort, one after the other."])
    print(path)


if __name__ == "__main__":
    main()
