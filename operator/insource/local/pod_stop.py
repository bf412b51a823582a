"""How one program is stopped: preStop hook, SIGTERM, and SIGKILL at its deadline."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from insource.env import Clock
from insource.local import probes, processes
from insource.local.probes import Target, Verdict

SIDECAR_GRACE_S = 2.0
"""What sidecars get after the pod's grace period was used up by its main containers, as with the kubelet."""


async def stop(
    program: processes.Program,
    hook: Mapping[str, Any] | None,
    target: Target,
    clock: Clock,
    deadline_s: float,
    failed: Callable[[str], None],
) -> None:
    """Until the program is gone or killed. `failed` hears what a preStop hook had to say.

    An earlier deadline of the pod is kept by the pod's own loop.
    """
    if hook:
        await _run_hook(
            program, _hook(hook, target, clock, deadline_s - clock.monotonic()), deadline_s - clock.monotonic(), failed
        )
    program.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(max(SIDECAR_GRACE_S if hook else 0.0, deadline_s - clock.monotonic())):
            await program.wait()
    except TimeoutError:
        program.kill()


async def _run_hook(
    program: processes.Program, asking: Coroutine[Any, Any, Verdict], limit_s: float, failed: Callable[[str], None]
) -> None:
    verdict = Verdict(ok=True)
    running = asyncio.create_task(asking)
    leaving = asyncio.create_task(program.wait())
    try:
        await asyncio.wait({running, leaving}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            verdict = running.result()
    finally:
        for task in (running, leaving):
            task.cancel()
        await asyncio.gather(running, leaving, return_exceptions=True)
    if not verdict.ok:
        failed(verdict.message)


async def _hook(hook: Mapping[str, Any], target: Target, clock: Clock, limit_s: float) -> Verdict:
    if pause := hook.get("sleep"):
        await clock.sleep(float(pause["seconds"]))
        return Verdict(ok=True)
    return await probes.ask(hook, target, limit_s)
