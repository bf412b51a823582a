"""What our gateway and adapter cost, beside raw Envoy and LiteLLM: one run, one fake backend, one load generator.

`python -m bench.gateway [--seconds S] [--without-litellm] [--without-scale]`. The measured proxies share core 0, the
generator and the backend core 1. Processor time per request is from /proc and is the robust figure; requests per
second and latencies move with whatever else runs on the machine. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.ports import free_port

from bench.gateway_weights import weight_changes
from bench.load import litellm, multipart, raw_envoy
from bench.load.agent import API_KEY
from bench.load.processes import (
    Load,
    Processes,
    UnavailableError,
    compiled,
    cpu_s,
    generate,
    read_line,
    rss_bytes,
    tell,
    until,
)
from bench.report import Figure, show, write
from insource.env import system_env
from insource.gateway.envoy import EnvoySettings, write_configuration

PROXY_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 16
ROUNDS = 9
ADDED_MS = 1.5
FSYNCS, RECORD_BYTES = 200, 500
FIXED_RATE = 300
HELD_SHARE = 0.5
"""A way that cannot do `FIXED_RATE` is measured at this share of what it did in the closed loop."""
AUDIO_S = 0.5
UPLOAD_BYTES = 100 << 20
BODY_LIMIT = 256 << 20
GATEWAY_PATH = "/bench/dictation/v1/audio/transcriptions"
PLAIN_PATH = "/v1/audio/transcriptions"
MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    """One way to the backend."""

    name: str
    port: int
    request: Path
    proxies: tuple[subprocess.Popen[bytes], ...]


class Bench:
    """The processes of one run and what was measured."""

    proxy_core = PROXY_CORE

    def __init__(self, folder: Path, run_dir: Path, seconds: float) -> None:
        self.folder = folder
        self.run_dir = run_dir
        self.seconds = seconds
        self.processes = Processes(folder)
        self.figures: list[Figure] = []
        self.notes: list[str] = []

    def backend(self, tag: str) -> int:
        """Start a fake model server and return its port."""
        process = self.processes.start(f"backend-{tag}", [str(compiled("backend")), "0", tag], core=LOAD_CORE)
        return int(read_line(process))

    def gateway(self, name: str, ports: list[int], ledger: str) -> tuple[int, list[subprocess.Popen[bytes]], int]:
        """Start Envoy and its agent in front of `ports`: (port, [envoy, agent], the agent's admin port)."""
        state, run_dir = self.folder / name, self.run_dir / name
        for each in (state, run_dir):
            each.mkdir()
        settings = {"state": str(state), "run": str(run_dir), "ledger": ledger, "ports": ports, "limit": BODY_LIMIT}
        agent = self.python(f"{name}-agent", "bench.load.agent", settings)
        admin = int(read_line(agent)["admin"])
        port = free_port()
        command = write_configuration(
            EnvoySettings("127.0.0.1", port, state / "state", run_dir, concurrency=1), system_env()
        )
        envoy = self.processes.start(f"{name}-envoy", command, core=PROXY_CORE)
        return port, [envoy, agent], admin

    def python(
        self, name: str, module: str, settings: dict[str, Any], *, measured: bool = True
    ) -> subprocess.Popen[bytes]:
        """Start one of our child programs, beside the load if it is not `measured`."""
        core = PROXY_CORE if measured else LOAD_CORE
        return self.processes.start(name, [sys.executable, "-m", module, json.dumps(settings)], core=core)

    def with_adapter(
        self, name: str, server: str, *, vendor: bool = False
    ) -> tuple[subprocess.Popen[bytes], int, list[subprocess.Popen[bytes]]]:
        """Start an adapter of `server`, which is the ledger, too, and a gateway in front of it: (it, port, parts)."""
        settings = {"state": str(self.folder / name), "server": server, "ledger": server, "vendor": vendor}
        adapter = self.python(name, "bench.load.adapter", {**settings, "limit": BODY_LIMIT, "slots": CONNECTIONS})
        port, parts, _ = self.gateway(f"with-{name}", [int(read_line(adapter)["serve"])], server)
        tell(parts[1], {"deployments": 1, "weights": [1]})
        read_line(parts[1])
        return adapter, port, parts

    def request_file(self, name: str, path: str, authorization: str = "") -> Path:
        """The bytes of one request, for the generator."""
        file = self.folder / f"{name}.request"
        file.write_bytes(multipart.request(path, multipart.wav(AUDIO_S), authorization))
        return file

    def throughput(self, target: Target) -> tuple[float, list[float]]:
        """(requests per second, CPU microseconds per request of each of its processes), closed loop."""
        self.load(target, 0.5)
        before = [cpu_s(each) for each in target.proxies]
        load = self.load(target, self.seconds)
        used = [cpu_s(each) - was for each, was in zip(target.proxies, before, strict=True)]
        if load.errors:
            self.notes.append(f"{target.name}: {load.errors} errors in the closed loop")
        return load.rate, [each * 1e6 / max(1, load.requests) for each in used]

    def load(self, target: Target, seconds: float, rate: float = 0) -> Load:
        """One run of the generator."""
        return generate(
            target.port, target.request, connections=CONNECTIONS, seconds=seconds, rate=rate, core=LOAD_CORE
        )

    def add(self, name: str, value: float, unit: str, target: str = "", peer: tuple[str, float] | None = None) -> None:
        """Keep one figure."""
        peer_name, peer_value = peer or ("", None)
        self.figures.append(Figure(name, value, unit, target, peer_name, peer_value))

    def add_median(
        self, name: str, values: list[float], unit: str, target: str = "", peer: tuple[str, float] | None = None
    ) -> None:
        """Keep the median of several turns, and how far they lie apart."""
        self.add(name, statistics.median(values), unit, target, peer)
        self.figures[-1] = replace(self.figures[-1], runs=len(values), spread=(min(values), max(values)))


def answers(target: Target) -> bool:
    """Whether one request by this way is a 200."""
    with socket.create_connection(("127.0.0.1", target.port), timeout=5) as connection:
        connection.sendall(target.request.read_bytes())
        return connection.recv(65536).startswith(b"HTTP/1.1 200")


def speed(bench: Bench, targets: list[Target], direct: Target) -> None:
    """Requests per second, CPU per request, and latency added at a fixed rate.

    Ways are measured in turn, several times: the machine's own speed changes within seconds.
    """
    rates: dict[str, list[float]] = {target.name: [] for target in targets}
    cpu: dict[str, list[list[float]]] = {target.name: [] for target in targets}
    for turn in range(ROUNDS):
        for target in targets:
            if target.name == "LiteLLM" and turn:
                continue  # A hundred times slower: one turn tells.
            rate, used = bench.throughput(target)
            rates[target.name].append(rate)
            cpu[target.name].append(used)
    totals = {name: [sum(used) for used in turns] for name, turns in cpu.items()}
    for name, values in rates.items():
        bound = f">= {FIXED_RATE}" if name == "gateway + adapter" else ""
        bench.add_median(f"{name}: requests per second", values, "1/s", bound)
    for name, values in totals.items():
        peer = ("LiteLLM", totals["LiteLLM"][0]) if "LiteLLM" in totals and name != "LiteLLM" else None
        bench.add_median(f"{name}: CPU per request", values, "us", peer=peer)
    bench.add_median("gateway: its agent's part of that", [used[1] for used in cpu["gateway"]], "us")
    bench.add_median(
        "gateway + adapter: the adapter's part of that", [used[2] for used in cpu["gateway + adapter"]], "us"
    )
    raw = totals["raw Envoy"]
    envoy = [used[0] / was for used, was in zip(cpu["gateway"], raw, strict=True)]
    both = [used / was for used, was in zip(totals["gateway"], raw, strict=True)]
    bench.add_median("CPU of the gateway's Envoy / raw Envoy", envoy, "x", "<= 1.6")
    bench.add_median("CPU of the gateway's Envoy and agent / raw Envoy", both, "x", "<= 1.6")
    sync = fsync_ms(bench.folder)
    bench.add("one fsync where the adapters keep their records, p50", sync, "ms")
    bounds = {"gateway + adapter": ADDED_MS, "gateway + vendor adapter": ADDED_MS + sync}
    for target in targets:
        added(bench, target, statistics.median(rates[target.name]), direct, bounds)


def added(bench: Bench, target: Target, held: float, direct: Target, bounds: dict[str, float]) -> None:
    """Latency over the direct way: at the fixed rate, or where that is too much, at what this way holds."""
    rate = FIXED_RATE if held > FIXED_RATE else max(1, round(held * HELD_SHARE))
    if rate != FIXED_RATE:
        bench.notes.append(f"{target.name} does not hold {FIXED_RATE} requests/s (it did {held:.0f})")
    p50, p99 = [], []
    for _ in range(ROUNDS if rate == FIXED_RATE else 1):
        base = bench.load(direct, bench.seconds, rate)
        load = bench.load(target, bench.seconds, rate)
        p50.append((load.p50_us - base.p50_us) / 1000)
        p99.append((load.p99_us - base.p99_us) / 1000)
        if load.errors:
            bench.notes.append(f"{target.name}: {load.errors} errors at {rate} rps")
    # Note: at a lower rate a small figure would not mean that the target is reached.
    bound = f"<= {bounds[target.name]:.3g}" if target.name in bounds and rate == FIXED_RATE else ""
    bench.add_median(f"{target.name}: added p50 at {rate} rps", p50, "ms", bound)
    bench.add_median(f"{target.name}: added p99 at {rate} rps", p99, "ms")


def fsync_ms(folder: Path) -> float:
    """What it takes to append a record to a file in `folder` and sync it: the median of many."""
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(bytes(RECORD_BYTES))
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def upload_memory(bench: Bench, port: int, parts: dict[str, subprocess.Popen[bytes]]) -> None:
    """Resident memory gained while 100 MB are in flight, sent but for the last bytes; the highest of many samples."""
    head, tail = multipart.upload_ends(GATEWAY_PATH, UPLOAD_BYTES, f"Bearer {API_KEY}")
    before = {name: rss_bytes(process) for name, process in parts.items()}
    most = dict(before)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for name, process in parts.items():
                most[name] = max(most[name], rss_bytes(process))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(head)
            piece = bytes(1 << 16)
            for _ in range(UPLOAD_BYTES // len(piece)):
                connection.sendall(piece)
            time.sleep(0.5)  # all of it is where it stays while the request is in flight
            stop.set()
            watching.join()
            connection.sendall(tail)
            status = connection.recv(65536)[:12].decode()
    finally:
        stop.set()
        watching.join()
    if status != "HTTP/1.1 200":
        bench.notes.append(f"the upload of 100 MB was answered {status!r}")
    bounds = {"adapter": "<= 2", "Envoy": f"<= {BODY_LIMIT // MIB}"}
    for name in parts:
        bench.add(f"{name}: memory for 100 MB in flight", (most[name] - before[name]) / MIB, "MiB", bounds[name])


def add_litellm(bench: Bench, backend: int) -> Target | None:
    """LiteLLM in front of the backend; None, with a note, where it cannot be had."""
    try:
        folder = litellm.installed()
    except UnavailableError as missing:
        bench.notes.append(str(missing))
        return None
    port = free_port()
    command = litellm.command(folder, bench.folder, port, backend)
    process = bench.processes.start("litellm", command, core=PROXY_CORE, env=litellm.environment())
    request = bench.request_file("litellm", PLAIN_PATH, f"Bearer {litellm.KEY}")
    target = Target("LiteLLM", port, request, (process,))
    until(partial(answers, target), 90, "LiteLLM answers")
    return target


def run(bench: Bench, *, steps: dict[str, bool]) -> None:
    """All phases."""
    backends = [bench.backend(tag) for tag in "AB"]
    backend, ledger = backends[0], f"http://127.0.0.1:{backends[0]}"
    plain = bench.request_file("plain", PLAIN_PATH)
    keyed = bench.request_file("keyed", GATEWAY_PATH, f"Bearer {API_KEY}")
    direct = Target("direct", backend, plain, ())

    raw_port = free_port()
    raw = bench.processes.start("raw", raw_envoy.command(bench.folder, raw_port, backend), core=PROXY_CORE)
    port, parts, _ = bench.gateway("gateway", [backend], ledger)
    tell(parts[1], {"deployments": 1, "weights": [1]})
    read_line(parts[1])
    adapter, with_port, with_parts = bench.with_adapter("adapter", ledger)
    vendor, vendor_port, vendor_parts = bench.with_adapter("vendor-adapter", ledger, vendor=True)

    targets = [
        Target("raw Envoy", raw_port, plain, (raw,)),
        Target("gateway", port, keyed, tuple(parts)),
        Target("gateway + adapter", with_port, keyed, (*with_parts, adapter)),
        Target("gateway + vendor adapter", vendor_port, keyed, (*vendor_parts, vendor)),
    ]
    for target in targets:
        until(partial(answers, target), 30, f"{target.name} answers")
    if steps["litellm"] and (peer := add_litellm(bench, backend)):
        targets.append(peer)
    speed(bench, targets, direct)
    upload_memory(bench, with_port, {"Envoy": with_parts[0], "adapter": adapter})
    if steps["scale"]:
        weight_changes(bench, backends, ledger, path=GATEWAY_PATH, limit=BODY_LIMIT)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load (default 2)")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--without-scale", action="store_true", help="leave out the weight changes")
    parser.add_argument("--logs", type=Path, help="keep the processes' logs in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isb") as folder, tempfile.TemporaryDirectory(prefix="isr") as run_dir:
        state = options.logs or Path(folder)
        state.mkdir(parents=True, exist_ok=True)
        bench = Bench(state, Path(run_dir), options.seconds)
        try:
            run(bench, steps={"litellm": not options.without_litellm, "scale": not options.without_scale})
        except UnavailableError as missing:
            raise SystemExit(str(missing)) from missing
        finally:
            bench.processes.end_all()
    show("gateway", bench.figures)
    for note in bench.notes:
        print(f"note: {note}")
    print(write("gateway", bench.figures, bench.notes))


if __name__ == "__main__":
    main()
