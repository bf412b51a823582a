"""The embedded API server beside a real kube-apiserver on etcd: start, memory, CPU per request, item and watch event.

`python -m bench.embedded_api [--objects 1000,10000]`. CPU is user + system time of the server's processes, divided by
how often something was done, less what they use at rest; so it holds on a busy machine, too. Both are asked the same
over the same transport, in turns. A ModelDeployment stands for the custom kinds; a Deployment with two containers, 30
variables and two volumes for the built-in ones. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from rich.console import Console
from tests.cluster.binaries import Binaries, BuildError, binaries
from tests.cluster.control_plane import ControlPlane
from tests.cluster.credentials import Credentials

from bench.api_servers import MODEL_DEPLOYMENTS, NAMESPACE, READY_S, Server, Start, embedded, real, with_controllers
from bench.embedded_api_objects import deployment, model_deployment
from bench.embedded_store import in_the_store
from bench.report import ROOT, Figure, show, write

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
TURNS = 3
REPEATS = 300
WATCHERS = 100
SENDERS = 8
POLL_S = 0.1
SETTLE_S = 1.0
LOOK_S = 2.0
PEER = "kube-apiserver + etcd"
MANAGER = "kube-controller-manager"
Work = Callable[[Server, int], Awaitable[Any]]
console = Console()


class Pair(NamedTuple):
    """The two that are compared, both running."""

    ours: Server
    peer: Server


@dataclass
class Measured:
    """One figure of both, turn by turn."""

    name: str
    unit: str
    ours: list[float] = field(default_factory=list)
    peers: list[float] = field(default_factory=list)
    peer: str = PEER

    def figure(self) -> Figure:
        """The medians; of ours the lowest and highest turn as well."""
        spread = (min(self.ours), max(self.ours)) if len(self.ours) > 1 else None
        ours, peers = statistics.median(self.ours), statistics.median(self.peers)
        return Figure(self.name, ours, self.unit, "", self.peer, peers, len(self.ours), spread)


def say(what: str) -> None:
    console.print(f"[dim]  {what}[/]", highlight=False)


def once(pair: Pair, name: str, unit: str, of: Callable[[Server], float]) -> Measured:
    """One number of each."""
    return Measured(name, unit, [of(pair.ours)], [of(pair.peer)])


async def turns(pair: Pair, name: str, spent: Callable[[Server, int], Awaitable[float]]) -> Measured:
    """Microseconds of CPU by `spent(server, turn)`, in turns. What both use at rest is seen before each anew."""
    say(name)
    found = Measured(name, "µs CPU")
    for turn in range(TURNS):
        await asyncio.gather(pair.ours.look(LOOK_S), pair.peer.look(LOOK_S))
        found.ours.append(await spent(pair.ours, turn))
        found.peers.append(await spent(pair.peer, turn))
    return found


async def used_s(server: Server, work: Work, numbers: range) -> float:
    """Seconds of the server's CPU for a call with each of the numbers, one after the other; rest is not counted."""
    before, begun = server.cpu_s(), time.monotonic()
    for number in numbers:
        await work(server, number)
    return server.cpu_s() - before - server.idle * (time.monotonic() - begun)


async def cost(pair: Pair, name: str, work: Work, times: int = REPEATS, *, first: int = 0, per: int = 1) -> Measured:
    """CPU of one call of `work`, or of one of `per` parts of it. Each turn has its own numbers, from `first` on."""

    async def spent(server: Server, turn: int) -> float:
        numbers = range(first + turn * times, first + (turn + 1) * times)
        return await used_s(server, work, numbers) / times / per * 1e6

    return await turns(pair, name, spent)


# --- what is measured


def starts(pairs: Sequence[Pair], when: str) -> list[Measured]:
    """How each of these pairs came up."""

    def row(name: str, unit: str, of: Callable[[Start], float]) -> Measured:
        both = zip(*((of(pair.ours.started), of(pair.peer.started)) for pair in pairs), strict=True)
        ours, peers = map(list, both)
        return Measured(name, unit, ours, peers)

    return [
        row(f"start to /readyz, {when}", "ms", lambda start: start.ready_ms),
        row(f"start to the first GET of Namespaces, {when}", "ms", lambda start: start.first_get_ms),
        row(f"start until ModelDeployments are served, {when}", "ms", lambda start: start.serving_ms),
        row(f"CPU of that start, {when}", "ms CPU", lambda start: start.cpu_ms),
        row(f"RSS after that start, {when}", "MiB", lambda start: start.rss_mib),
    ]


async def at_rest(pair: Pair) -> None:
    """Waits until nothing is left to do, and sees what both use then."""
    await asyncio.gather(pair.ours.rest(), pair.peer.rest())


async def filled(pair: Pair, first: int, last: int) -> list[Measured]:
    """With ModelDeployments `first` to `last` on top: memory, and lists of all."""
    for server in pair:
        say(f"applying ModelDeployments up to {last:,} to {server.name}")
        await fill(server, first, last)
    await at_rest(pair)
    times = max(5, 10_000 // last)
    lists = await cost(
        pair,
        f"LIST of {last:,} ModelDeployments, per item",
        lambda server, _: server.get(MODEL_DEPLOYMENTS),
        times,
        per=last,
    )
    return [once(pair, f"RSS, {last:,} ModelDeployments applied", "MiB", Server.rss_mib), lists]


async def fill(server: Server, first: int, last: int) -> None:
    """ModelDeployments `first` to `last`, several at a time."""
    waiting = list(range(last - 1, first - 1, -1))

    async def sender() -> None:
        while waiting:
            await server.apply(MODEL_DEPLOYMENTS, model_deployment(waiting.pop()))

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def requests(pair: Pair) -> list[Measured]:
    """One request after the other, on the objects that `fill` has left."""

    def applied(slots: int) -> Work:
        return lambda server, number: server.apply(MODEL_DEPLOYMENTS, model_deployment(number, slots))

    return [
        await cost(pair, "GET one ModelDeployment", lambda server, n: server.get(f"{MODEL_DEPLOYMENTS}/m{n:05d}")),
        await cost(pair, "apply a ModelDeployment: create", applied(4), first=90_000),
        await cost(pair, "apply a ModelDeployment: change", applied(9)),
        await cost(pair, "apply a ModelDeployment: no change", applied(9)),
    ]


async def watching(pair: Pair) -> Measured:
    """What a change costs for each open watch that hears of it."""
    name = f"watch event delivered ({WATCHERS} watches)"
    return await turns(pair, name, lambda server, turn: event_us(server, slots=100 + 2 * turn))


async def event_us(server: Server, slots: int) -> float:
    """CPU of one event: changes that all watches hear of, less as many of which nobody hears."""

    def changed(to: int) -> Work:
        return lambda _, number: server.apply(MODEL_DEPLOYMENTS, model_deployment(number, to))

    numbers = range(REPEATS)
    alone = await used_s(server, changed(slots), numbers)
    seen = 0
    everything = asyncio.Event()

    async def watch(opened: asyncio.Event) -> None:
        nonlocal seen
        version = json.loads(await server.get(f"{MODEL_DEPLOYMENTS}?limit=1"))["metadata"]["resourceVersion"]
        path = f"{server.url}{MODEL_DEPLOYMENTS}?watch=1&resourceVersion={version}"
        async with server.session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            opened.set()
            async for line in answer.content:
                if line.strip():
                    seen += 1
                    if seen >= WATCHERS * REPEATS:
                        everything.set()

    opened = [asyncio.Event() for _ in range(WATCHERS)]
    tasks = [asyncio.create_task(watch(event)) for event in opened]
    try:
        for event in opened:
            await asyncio.wait_for(event.wait(), READY_S)
        before, begun = server.cpu_s(), time.monotonic()
        for number in numbers:
            await changed(slots + 1)(server, number)
        await asyncio.wait_for(everything.wait(), READY_S)
        together = server.cpu_s() - before - server.idle * (time.monotonic() - begun)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return (together - alone) / REPEATS / WATCHERS * 1e6


async def deployments(pair: Pair) -> list[Measured]:
    """Deployments, with all that the controllers do about them until they are done."""
    return [
        await with_work(pair, "apply a Deployment: create, with its ReplicaSet", "image:1"),
        await with_work(pair, "apply a Deployment: change, with its ReplicaSets", "image:2"),
        await with_work(pair, "apply a Deployment: no change", "image:2"),
    ]


async def with_work(pair: Pair, name: str, image: str) -> Measured:
    """CPU of one apply and of what follows from it."""
    own: list[float] = []

    async def spent(server: Server, turn: int) -> float:
        numbers = range(turn * REPEATS, (turn + 1) * REPEATS)
        before = server.cpu_s(MANAGER)
        used = await used_s(server, applied_until_worked_off(image, numbers[-1]), numbers) / REPEATS * 1e6
        if server is pair.peer:
            own.append((server.cpu_s(MANAGER) - before) / REPEATS * 1e6)
        await check_all(server)
        return used

    found = await turns(pair, name, spent)
    found.peer = f"{PEER} + {MANAGER}, whose own part is {statistics.median(own):,.0f}"
    return found


def applied_until_worked_off(image: str, last: int) -> Work:
    """Applies a Deployment; with the last one it waits until the controllers have no more to do."""

    async def work(server: Server, number: int) -> None:
        await server.apply(DEPLOYMENTS, deployment(number, image))
        if number == last:
            await observed(server, number)
            await asyncio.sleep(SETTLE_S)

    return work


async def observed(server: Server, number: int) -> None:
    """Waits until the controllers have seen the last change of a Deployment."""
    end = time.monotonic() + READY_S
    while True:
        if is_observed(json.loads(await server.get(f"{DEPLOYMENTS}/d{number:05d}"))):
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{server.name}: no controller has seen Deployment d{number:05d}")
        await asyncio.sleep(POLL_S)


async def check_all(server: Server) -> None:
    """Raises RuntimeError if a controller has left something undone: it would be missing in the figure."""
    found = json.loads(await server.get(DEPLOYMENTS))["items"]
    late = [obj["metadata"]["name"] for obj in found if not is_observed(obj)]
    if late:
        raise RuntimeError(f"{server.name}: the controllers have not seen {len(late)} Deployments, such as {late[0]}")


def is_observed(obj: dict[str, Any]) -> bool:
    return bool((obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"])


# --- the whole of it


@asynccontextmanager
async def both(folder: Path, plane: ControlPlane) -> AsyncIterator[Pair]:
    """Both on what they hold in `folder` and `plane`, started one after the other."""
    async with embedded(folder / "embedded", plane.credentials) as ours, real(plane) as peer:
        yield Pair(ours, peer)


async def bench(counts: Sequence[int], programs: Binaries) -> list[Figure]:
    """All figures: both empty, then filled step by step, then started again on what they hold."""
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="x-bench-") as name:
        folder = Path(name)
        credentials = Credentials(folder)
        credentials.write()
        empty: list[Pair] = []
        for turn in range(TURNS):
            say(f"starting both, empty: {turn} of {TURNS}" if turn else "starting both once, to warm up")
            async with both(*place(folder / f"empty-{turn}", programs, credentials)) as pair:
                empty += [pair] if turn else []
        home, plane = place(folder / "kept", programs, credentials)
        say(f"starting both, empty: {TURNS} of {TURNS}")
        async with both(home, plane) as pair:
            await at_rest(pair)
            found += starts([*empty, pair], "empty")
            found.append(once(pair, "CPU at rest, empty", "ms/s", lambda server: server.idle * 1000))
            done = 0
            for count in counts:
                found += await filled(pair, done, count)
                done = count
        say(f"starting both on {done:,} ModelDeployments")
        async with both(home, plane) as pair:
            await at_rest(pair)
            when = f"{done:,} ModelDeployments"
            found += starts([pair], when)
            found.append(once(pair, f"CPU at rest, {when}", "ms/s", lambda server: server.idle * 1000))
            found += await requests(pair)
            found.append(await watching(pair))
            say(f"starting {MANAGER}")
            await with_controllers(pair.peer, plane)
            found += await deployments(pair)
    say("the store alone")
    return [each.figure() for each in found] + in_the_store(REPEATS)


def place(folder: Path, programs: Binaries, credentials: Credentials) -> tuple[Path, ControlPlane]:
    """Where both can start with nothing. The real one without its audit log: the embedded one writes none."""
    folder.mkdir()
    return folder, ControlPlane(folder, programs, credentials, api_flags=("--audit-log-path=",))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", default="1000,10000", help="how many ModelDeployments, rising")
    counts = [int(text) for text in parser.parse_args().objects.split(",")]
    if counts != sorted(counts) or counts[-1] < TURNS * REPEATS:
        parser.error(f"--objects: rising numbers, the last at least {TURNS * REPEATS}, not {counts}")
    try:
        programs = binaries(console)
    except BuildError as error:
        sys.exit(f"insource: {error}")
    load = os.getloadavg()[0]
    console.print(f"[dim]{' and '.join(f'{count:,}' for count in counts)} ModelDeployments, load {load:.1f}[/]")
    figures = asyncio.run(bench(counts, programs))
    show("The embedded API server beside a real one", figures, console)
    notes = [
        f"{REPEATS} requests of each sort, one after the other, in {TURNS} turns.",
        f"Load when it began: {load:.2f}.",
    ]
    console.print(f"written to {write('embedded_api', figures, notes).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
