"""`python -m bench.reconcile_real [N]`: the operator on a real kube-apiserver, with KWOK's nodes and a real gateway.

Method: the API server's audit log counts, by each operator's own user; CPU and memory are the kernel's accounts of the
operator's process. Times are taken between processes of one machine, by its one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import click
import uvloop
from rich.console import Console
from tests.cluster.audit import Request, writes

from bench.real_cluster import (
    API,
    NAMESPACES,
    RealCluster,
    Watched,
    is_available,
    is_ready,
    name_of,
    real_cluster,
)
from bench.reconcile import Process, kopf_peer, quiet
from bench.reconcile_cluster import LEASE_NAME
from bench.report import ROOT, Figure, percentile, show, write
from insource import __version__
from insource.api.catalogue import OWN_IMAGE
from insource.api.meta import SYSTEM_NAMESPACE

EDITS = 20
BURST = 200
IDLE_S = 60.0
LEASE_S = 6
CHILDREN = 3
PEER = "plain kopf operator"
_APART = ("leases", "events")
_PER_NAMESPACE = ("serviceaccounts", "configmaps")
console = Console()


class Edit(NamedTuple):
    """One PATCH by a person, milliseconds since it was sent."""

    answered_ms: float
    """The API server's answer."""
    first_write_ms: float
    """The operator's first write about the object arrives at the API server."""


@dataclass
class Run:
    """What was measured of one operator."""

    objects: int
    seconds: float = 0.0
    cpu_s: float = 0.0
    rss_mb: float = 0.0
    around_cpu_s: dict[str, float] = field(default_factory=dict)
    """Of everybody else on the machine's cores, by name, while it converged."""
    writes: Counter[str] = field(default_factory=Counter)
    restart_writes: Counter[str] = field(default_factory=Counter)
    idle_cpu_s: float = 0.0
    alone: list[Edit] = field(default_factory=list)
    in_burst: list[Edit] = field(default_factory=list)
    handover_s: dict[str, float] = field(default_factory=dict)

    def per_object(self, *apart: str) -> float:
        """Writes per object, but for these resources."""
        return sum(n for what, n in self.writes.items() if what.split()[1].split("/")[0] not in apart) / self.objects


class Operators:
    """Starts operators on one cluster, each with a user of its own."""

    def __init__(self, cluster: RealCluster, *, peer: bool) -> None:
        self.cluster = cluster
        self.peer = peer
        self._master = cluster.folder / "master"
        self._master.write_text("bench-master")

    @property
    def user(self) -> str:
        return "peer" if self.peer else "operator"

    def start(self, user: str) -> Process:
        """A process that has not yet done anything."""
        kubeconfig = self.cluster.plane.kubeconfig(user)
        environment = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"}
        command = kopf_peer(kubeconfig, "", self.cluster.folder) if self.peer else self._ours(kubeconfig, user)
        return Process(command, environment, self.cluster.folder / f"{user}.log")

    def _ours(self, kubeconfig: Path, user: str) -> list[str]:
        assert self.cluster.gateway is not None
        return [
            *(sys.executable, "-m", "insource", "operator", "--kubeconfig", str(kubeconfig), "--identity", user),
            *("--gateway-master-file", str(self._master), "--gateway-url", self.cluster.gateway.url),
            *("--ledger-url", "http://127.0.0.1:9", "--image", f"{OWN_IMAGE}:{__version__}"),
            *("--listen", "127.0.0.1:0"),
        ]

    @asynccontextmanager
    async def running(self, user: str = "") -> AsyncIterator[Process]:
        """One that has come to rest."""
        process = self.start(user or self.user)
        try:
            await quiet(process, still_s=2.0)
            yield process
        finally:
            await asyncio.to_thread(process.stop)


async def measure(objects: int, *, peer: bool, timeout_s: float) -> Run:
    """A cluster of its own; create, rest, edit, restart, hand over."""
    run = Run(objects)
    with tempfile.TemporaryDirectory(prefix="insource-bench-") as name:
        folder = Path(name)
        console.print("[dim]  starting a control plane with KWOK's nodes[/]")
        async with real_cluster(folder, objects) as cluster:
            with contextlib.nullcontext() if peer else cluster.with_gateway():
                operators = Operators(cluster, peer=peer)
                async with _looking_on(cluster, peer=peer) as watched:
                    async with operators.running() as process:
                        await _converge(cluster, process, run, watched, operators.user, timeout_s)
                        console.print(f"[dim]  all Ready after {run.seconds:.1f} s; idle for {IDLE_S:.0f} s[/]")
                        await _idle(process, run)
                        console.print("[dim]  edits, alone and in a burst[/]")
                        await _edits(cluster, process, run, watched, operators.user)
                    console.print("[dim]  restart[/]")
                    await _restart(cluster, operators, run)
                    if not peer:
                        for how in (signal.SIGTERM, signal.SIGKILL):
                            console.print(f"[dim]  hand-over by {how.name}[/]")
                            run.handover_s[how.name] = await _handover(operators, how)
    return run


@asynccontextmanager
async def _looking_on(cluster: RealCluster, *, peer: bool) -> AsyncIterator[Watched]:
    """What counts as ready: our own statuses; the peer mirrors none, so its Deployments."""
    path = "/apis/apps/v1/deployments" if peer else f"{API}/modeldeployments"
    async with cluster.watching(path, is_available if peer else is_ready) as watched:
        yield watched


async def _converge(
    cluster: RealCluster, process: Process, run: Run, watched: Watched, user: str, timeout_s: float
) -> None:
    start, cpu_s = cluster.audit.position(), process.cpu_s()
    around_cpu_s = cluster.cpu_s()
    began = time.time()
    await cluster.create(run.objects)
    await watched.until(run.objects, timeout_s, process.check)
    run.seconds = max(watched.since.values()) - began
    await quiet(process, still_s=5.0)
    run.cpu_s, run.rss_mb = process.cpu_s() - cpu_s, process.rss_mb()
    run.around_cpu_s = {name: used - around_cpu_s[name] for name, used in cluster.cpu_s().items()}
    run.writes = writes(cluster.audit.since(start, user), without=("leases",))


async def _idle(process: Process, run: Run) -> None:
    before = process.cpu_s()
    await asyncio.sleep(IDLE_S)
    run.idle_cpu_s = process.cpu_s() - before


async def _edits(cluster: RealCluster, process: Process, run: Run, watched: Watched, user: str) -> None:
    count = run.objects
    for turn in range(min(EDITS, count)):
        run.alone.append(await _edit(cluster, process, turn, 2, user))
        await watched.until(count, 120, process.check)
        await quiet(process, still_s=0.5)
    # All of the burst is stored before the first probe: what a probe waits for is the operator, not the API server.
    others = min(BURST, count // 2)
    await cluster.edit_all(range(others), 3)
    for number in range(others, min(others + EDITS, count)):
        if len(watched.since) == count:
            break
        run.in_burst.append(await _edit(cluster, process, number, 3, user))
    await watched.until(count, 300, process.check)
    await quiet(process, still_s=2.0)


async def _edit(cluster: RealCluster, process: Process, number: int, slots: int, user: str) -> Edit:
    """Send a PATCH and wait for the operator's first write about the object."""
    position = cluster.audit.position()
    sent, answered = await cluster.edit(number, slots)
    name = name_of(number)
    while True:
        process.check()
        about = [each for each in cluster.audit.since(position, user) if _is_about(each, name)]
        if about:
            first = min(each.received_s for each in about)
            return Edit((answered - sent) * 1000, (first - sent) * 1000)
        await asyncio.sleep(0.005)


def _is_about(request: Request, name: str) -> bool:
    return request.is_write and request.resource.split("/")[0] not in _APART and request.name.startswith(name)


async def _restart(cluster: RealCluster, operators: Operators, run: Run) -> None:
    start = cluster.audit.position()
    async with operators.running():
        await asyncio.sleep(20)
    run.restart_writes = writes(cluster.audit.since(start, operators.user), without=("leases",))


async def _handover(operators: Operators, how: signal.Signals) -> float:
    """Seconds from the leader's signal to the next one's first write about an object."""
    cluster = operators.cluster
    async with operators.running("operator") as leader:
        await _leads(cluster, leader, "operator")
        async with operators.running("operator-b"):
            return await _taken_over(cluster, leader, how)


async def _leads(cluster: RealCluster, process: Process, identity: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/{LEASE_NAME}"
    while (await cluster.request("GET", path))["spec"].get("holderIdentity") != identity:
        process.check()
        await asyncio.sleep(0.1)


async def _taken_over(cluster: RealCluster, leader: Process, how: signal.Signals) -> float:
    position, moment = cluster.audit.position(), time.time()
    leader.signal(how)
    await cluster.edit(0, 40 + how)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        about = [each for each in cluster.audit.since(position, "operator-b") if _is_about(each, name_of(0))]
        if about:
            return about[0].received_s - moment
        await asyncio.sleep(0.02)
    raise TimeoutError(f"nobody took over within 60 s of {how.name}")


def figures_of(run: Run, peer: Run | None) -> list[Figure]:
    """Ours beside the peer's. Targets are those of N=1,000."""
    n = run.objects

    def row(name: str, value: float, unit: str, target: str, peers: float | None = None) -> Figure:
        shown = None if peer is None or peers is None else round(peers, 3)
        return Figure(f"{name}, N={n:,}", round(value, 3), unit, target, PEER if shown is not None else "", shown)

    p = peer or Run(n)
    restarts, peers_restarts = sum(run.restart_writes.values()), sum(p.restart_writes.values())
    own_apart = (*_APART, *_PER_NAMESPACE)
    events = sum(count for what, count in run.writes.items() if "events" in what)
    edit, others = "PATCH to first write, median", min(BURST, n // 2)
    rows = [
        row("all Ready in status (peer: Deployments available)", run.seconds, "s", "<= 60", p.seconds),
        row("writes per object", run.per_object(*own_apart), "writes", f"<= {CHILDREN + 2}", p.per_object(*_APART)),
        row("Events per object", events / n, "writes", ""),
        row("writes after a restart", restarts, "writes", "<= 0", peers_restarts),
        row("CPU per object", 1000 * run.cpu_s / n, "ms", "<= 8", 1000 * p.cpu_s / n),
        row("memory", run.rss_mb, "MiB", "<= 110", p.rss_mb),
        *_edit_rows(row, edit, run.alone, p.alone),
        *_edit_rows(row, f"{edit}, while {others} others are at work", run.in_burst, p.in_burst),
        row("idle CPU in 60 s", run.idle_cpu_s, "s", "<= 0.1", p.idle_cpu_s),
    ]
    limits = {"SIGTERM": 2, "SIGKILL": LEASE_S + 2}
    rows += [
        row(f"leader's {how} to the next one's first write", seconds, "s", f"<= {limits[how]}")
        for how, seconds in run.handover_s.items()
    ]
    for name, used in run.around_cpu_s.items():
        peers_used = p.around_cpu_s.get(name)  # it has no gateway
        rows.append(row(f"CPU of {name}", 1000 * used / n, "ms per object", "", peers_used and 1000 * peers_used / n))
    rows += [row(what, count / n, "per object", "") for what, count in sorted(run.writes.items())]
    return rows


def _edit_rows(row: Callable[..., Figure], name: str, ours: Sequence[Edit], peers: Sequence[Edit]) -> list[Figure]:
    """Medians: the whole way, and how much of it is the API server's own work on the PATCH."""

    def medians(edits: Sequence[Edit]) -> tuple[float, float] | tuple[None, None]:
        if not edits:
            return None, None
        return (
            percentile([each.first_write_ms for each in edits], 0.5),
            percentile([e.answered_ms for e in edits], 0.5),
        )

    (whole, answer), (peers_whole, peers_answer) = medians(ours), medians(peers)
    return [
        row(name, whole or 0, "ms", "<= 10", peers_whole),
        row(f"{name}: until the PATCH is answered", answer or 0, "ms", "", peers_answer),
    ]


def notes_of(count: int) -> Sequence[str]:
    return (f"{NAMESPACES} namespaces, KWOK nodes of 8 GPUs for {count:,} pods, one gateway (agent and Envoy)",)


@click.command()
@click.argument("count", default=1_000)
@click.option("--peer/--no-peer", default=True, show_default=True, help="Run the plain kopf operator too.")
def main(count: int, peer: bool) -> None:
    """Measure at COUNT ModelDeployments: about ten minutes at 1,000 with the peer."""
    console.print(f"[dim]{count:,} ModelDeployments on a real API server[/]")
    run = uvloop.run(measure(count, peer=False, timeout_s=120 + count * 0.3))
    others = None
    if peer:
        console.print(f"[dim]the same by a {PEER}[/]")
        others = uvloop.run(measure(count, peer=True, timeout_s=120 + count * 0.5))
    figures = figures_of(run, others)
    show("The operator on a real API server", figures, console)
    console.print(f"written to {write('reconcile_real', figures, notes_of(count)).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
