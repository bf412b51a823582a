"""What the adapter costs by itself, without Envoy: processor time per request and the latency it adds.

`python -m bench.adapter [--seconds S] [--rounds N] [--vendor]`. The adapter has core 0, the generator and the fake
model server core 1, as in `bench.gateway`. Prints a line per round, so that two trees can be measured in turn.
Processor time is from /proc; latencies move with whatever else runs on the machine. Nothing is asserted or kept.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import sys
import tempfile
from pathlib import Path

from bench.load import multipart
from bench.load.processes import Load, Processes, compiled, cpu_s, generate, read_line

ADAPTER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 16
FIXED_RATE = 300
AUDIO_S = 0.5
BODY_LIMIT = 256 << 20
PATH = "/v1/audio/transcriptions"


def through_the_gateway(path: str) -> bytes:
    """A request as the gateway's Envoy sends it on."""
    plain = multipart.request(path, multipart.wav(AUDIO_S))
    head, _, body = plain.partition(b"\r\n\r\n")
    identity = {
        "x-request-id": "7f4a9c3e-5b1d-4d7c-9a6f-0c2b8e1d3a55",
        "x-envoy-attempt-count": "1",
        "x-forwarded-proto": "http",
        "x-envoy-expected-rq-timeout-ms": "60000",
        "x-insource-namespace": "bench",
        "x-insource-deployment": "dictation",
        "x-insource-client": "bench",
        "x-insource-gateway-token": hmac.new(b"bench-master", b"bench", hashlib.sha256).hexdigest(),
    }
    lines = "".join(f"\r\n{name}: {value}" for name, value in identity.items()).encode()
    return head + lines + b"\r\n\r\n" + body


def measure(folder: Path, seconds: float, rounds: int, only_rate: float, *, vendor: bool) -> None:
    """Start everything, print a line per round."""
    processes = Processes(folder)
    request, plain = folder / "gateway.request", folder / "plain.request"
    request.write_bytes(through_the_gateway(PATH))
    plain.write_bytes(multipart.request(PATH, multipart.wav(AUDIO_S)))
    try:
        backend = processes.start("backend", [str(compiled("backend")), "0", "A"], core=LOAD_CORE)
        backend_port = int(read_line(backend))
        server = f"http://127.0.0.1:{backend_port}"
        settings = {"state": str(folder), "server": server, "ledger": server, "vendor": vendor}
        settings |= {"limit": BODY_LIMIT, "slots": CONNECTIONS}
        command = [sys.executable, "-m", "bench.load.adapter", json.dumps(settings)]
        adapter = processes.start("adapter", command, core=ADAPTER_CORE)
        port = int(read_line(adapter)["serve"])
        print(f"adapter: process {adapter.pid}", flush=True)

        def load(to: int, file: Path, rate: float) -> tuple[Load, float]:
            before = cpu_s(adapter)
            done = generate(to, file, connections=CONNECTIONS, seconds=seconds, rate=rate, core=LOAD_CORE)
            return done, (cpu_s(adapter) - before) * 1e6 / max(1, done.requests)

        load(port, request, 0)
        for _ in range(rounds):
            parts = []
            if not only_rate:
                closed, closed_us = load(port, request, 0)
                parts.append(f"closed loop {closed.rate:6.0f}/s {closed_us:5.0f} us CPU {closed.errors} errors")
            rate = only_rate or FIXED_RATE
            base, _ = load(backend_port, plain, rate)
            fixed, fixed_us = load(port, request, rate)
            parts.append(
                f"at {rate:.0f}/s {fixed_us:5.0f} us CPU, added p50 {(fixed.p50_us - base.p50_us) / 1000:.2f} ms, "
                f"p99 {(fixed.p99_us - base.p99_us) / 1000:.2f} ms, {fixed.errors} errors"
            )
            print("; ".join(parts), flush=True)
    finally:
        processes.end_all()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.adapter", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load (default 3)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0, help="only this rate, no closed loop")
    parser.add_argument("--vendor", action="store_true", help="the vendor's side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isa") as folder:
        measure(Path(folder), options.seconds, options.rounds, options.rate, vendor=options.vendor)


if __name__ == "__main__":
    main()
