"""The part of `bench.gateway` about size: weight changes from the status write on, memory and start, 10 and 10,000.

The embedded API server, on the generator's core, has the ModelDeployments; the agent is the product's own command.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ports import free_port

from bench.load import multipart
from bench.load.agent import API_KEY
from bench.load.processes import cpu_s, read_line, rss_bytes, tell, until
from bench.report import percentile
from insource.env import system_env
from insource.gateway.envoy import EnvoySettings, write_configuration

if TYPE_CHECKING:
    from bench.gateway import Bench

CHANGES = 200
FEW, MANY = 10, 10_000
AUDIO_S = 0.5
MIB = 1 << 20


def weight_changes(bench: Bench, ports: list[int], ledger: str, *, path: str, limit: int) -> None:
    """Grow from 10 to 10,000 deployments; change weights at both; start Envoy, then agent and Envoy, with all."""
    settings = {"ports": ports, "limit": limit, "folder": str(bench.folder)}
    api = bench.python("api", "bench.load.cluster", settings, measured=False)
    gateway = Gateway(bench, Path(read_line(api)["kubeconfig"]), ledger)
    request = multipart.request(path, multipart.wav(AUDIO_S), f"Bearer {API_KEY}")
    gateway.start_agent()
    gateway.start_envoy()
    for count in (FEW, MANY):
        tell(api, {"deployments": count})
        memory = rss_bytes(gateway.envoy)
        read_line(api)
        gateway.ready(count)
        if count == MANY:
            grown = (rss_bytes(gateway.envoy) - memory) / MIB / (count / 1000)
            bench.add("Envoy: memory per 1,000 deployments", grown, "MiB", "<= 120")
        delays = [_one_change(api, gateway.port, request, change) for change in range(CHANGES)]
        name = f"weight change, status write to first request, {count:,} deployments"
        bench.add(f"{name}, p50", percentile(delays, 0.5), "ms")
        bench.add(f"{name}, p99", percentile(delays, 0.99), "ms", "<= 50")
    gateway.starts()
    for process in (gateway.envoy, gateway.agent, api):
        bench.processes.end(process)


class Gateway:
    """One gateway, its agent the product's command with a kubeconfig."""

    agent: subprocess.Popen[bytes]
    envoy: subprocess.Popen[bytes]

    def __init__(self, bench: Bench, kubeconfig: Path, ledger: str) -> None:
        self._bench = bench
        self._kubeconfig, self._ledger = kubeconfig, ledger
        self._folder, self._run_dir = bench.folder / "weights", bench.run_dir / "weights"
        self._folder.mkdir()
        (self._folder / "master").write_text("bench-master")
        (self._folder / "token").write_text("none")
        self.port, self._admin = free_port(), free_port()

    def start_agent(self) -> None:
        """Begin the agent's process."""
        command = [
            *(sys.executable, "-m", "insource", "gateway", "agent", "--kubeconfig", str(self._kubeconfig)),
            *("--state-dir", str(self._folder / "state"), "--run-dir", str(self._run_dir)),
            *("--admin", f"127.0.0.1:{self._admin}", "--gateway-master-file", str(self._folder / "master")),
            *("--ledger-url", self._ledger, "--ledger-token-file", str(self._folder / "token")),
        ]
        self.agent = self._bench.processes.start("weights-agent", command, core=self._bench.proxy_core)

    def start_envoy(self) -> None:
        """Begin Envoy's process."""
        settings = EnvoySettings("127.0.0.1", self.port, self._folder / "state", self._run_dir, concurrency=1)
        command = write_configuration(settings, system_env())
        self.envoy = self._bench.processes.start("weights-envoy", command, core=self._bench.proxy_core)

    def ready(self, count: int) -> None:
        """Wait until Envoy has `count` deployments as they should be, and the gateway says that it is ready."""
        until(partial(self._has, count), 300, f"{count} deployments applied")

    def starts(self) -> None:
        """Envoy killed and started beside its agent; then both."""
        for what, restarts in (
            ("Envoy", (self.start_envoy,)),
            ("agent and Envoy", (self.start_agent, self.start_envoy)),
        ):
            self._bench.processes.end(self.envoy)
            if len(restarts) > 1:
                self._bench.processes.end(self.agent)
            began = time.monotonic()
            for restart in restarts:
                restart()
            self.ready(MANY)
            took = (time.monotonic() - began) / (MANY / 1000)
            bound = "<= 1.5" if what == "Envoy" else ""
            self._bench.add(f"{what}: start per 1,000 deployments", took, "s", bound)
            used = cpu_s(self.envoy) / (MANY / 1000)
            self._bench.add(f"{what}: Envoy's CPU of that", used, "s")

    def _has(self, count: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/readyz", timeout=20):
                pass
        except urllib.error.HTTPError:
            return False
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/applied", timeout=20) as answer:
            return len(json.load(answer)["deployments"]) == count


def _one_change(api: subprocess.Popen[bytes], port: int, request: bytes, change: int) -> float:
    weights, tag = ([0, 1], b'"B ') if change % 2 == 0 else ([1, 0], b'"A ')
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        tell(api, {"split": weights})
        while True:
            connection.sendall(request)
            answer = b""
            while b"}}" not in answer:
                answer += connection.recv(65536)
            if tag in answer:
                seen = time.monotonic()
                break
    return float(seen - read_line(api)["told"]) * 1000
