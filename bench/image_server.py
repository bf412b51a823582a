"""The flow-image server: seconds per picture by steps and by n, over HTTP, beside the bare loop of ONNX Runtime.

`python -m bench.image_server [turns]`: the real program as a process with one slot, asked by one client in turn; the
peer is the same network and sampling in this process without HTTP, prompt, seeds, encoding: what serving costs is the
difference. Memory is the program's resident set. No target: the model is a toy.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable

import aiohttp
from tests.programs import program

from bench.report import Figure, show, write
from insource.servers.flow_sampling import FOLDER, STEPS, WEIGHTS, FlowModel

MODEL = "flow-32"
CODE = (
    "import os\nfrom insource.servers.flow_image import run_flow_image\n"
    "from insource.servers.settings import server_settings\nrun_flow_image(server_settings(os.environ))"
)
CASES = [("low", 1, 256), ("medium", 1, 256), ("high", 1, 256), ("medium", 4, 256), ("medium", 10, 256)]
CASES += [("medium", 1, 1024)]
"""Quality, n, side."""
TURNS = 7


async def by_http(session: aiohttp.ClientSession, url: str, quality: str, n: int, side: int) -> float:
    """Seconds of one request."""
    sent = {
        "model": MODEL,
        "prompt": "a large red star on a blue background",
        "quality": quality,
        "n": n,
        "size": f"{side}x{side}",
    }
    began = time.perf_counter()
    async with session.post(f"{url}/v1/images/generations", json=sent) as answer:
        body = await answer.json()
    assert answer.status == 200, body
    assert len(body["data"]) == n
    return time.perf_counter() - began


def bare(model: FlowModel, steps: int, n: int) -> float:
    """Seconds of the loop alone."""
    began = time.perf_counter()
    for _ in model.sample((5, 2, 1, 5), [(1, number) for number in range(n)], steps):
        pass
    return time.perf_counter() - began


def resident_mib(pid: int) -> float:
    """VmRSS."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        kib = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return round(kib / 1024, 1)


async def measure(turns: int) -> list[Figure]:
    """All figures, the server and the peer in turns."""
    model = FlowModel((FOLDER / WEIGHTS).read_bytes())
    environment = {**os.environ, "PORT": "0", "MODEL_NAME": MODEL, "SLOTS": "1"}
    figures = []
    with program(CODE, environment) as started:
        async with aiohttp.ClientSession() as session:
            while (await session.get(f"{started.url}/health")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await by_http(session, started.url, "low", 1, 256)
            idle = resident_mib(started.process.pid)
            for quality, n, side in CASES:
                steps = next(count for name, count in STEPS.items() if name == quality)
                ours, peers = [], []
                for _ in range(turns):
                    ours.append(await by_http(session, started.url, quality, n, side) / n)
                    peers.append(bare(model, steps, n) / n)
                figures.append(_figure(f"{side}x{side}, {steps} steps, n = {n}: each picture", ours, peers))
            figures.append(Figure("resident memory after the first picture", idle, "MiB"))
            figures.append(Figure("resident memory at the end", resident_mib(started.process.pid), "MiB"))
    return figures


def _figure(name: str, ours: list[float], peers: list[float]) -> Figure:
    in_ms: Callable[[float], float] = lambda seconds: round(seconds * 1000, 2)  # noqa: E731
    return Figure(
        name,
        in_ms(statistics.median(ours)),
        "ms",
        peer="the same steps without a server",
        peer_value=in_ms(statistics.median(peers)),
        runs=len(ours),
        spread=(in_ms(min(ours)), in_ms(max(ours))),
    )


def main() -> None:
    """Measure, show, write."""
    figures = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else TURNS))
    show("flow-image server", figures)
    print(write("image_server", figures))


if __name__ == "__main__":
    main()
