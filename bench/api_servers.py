"""The two API servers of `bench.embedded_api`, each as its own processes: the embedded one, and kube-apiserver on etcd.

Both are asked over TLS with a bearer token, by HTTP/1.1 and without compression, with the same certificates. The
embedded one applies our CRDs itself when it starts; to the real one the client gives them.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.cluster.credentials import Credentials
from tests.ports import free_ports

from bench.report import ROOT

NAMESPACE = "default"
MODEL_DEPLOYMENTS = f"/apis/insource.dev/v1alpha1/namespaces/{NAMESPACE}/modeldeployments"
READY_S = 120.0
_POLL_S = 0.02
_SPELL_S = 5.0
_REST_S = 60.0
_STILL = 0.05
"""A server is at rest when it uses less of a core than this."""
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
Body = dict[str, Any]


@dataclass
class Start:
    """From the start of the first process, in ms; and the CPU used until all of it."""

    ready_ms: float = 0.0
    """To 200 from /readyz."""
    first_get_ms: float = 0.0
    """To the first good answer to a GET of a collection."""
    serving_ms: float = 0.0
    """Until ModelDeployments can be listed."""
    cpu_ms: float = 0.0
    rss_mib: float = 0.0


@dataclass
class Server:
    """One running server. `processes`: name -> pid of each that is part of it."""

    name: str
    url: str
    session: aiohttp.ClientSession
    processes: dict[str, int] = field(default_factory=dict)
    started: Start = field(default_factory=Start)
    idle: float = 0.0
    """Seconds of CPU per second that it uses when nobody asks for anything."""

    def cpu_s(self, *names: str) -> float:
        """User + system seconds so far, of all its processes or of some."""
        return sum(_cpu_s(pid) for name, pid in self.processes.items() if not names or name in names)

    def rss_mib(self) -> float:
        """Resident memory now, all its processes together."""
        return sum(_rss_mib(pid) for pid in self.processes.values())

    async def get(self, path: str) -> bytes:
        """The body of a good answer."""
        async with self.session.get(self.url + path) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def apply(self, path: str, body: Body) -> None:
        """Server-side apply of one object of a collection's path."""
        async with self.session.patch(
            f"{self.url}{path}/{body['metadata']['name']}",
            params={"fieldManager": "bench", "force": "true"},
            data=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{self.name}: {await answer.text()}")
            await answer.read()

    async def answers(self, path: str) -> bool:
        """Whether it has a good answer now."""
        with suppress(aiohttp.ClientError, OSError):
            async with self.session.get(self.url + path) as answer:
                await answer.read()
                return answer.status == 200
        return False

    async def rest(self) -> None:
        """Waits until it does next to nothing, though not for ever; notes in `idle` what that is."""
        end = time.monotonic() + _REST_S
        while True:
            await self.look(_SPELL_S)
            if self.idle < _STILL or time.monotonic() > end:
                return

    async def look(self, spell_s: float) -> None:
        """Notes in `idle` what it uses in such a spell, while nobody asks."""
        before, begun = self.cpu_s(), time.monotonic()
        await asyncio.sleep(spell_s)
        self.idle = (self.cpu_s() - before) / (time.monotonic() - begun)


def _cpu_s(pid: int) -> float:
    # The kernel's clock of another process (clock_getcpuclockid): to the nanosecond, where /proc counts 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def _rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


@asynccontextmanager
async def _asked(name: str, port: int, credentials: Credentials) -> AsyncIterator[Server]:
    headers = {"Authorization": f"Bearer {credentials.tokens['admin']}", "Accept-Encoding": "identity"}
    trust = ssl.create_default_context(cafile=credentials.ca)
    connector = aiohttp.TCPConnector(limit=0, ssl=trust)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield Server(name, f"https://127.0.0.1:{port}", session)


@asynccontextmanager
async def embedded(folder: Path, credentials: Credentials) -> AsyncIterator[Server]:
    """`insource cluster` on this folder until the block is left."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "insource", "cluster", "--data", str(folder / "c"), "--port", str(port)),
        *("--run-dir", str(folder / "run"), "--tokens-file", str(credentials.token_file)),
        *("--tls-certificate", str(credentials.certificate), "--tls-key", str(credentials.key)),
        *("--crds", str(ROOT / "crds")),
    ]
    # As it is installed: with the compiled modules that the first start leaves behind.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    with (folder / "log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, env=environment)
    try:
        async with _asked("insource cluster", port, credentials) as server:
            server.processes["insource cluster"] = process.pid

            def check() -> None:
                if process.returncode is not None:
                    raise RuntimeError(f"{server.name} ended with {process.returncode}, see {folder / 'log'}")

            await _started(server, begun, check)
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def real(plane: ControlPlane) -> AsyncIterator[Server]:
    """etcd and kube-apiserver of this control plane, nothing else, until the block is left."""
    begun = time.perf_counter()
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(None, _start, plane)
    try:
        async with _asked("kube-apiserver + etcd", plane.ports[0], plane.credentials) as server:
            await _started(server, begun, lambda: starting.result() if starting.done() else None)
            await starting
            for name in ("etcd", "kube-apiserver"):
                server.processes[name] = plane.children[name].pid
            _used(server)
            yield server
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.to_thread(plane.stop)


def _start(plane: ControlPlane) -> None:
    plane.start_etcd()
    plane.start_apiserver()


async def _started(server: Server, begun: float, check: Callable[[], None]) -> None:
    """Fills in `server.started`; `check` raises if it has died. Raises TimeoutError."""

    def passed() -> float:
        return (time.perf_counter() - begun) * 1000

    async def until(path: str) -> float:
        while not await server.answers(path):
            check()
            if passed() > READY_S * 1000:
                raise TimeoutError(f"{server.name} gave no good answer to GET {path} within {READY_S:.0f} s")
            await asyncio.sleep(_POLL_S)
        return passed()

    started = server.started
    started.ready_ms, started.first_get_ms = await asyncio.gather(until("/readyz"), until("/api/v1/namespaces"))
    if not await server.answers(f"{MODEL_DEPLOYMENTS}?limit=1"):
        await _serve_ours(server)
    started.serving_ms = await until(f"{MODEL_DEPLOYMENTS}?limit=1")
    _used(server)


def _used(server: Server) -> None:
    server.started.cpu_ms = server.cpu_s() * 1000
    server.started.rss_mib = server.rss_mib()


async def _serve_ours(server: Server) -> None:
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            async with server.session.post(server.url + _CRDS, json=crd) as answer:
                if answer.status not in (201, 409):
                    raise RuntimeError(f"{server.name}: {path.name}: {await answer.text()}")
                await answer.read()


async def with_controllers(server: Server, plane: ControlPlane) -> Server:
    """The same server beside a kube-controller-manager, which counts as a part of it from now on, at rest."""
    await asyncio.to_thread(plane.start_controllers)
    await asyncio.to_thread(plane.stop_child, "kube-scheduler")
    server.processes["kube-controller-manager"] = plane.children["kube-controller-manager"].pid
    while not await server.answers(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"):
        plane.children["kube-controller-manager"].check()
        await asyncio.sleep(_POLL_S)
    await server.rest()
    return server
