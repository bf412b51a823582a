"""Startup, readiness and liveness probes: when to ask (pure counting) and how (HTTP, TCP, a program)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from insource.env import Clock


@dataclass(frozen=True)
class Verdict:
    """One answer to a probe."""

    ok: bool
    message: str = ""


@dataclass(frozen=True)
class Tally:
    """Consecutive answers, and what they amount to. `passing` changes only at a threshold."""

    passing: bool
    successes: int = 0
    failures: int = 0

    def after(self, verdict: Verdict, *, success_threshold: int, failure_threshold: int) -> Tally:
        if verdict.ok:
            successes = self.successes + 1
            return Tally(self.passing or successes >= success_threshold, successes=successes)
        failures = self.failures + 1
        return Tally(self.passing and failures < failure_threshold, failures=failures)


class Runner(Protocol):
    """Runs a program inside a container, for exec probes and hooks."""

    async def __call__(self, command: Sequence[str], timeout_s: float) -> Verdict: ...


@dataclass(frozen=True)
class Target:
    """Whom the probes of a container ask."""

    address: str
    ports: Mapping[str, int]
    """Named container ports."""
    run: Runner
    session: aiohttp.ClientSession


async def ask(probe: Mapping[str, Any], target: Target, timeout_s: float) -> Verdict:
    """Ask once. Never raises for what the container does wrong; a time-out is a failure."""
    if request := probe.get("httpGet"):
        return await _http(request, target, timeout_s)
    if socket := probe.get("tcpSocket"):
        return await _tcp(socket, target, timeout_s)
    return await target.run(probe["exec"]["command"], timeout_s)


def port_number(port: int | str, target: Target) -> int:
    """A port by number or by the name that the container gave it; 0 if there is no such name."""
    return port if isinstance(port, int) else target.ports.get(port, int(port) if port.isdigit() else 0)


async def _http(request: Mapping[str, Any], target: Target, timeout_s: float) -> Verdict:
    host = request.get("host") or target.address
    scheme = (request.get("scheme") or "HTTP").lower()
    path = request.get("path") or "/"
    url = f"{scheme}://{host}:{port_number(request['port'], target)}{path if path.startswith('/') else '/' + path}"
    headers = {header["name"]: header["value"] for header in request.get("httpHeaders") or ()}
    try:
        async with target.session.get(
            url,
            headers={"User-Agent": "kube-probe/1.37", **headers},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            ssl=False,
        ) as answer:
            if 200 <= answer.status < 400:
                return Verdict(ok=True)
            return Verdict(ok=False, message=f"HTTP probe failed with statuscode: {answer.status}")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Verdict(ok=False, message=f'Get "{url}": {error or type(error).__name__}')
    except TimeoutError:
        return Verdict(ok=False, message=f'Get "{url}": no answer within {timeout_s:g} s')


async def _tcp(socket: Mapping[str, Any], target: Target, timeout_s: float) -> Verdict:
    host, port = socket.get("host") or target.address, port_number(socket["port"], target)
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()
    except TimeoutError:
        return Verdict(ok=False, message=f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Verdict(ok=False, message=f"dial tcp {host}:{port}: {error}")
    return Verdict(ok=True)


async def watch(
    probe: Mapping[str, Any],
    target: Target,
    clock: Clock,
    told: Callable[[Tally, Verdict], bool],
    *,
    passing: bool,
) -> None:
    """Ask for as long as the container runs, and tell each result; ends when `told` answers False.

    `passing` is what holds before the first answer: False for startup and readiness, True for liveness.
    """
    tally = Tally(passing)
    period_s = float(probe.get("periodSeconds") or 10)
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
    while True:
        began_s = clock.monotonic()
        verdict = await ask(probe, target, timeout_s)
        tally = tally.after(
            verdict,
            success_threshold=int(probe.get("successThreshold") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
        )
        if not told(tally, verdict):
            return
        await clock.sleep(max(0.0, period_s - (clock.monotonic() - began_s)))
