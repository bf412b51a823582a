"""`python -m bench.reconcile [N ...]`: writes, CPU, memory and latency of the operator, beside a plain kopf operator.

The API server is this process; the operator is another, measured by the kernel's accounts (/proc).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import uvloop
from rich.console import Console

from bench.load.api import admitting, admitting_operator
from bench.reconcile_cluster import BenchCluster, serve
from bench.report import ROOT, Figure, percentile, show, write
from insource import __version__
from insource.api.catalogue import OWN_IMAGE
from insource.env import system_env

CHILDREN = 3
EDITS = 200
BURST = 200
PROBES = 50
_TICKS = os.sysconf("SC_CLK_TCK")
_APART = ("leases", "events")
"""Writes that are not counted per object: leadership, and the courtesy to people."""
_PER_NAMESPACE = ("serviceaccounts", "configmaps")
"""Ours, once per namespace. The peer's ConfigMaps are children, so they do count."""
_PEER = "plain kopf operator"
console = Console()


@dataclass
class Run:
    """What was measured of one operator at one N."""

    objects: int
    apart: tuple[str, ...] = _APART
    seconds: float = 0.0
    cpu_s: float = 0.0
    start_cpu_s: float = 0.0
    rss_mb: float = 0.0
    writes: dict[str, int] = field(default_factory=dict)
    restart_writes: dict[str, int] = field(default_factory=dict)
    restart_cpu_s: float = 0.0
    resync_writes: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    burst_latencies_ms: list[float] = field(default_factory=list)

    @property
    def per_object(self) -> float:
        """Writes per ModelDeployment, without those that are not per object."""
        return sum(n for kind, n in self.writes.items() if kind.split("/")[0] not in self.apart) / self.objects


def _environment() -> dict[str, str]:
    # Note: some machines forbid compiled modules to be kept; then every start would compile its libraries anew.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Process:
    """A child process and the kernel's accounts of it."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command, cwd=ROOT, env={**_environment(), **environment}, stdout=output, stderr=output
            )
        self._log = log

    def cpu_s(self) -> float:
        """User and system time so far, seconds."""
        return cpu_s(self._child.pid)

    def rss_mb(self) -> float:
        """Resident memory now, MiB."""
        text = Path(f"/proc/{self._child.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) / 1024

    def check(self) -> None:
        """Raise with the log's end if the process is gone."""
        if self._child.poll() is not None:
            raise RuntimeError(f"it ended with {self._child.returncode}:\n{self._log.read_text()[-3000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send it, and wait for nothing."""
        self._child.send_signal(number)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 20 s."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def ours(kubeconfig: Path, gateway: str, folder: Path) -> list[str]:
    """The command of our operator."""
    master = folder / "master"
    master.write_text("bench-master\n")
    return [
        *(sys.executable, "-m", "insource", "operator", "--kubeconfig", str(kubeconfig)),
        *("--gateway-master-file", str(master), "--gateway-url", gateway, "--ledger-url", "http://127.0.0.1:9"),
        *("--image", f"{OWN_IMAGE}:{__version__}", "--listen", "127.0.0.1:0"),
    ]


def kopf_peer(_kubeconfig: Path, _gateway: str, _folder: Path) -> list[str]:
    """The command of the peer."""
    return [
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--all-namespaces",
        "--standalone",
        "-m",
        "bench.peers.kopf_operator",
        "--quiet",
    ]


async def measure(objects: int, command: object, timeout_s: float, apart: tuple[str, ...] = _APART) -> Run:
    """Start with nothing, create `objects` at once, converge, edit some, restart.

    Ours has its role; the peer has none, so it may do everything.
    """
    cluster = BenchCluster(system_env(), admitting if command is kopf_peer else admitting_operator)
    run = Run(objects, apart)
    with tempfile.TemporaryDirectory(prefix="insource-bench-") as name:
        folder = Path(name)
        async with serve(cluster, folder) as (kubeconfig, gateway):
            arguments = command(kubeconfig, gateway, folder)  # type: ignore[operator]
            environment = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"}

            @asynccontextmanager
            async def operator() -> AsyncIterator[Process]:
                process = Process(arguments, environment, folder / "log")
                try:
                    await quiet(process)
                    yield process
                finally:
                    await asyncio.to_thread(process.stop)

            async with operator() as process:
                await converge(cluster, process, run, timeout_s)
                with undisturbed():
                    await edit(cluster, process, run)
                    await edit_in_a_burst(cluster, process, run)
                await quiet(process, still_s=2.0)
                run.resync_writes = await resync(cluster, process, leases=command is ours)
            cluster.writes.clear()
            async with operator() as process:
                await quiet(process, still_s=3.0)
                run.restart_cpu_s = process.cpu_s()
                run.restart_writes = {k: v for k, v in cluster.writes.items() if k != "leases"}
    return run


async def converge(cluster: BenchCluster, process: Process, run: Run, timeout_s: float) -> None:
    """Create everything and wait until it is Ready and the operator has nothing more to do."""
    cluster.writes.clear()
    run.start_cpu_s = process.cpu_s()
    begin = time.perf_counter()
    for number in range(run.objects):
        cluster.create(number)
        if number % 50 == 49:
            await asyncio.sleep(0)
    deadline = begin + timeout_s
    while not cluster.all_done.is_set():
        process.check()
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{len(cluster.done)} of {run.objects} are ready after {timeout_s:.0f} s")
        await asyncio.sleep(0.05)
    run.seconds = time.perf_counter() - begin
    await quiet(process)
    run.cpu_s = process.cpu_s() - run.start_cpu_s
    run.rss_mb = process.rss_mb()
    run.writes = {kind: count for kind, count in cluster.writes.items() if kind != "leases"}


@contextmanager
def undisturbed() -> Iterator[None]:
    """The API server's own full collections, 0.1 to 0.7 s each, are no delay of the operator's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def edit(cluster: BenchCluster, process: Process, run: Run) -> None:
    """One edit after the other, each until all is done: how long until the operator's first write about it."""
    for turn in range(min(EDITS, run.objects * 2)):
        number = turn % run.objects
        run.latencies_ms.append(await first_write_ms(cluster, process, number, slots=2 + turn // run.objects))
        await done(cluster, process)


async def edit_in_a_burst(cluster: BenchCluster, process: Process, run: Run) -> None:
    """The same while the operator is at work on `BURST` others (or half of all) that were edited at once."""
    others = min(BURST, run.objects // 2)
    for number in range(others):
        cluster.edit(number, slots=10)
    for number in range(others, min(others + PROBES, run.objects)):
        await asyncio.sleep(0.02)
        if cluster.all_done.is_set():
            break
        run.burst_latencies_ms.append(await first_write_ms(cluster, process, number, slots=10))
    await done(cluster, process)


async def first_write_ms(cluster: BenchCluster, process: Process, number: int, slots: int) -> float:
    """Edit one; milliseconds until the operator's first write about it."""
    name = f"m{number:05d}"
    moment = cluster.edit(number, slots)
    while name not in cluster.first_write:
        process.check()
        await asyncio.sleep(0.0005)
    return (cluster.first_write[name] - moment) * 1000


async def done(cluster: BenchCluster, process: Process) -> None:
    """Wait until everything is Ready again."""
    while not cluster.all_done.is_set():
        process.check()
        await asyncio.sleep(0.002)


async def resync(cluster: BenchCluster, process: Process, *, leases: bool) -> dict[str, int]:
    """The writes when every watch is cut and answered 410, so all is listed anew, and the Lease is lost and won."""
    cluster.writes.clear()
    cluster.expire_watches()
    if leases:
        cluster.take_lease()
        while not cluster.lease_is_back():
            process.check()
            await asyncio.sleep(0.1)
    await quiet(process, still_s=3.0)
    return {kind: count for kind, count in cluster.writes.items() if kind != "leases"}


async def quiet(process: Process, still_s: float = 1.0) -> None:
    """Wait until the process has used less than 5 % of a core for `still_s`."""
    while True:
        process.check()
        before = process.cpu_s()
        await asyncio.sleep(still_s)
        if process.cpu_s() - before <= 0.05 * still_s:
            return


def figures_of(run: Run, peer: Run | None) -> list[Figure]:
    """Ours beside the peer's."""
    n = run.objects

    def figure(name: str, value: float, unit: str, target: str, peers: float | None) -> Figure:
        return Figure(f"{name}, N={n:,}", round(value, 3), unit, target, _PEER if peers is not None else "", peers)

    def of_peer(read: object) -> float | None:
        return None if peer is None else round(read(peer), 3)  # type: ignore[operator]

    rows = [
        figure("writes per object", run.per_object, "writes", f"<= {CHILDREN + 2}", of_peer(lambda p: p.per_object)),
        figure(
            "writes after a restart",
            sum(run.restart_writes.values()),
            "writes",
            "<= 0",
            of_peer(lambda p: sum(p.restart_writes.values())),
        ),
        figure(
            "writes on a resync",
            sum(run.resync_writes.values()),
            "writes",
            "<= 0",
            of_peer(lambda p: sum(p.resync_writes.values())),
        ),
        figure("CPU per object", 1000 * run.cpu_s / n, "ms", "<= 2", of_peer(lambda p: 1000 * p.cpu_s / p.objects)),
        figure("CPU in all", run.cpu_s, "s", "<= 30" if n >= 10_000 else "", of_peer(lambda p: p.cpu_s)),
        figure("time until all are Ready", run.seconds, "s", "", of_peer(lambda p: p.seconds)),
        figure("memory", run.rss_mb, "MiB", "<= 300" if n >= 10_000 else "", of_peer(lambda p: p.rss_mb)),
        figure("CPU of a start, nothing to do", run.restart_cpu_s, "s", "", of_peer(lambda p: p.restart_cpu_s)),
    ]
    for quantile in (0.5, 0.99):
        rows.append(
            figure(
                f"edit to first write, p{quantile * 100:.0f}",
                percentile(run.latencies_ms, quantile),
                "ms",
                "",
                of_peer(lambda p, q=quantile: percentile(p.latencies_ms, q)),
            )
        )
    if run.burst_latencies_ms:
        burst = percentile(run.burst_latencies_ms, 0.5)
        name = f"edit to first write among {min(BURST, n // 2)} others, p50"
        peers = of_peer(lambda p: percentile(p.burst_latencies_ms, 0.5)) if peer and peer.burst_latencies_ms else None
        rows.append(figure(name, burst, "ms", "", peers))
    rows += [
        figure(f"writes of {kind}", count / n, "per object", "", None) for kind, count in sorted(run.writes.items())
    ]
    return rows


@click.command()
@click.argument("counts", nargs=-1, type=int)
@click.option("--peer-up-to", default=1_000, show_default=True, help="Largest N at which the peer is run too.")
def main(counts: tuple[int, ...], peer_up_to: int) -> None:
    """Measure at each of COUNTS (default 100 1000 10000).

    10,000 takes about ten minutes: most of it is the embedded API server's own work.
    """
    figures: list[Figure] = []
    for count in counts or (100, 1_000, 10_000):
        console.print(f"[dim]{count:,} ModelDeployments[/]")
        run = uvloop.run(measure(count, ours, 60 + count * 0.1, (*_APART, *_PER_NAMESPACE)))
        peer = uvloop.run(measure(count, kopf_peer, 60 + count * 1.0)) if count <= peer_up_to else None
        rows = figures_of(run, peer)
        show(f"Reconciling {count:,} ModelDeployments", rows, console)
        figures += rows
    console.print(f"[dim]{write('reconcile', figures)}[/]")


if __name__ == "__main__":
    main()
