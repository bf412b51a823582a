"""What a supervisor that was killed has left running: found by a mark in its environment, and ended.

The kernel asks every child to end when its supervisor dies (`parenthood`); one that is stopped, stuck or slow is still
there. Whoever calls this holds the data directory's lock, so nobody alive owns these processes. Linux.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from insource.env import Clock

MARK = "INSOURCE_INSTALLATION"
"""Environment variable of every child: the data directory that it belongs to."""
GRACE_S = 10.0
POLL_S = 0.05


def leftovers(data: Path) -> dict[int, int]:
    """pid -> pidfd (to be closed by the caller) of the processes that carry the mark of `data`."""
    found: dict[int, int] = {}
    wanted = f"{MARK}={data}".encode()
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            handle = os.pidfd_open(int(entry.name))
        except OSError:
            continue
        # Read once the handle is open: from here on the pid cannot become somebody else's.
        if wanted in _environment(entry):
            found[int(entry.name)] = handle
        else:
            os.close(handle)
    return found


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # gone, or another user's


def has_ended(handle: int) -> bool:
    """Whether the process behind this pidfd is over."""
    poll = select.poll()  # unlike select.select it takes any descriptor
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


async def end_leftovers(data: Path, clock: Clock, tell: Callable[[str], None]) -> list[int]:
    """SIGTERM, and after a grace SIGKILL; returns the pids once all are gone. `tell` hears of it."""
    left = leftovers(data)
    try:
        if left:
            tell(f"ending what an earlier `insource up` has left running: pid {', '.join(map(str, sorted(left)))}")
        for number in (signal.SIGTERM, signal.SIGKILL):
            for handle in left.values():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            await _gone(list(left.values()), clock)
    finally:
        for handle in left.values():
            os.close(handle)
    return sorted(left)


async def _gone(handles: list[int], clock: Clock) -> None:
    deadline_s = clock.monotonic() + GRACE_S
    while not all(map(has_ended, handles)) and clock.monotonic() < deadline_s:
        await clock.sleep(POLL_S)
