"""Programs of this machine as containers: each a session of its own that cannot outlive the cluster's process.

Linux. It knows nothing of pods' rules: only how to start, signal, await and recognise process groups.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""What a container sees of the cluster's own environment: what programs need to be found, and no secret."""
MARK = "INSOURCE_POD_UID"
"""Set in every container, so that a restarted node recognises leftovers."""
_PR_SET_PDEATHSIG = 1
_READ_BYTES = 65536


class Output(Protocol):
    """Where a program's output goes."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Exit:
    """How a program ended; `code` is 128 + signal where a signal ended it."""

    code: int
    signal: int = 0


class Program:
    """One running program and whatever it has started."""

    def __init__(self, process: asyncio.subprocess.Process, output: Output, record: Path | None) -> None:
        self._process = process
        self._output = output
        self._record = record
        self._pump = asyncio.create_task(self._copy_output())
        self._exit: asyncio.Task[Exit] = asyncio.create_task(self._wait())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> Exit:
        """Until the program, and everything in its session's group, is gone."""
        return await asyncio.shield(self._exit)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone; nothing if it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL for the program and its group."""
        kill_group(self.pid)

    async def _wait(self) -> Exit:
        code = await self._process.wait()
        kill_group(self.pid)
        # A grandchild in a session of its own may keep the pipe open for ever; its words are not waited for.
        await asyncio.wait({self._pump}, timeout=1.0)
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        self._process._transport.close()  # type: ignore[attr-defined]
        self._output.close()
        if self._record is not None:
            self._record.unlink(missing_ok=True)
        return Exit(code=128 - code, signal=-code) if code < 0 else Exit(code=code)

    async def _copy_output(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while data := await pipe.read(_READ_BYTES):
            self._output.write(data)


async def start(
    argv: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: Output, record: Path | None = None
) -> Program:
    """Start a program in its own session. `record` is a file that names it until it is gone (see `kill_leftovers`).

    Raises OSError (FileNotFoundError, PermissionError) if it cannot be executed, or cannot be recorded.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**inherited_environment(), **environment},
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()),
    )
    try:
        if record is not None:
            _remember(record, process.pid)
    except OSError:
        kill_group(process.pid)
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
        raise
    return Program(process, output, record)


def _remember(record: Path, pid: int) -> None:
    record.write_text(json.dumps({"pid": pid, "started": start_ticks(pid)}))


def inherited_environment() -> dict[str, str]:
    """The part of this process's environment that a container gets."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


_prctl: Callable[[int, int], int] | None = None
if sys.platform.startswith("linux"):
    _prctl = ctypes.CDLL(None).prctl


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does before exec: ask for SIGKILL when this process dies.

    Note: code between fork and exec must take no lock that another thread may hold. This is one system call
        through a function resolved beforehand, and touches neither imports nor logging; a launcher program
    would cost 25 ms a container.
    The kernel watches the *thread* that forks, so programs are started from the main thread, where the loop runs.
    """

    def ask() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(137)

    return ask


def kill_group(pid: int) -> None:
    """SIGKILL for the process group that `pid` leads; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if there is no such process. With the pid, an identity."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _stat(pid: int) -> list[str]:
    """Fields 3 and on of /proc/PID/stat; empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def kill_leftovers(records: Sequence[Path], uids: frozenset[str]) -> list[int]:
    """End what an earlier node left running, and forget its records; returns the pids that were killed.

    A process is a leftover if a record names its pid and start time, or if its environment carries the uid of one of
    our pods.
    """
    named: dict[int, int] = {}
    for record in records:
        with contextlib.suppress(ValueError, KeyError, OSError):
            held = json.loads(record.read_text())
            named[int(held["pid"])] = int(held["started"])
    killed = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        pid = int(entry.name)
        if (named.get(pid) and named[pid] == start_ticks(pid)) or _mark(entry) in uids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    for record in records:
        record.unlink(missing_ok=True)
    return killed


def _mark(entry: Path) -> str:
    try:
        environ = (entry / "environ").read_bytes()
    except OSError:
        return ""
    prefix = MARK.encode() + b"="
    for pair in environ.split(b"\0"):
        if pair.startswith(prefix):
            return pair.removeprefix(prefix).decode("utf-8", "replace")
    return ""
