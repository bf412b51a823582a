"""What clients notice while the gateway's world changes or breaks: errors under a constant rate of requests.

`python -m bench.gateway_faults [--seconds S]`. Backends are the fake model server of `bench.gateway`; where a server is
killed or stopped, each is behind a real in-house adapter. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench.gateway import BODY_LIMIT, GATEWAY_PATH, LOAD_CORE, Bench, Target, answers
from bench.load.agent import API_KEY
from bench.load.processes import Load, UnavailableError, compiled, generate, read_line, tell, until
from bench.report import show, write

CHANGES, CHANGE_RATE = 100, 400
KILL_RATE, STOP_RATE = 300, 100
SLOTS = 64
PATIENT = 512
"""Connections where requests may hang for seconds: enough that the rate goes on beside them."""


def under_load(target: Target, rate: int, seconds: float, act: Callable[[], None], connections: int = 64) -> Load:
    """`rate` requests per second for `seconds`, and `act` from a second after the start."""
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            partial(
                generate,
                target.port,
                target.request,
                connections=connections,
                seconds=seconds,
                rate=rate,
                core=LOAD_CORE,
            )
        )
        threading.Event().wait(1)
        act()
        return load.result()


def changes(bench: Bench, request: Path, seconds: float) -> None:
    """Weights, then endpoints, a hundred times each."""
    ports = [bench.backend(tag) for tag in "AB"]
    port, parts, _ = bench.gateway("changes", ports, f"http://127.0.0.1:{ports[0]}")
    tell(parts[1], {"deployments": 1, "weights": [1, 0]})
    read_line(parts[1])
    target = Target("changes", port, request, tuple(parts))
    until(partial(answers, target), 30, "the gateway answers")
    pause = (seconds - 2) / CHANGES

    def every(message: Callable[[int], dict[str, Any]]) -> None:
        for number in range(CHANGES):
            tell(parts[1], message(number))
            read_line(parts[1])
            threading.Event().wait(pause)

    weights = partial(every, lambda number: {"split": [number % 2, 1 + number % 3]})
    endpoints = partial(every, lambda number: {"serve": ports[: 1 + number % 2], "rescue": []})
    for what, act in (("weight", weights), ("endpoint", endpoints)):
        load = under_load(target, CHANGE_RATE, seconds, act)
        bench.add(
            f"requests lost over {CHANGES} {what} changes at {CHANGE_RATE} rps", load.errors, "of " + of(load), "<= 0"
        )
    for process in parts:
        bench.processes.end(process)


def of(load: Load) -> str:
    """How many there were."""
    return f"{load.requests + load.errors:,}"


def replicas(bench: Bench, name: str, count: int, request: Path) -> tuple[Target, list[subprocess.Popen[bytes]]]:
    """A gateway before `count` adapters, each with its own server; the servers."""
    servers, adapters = [], []
    ledger = f"http://127.0.0.1:{bench.backend('L')}"
    for number in range(count):
        server = bench.processes.start(f"{name}-{number}", [str(compiled("backend")), "0", "A"], core=LOAD_CORE)
        url = f"http://127.0.0.1:{read_line(server)}"
        settings = {
            "state": str(bench.folder / f"{name}-adapter-{number}"), "server": url, "ledger": ledger,
            "limit": BODY_LIMIT, "slots": SLOTS,
        }  # fmt: skip
        adapters.append(read_line(bench.python(f"{name}-adapter-{number}", "bench.load.adapter", settings)))
        servers.append(server)
    port, parts, _ = bench.gateway(name, [1], ledger)
    tell(parts[1], {"serve": [each["serve"] for each in adapters], "rescue": [each["rescue"] for each in adapters]})
    read_line(parts[1])
    target = Target(name, port, request, tuple(parts))
    until(partial(answers, target), 30, "the gateway answers")
    return target, servers


def killed(bench: Bench, request: Path, seconds: float) -> None:
    """One of two servers is gone for good; what it had not answered goes to the other."""
    target, servers = replicas(bench, "killed", 2, request)
    load = under_load(target, KILL_RATE, seconds, lambda: os.kill(servers[0].pid, signal.SIGKILL))
    bench.add(f"errors, one of two servers killed -9 at {KILL_RATE} rps", load.errors, "of " + of(load), "<= 0")
    bench.add(f"p99 of that, {KILL_RATE} rps", load.p99_us / 1000, "ms")


def stopped(bench: Bench, request: Path, seconds: float) -> None:
    """One of three servers hangs with its connections open."""
    target, servers = replicas(bench, "stopped", 3, request)
    try:
        load = under_load(
            target, STOP_RATE, seconds, lambda: os.kill(servers[0].pid, signal.SIGSTOP), connections=PATIENT
        )
    finally:
        os.kill(servers[0].pid, signal.SIGCONT)
    bench.add(f"errors, one of three servers stopped at {STOP_RATE} rps", load.errors, "of " + of(load), "<= 0")
    bench.add(f"p50 of that, {STOP_RATE} rps", load.p50_us / 1000, "ms")
    bench.add(f"p99 of that, {STOP_RATE} rps", load.p99_us / 1000, "ms")


PHASES = (changes, killed, stopped)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each load (default 20)")
    parser.add_argument("--only", choices=[phase.__name__ for phase in PHASES], help="one phase; writes no file")
    options = parser.parse_args()
    seconds = options.seconds
    phases = [phase for phase in PHASES if options.only in (None, phase.__name__)]
    with tempfile.TemporaryDirectory(prefix="isb") as folder, tempfile.TemporaryDirectory(prefix="isr") as run_dir:
        bench = Bench(Path(folder), Path(run_dir), seconds)
        request = bench.request_file("keyed", GATEWAY_PATH, f"Bearer {API_KEY}")
        began = time.monotonic()
        try:
            for phase in phases:
                phase(bench, request, seconds)
                print(f"{phase.__name__}: done after {time.monotonic() - began:.0f} s")
        except UnavailableError as missing:
            raise SystemExit(str(missing)) from missing
        finally:
            bench.processes.end_all()
    show("gateway under changes and faults", bench.figures)
    if not options.only:
        print(write("gateway_faults", bench.figures, bench.notes))


if __name__ == "__main__":
    main()
