"""Keeps a set of child programs running, and ends every one of them.

It knows nothing of what the programs are. A child that ends unasked is started again, after a pause that
doubles while it keeps failing. If this process itself is killed, the kernel ends the children (`parenthood`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from insource.env import Clock

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A child that lived this long is not "failing again": its next pause is the first one."""


@dataclass(frozen=True)
class Program:
    """One child: `insource <arguments>`, with its output in `log`."""

    name: str
    arguments: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 10.0
    """How long it may take to end after SIGTERM before it is killed."""


@dataclass(frozen=True)
class Ended:
    """A child that ended unasked."""

    program: Program
    how: str
    """`was killed by SIGKILL`, `ended with exit status 1`, `could not be started: ...`."""
    times: int
    """How often it has ended unasked by now."""
    in_a_row: int
    """How often without having lived for `STEADY_S`."""
    pause_s: float
    """When it is started again."""


class Supervisor:
    """Starts, restarts and stops programs."""

    def __init__(
        self,
        clock: Clock,
        on_change: Callable[[dict[str, int]], None],
        on_end: Callable[[Ended], None] = lambda _: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`on_change` is told name -> pid whenever a child has started, `on_end` whenever one has ended unasked.

        `environment`: for every child.
        """
        self._clock = clock
        self._on_change = on_change
        self._on_end = on_end
        self._environment = dict(environment or {})
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pids: dict[str, int] = {}
        self.restarts: dict[str, int] = {}
        """Child name -> how often it ended unasked."""

    def start(self, program: Program) -> None:
        """Run `program` from now on. It is not waited for."""
        self._tasks[program.name] = asyncio.create_task(self._keep_running(program), name=program.name)

    async def stop(self, name: str) -> None:
        """End one program: SIGTERM, then SIGKILL after its grace. Nothing if it is not running."""
        task = self._tasks.pop(name, None)
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def stop_all(self, order: tuple[tuple[str, ...], ...]) -> None:
        """End the groups of `order` one after the other, within a group together; then whatever is left."""
        for group in order:
            await asyncio.gather(*(self.stop(name) for name in group))
        await asyncio.gather(*(self.stop(name) for name in list(self._tasks)))

    async def _keep_running(self, program: Program) -> None:
        pause_s, in_a_row = FIRST_PAUSE_S, 0
        while True:
            started = self._clock.monotonic()
            how = await self._run_once(program)
            in_a_row += 1
            if self._clock.monotonic() - started >= STEADY_S:
                pause_s, in_a_row = FIRST_PAUSE_S, 1
            times = self.restarts[program.name] = self.restarts.get(program.name, 0) + 1
            self._on_end(Ended(program, how, times, in_a_row, pause_s))
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self, program: Program) -> str:
        """From its start to its end; returns how it ended."""
        try:
            process = await self._spawn(program)
        except OSError as error:
            return f"could not be started: {error}"
        try:
            self._pids[program.name] = process.pid
            self._on_change(dict(self._pids))
            code = await process.wait()
        finally:
            # Reached by the child's own end, and by cancellation while it runs.
            await self._end(process, program.grace_s)
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit status {code}"

    async def _spawn(self, program: Program) -> asyncio.subprocess.Process:
        environment = {
            **os.environ,
            **self._environment,
            **program.environment,
            "INSOURCE_DIE_WITH_PARENT": str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
        with program.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "insource",
                *program.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                # Its own session: Ctrl-C reaches this process alone, which then stops the children in order.
                start_new_session=True,
            )

    async def _end(self, process: asyncio.subprocess.Process, grace_s: float) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(grace_s):
                    await process.wait()
            except TimeoutError:
                pass
        with contextlib.suppress(ProcessLookupError):
            # The whole session: whatever the child itself has started goes with it.
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
