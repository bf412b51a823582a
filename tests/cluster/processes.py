"""Child processes with a log file and a checked life: a program that died is named with its last words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOP_S = 10.0
PATIENCE_S = 150.0
"""Far more than anything takes on a machine that has time for us."""


class DiedError(Exception):
    """A program ended, or did not get ready; the text holds the end of its log."""


@dataclass
class Child:
    """One program; `log` collects what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raises DiedError if it has ended."""
        if self.process.poll() is not None:
            raise DiedError(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if line[:1] in "EF" or "fatal" in line or "error" in line.lower()]
        return "\n".join((told or lines)[-5:])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, by force after ten seconds."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, command: Sequence[str | Path], folder: Path) -> Child:
    """A child in `folder`; it dies with us, whatever happens to us. If it is of Python, it imports what we do."""
    log = folder / f"{name}.log"
    # Note: some machines forbid compiled modules to be kept; then every start would compile its libraries anew.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
            cwd=folder,
            env={**inherited, "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return Child(name, process, log)


def wait_until(ready: Callable[[], bool], children: Sequence[Child], what: str, seconds: float = PATIENCE_S) -> None:
    """Raises DiedError when a child dies first, or the time is over."""
    end = time.monotonic() + seconds
    while not ready():
        for child in children:
            child.check()
        if time.monotonic() > end:
            words = "; ".join(f"{child.name}: {child.last_words()}" for child in children)
            raise DiedError(f"{what} was not ready within {seconds:.0f} s. {words}")
        time.sleep(0.05)
