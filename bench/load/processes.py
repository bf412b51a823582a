"""Compiling, starting, pinning and measuring the processes of a bench."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = Path.home() / ".cache" / "insource"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class UnavailableError(Exception):
    """Something the bench needs is not on this machine; the text says what."""


@dataclass(frozen=True)
class Load:
    """What one run of the generator saw."""

    requests: int
    errors: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def compiled(name: str) -> Path:
    """The C program `name`, built once per content. Raises `UnavailableError` without a compiler."""
    source = HERE / f"{name}.c"
    binary = CACHE / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if binary.exists():
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UnavailableError("bench-gateway needs a C compiler (cc or gcc) for its load generator: install gcc")
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-o", str(fresh), str(source)], check=True)
    fresh.replace(binary)
    return binary


def pin(command: Sequence[str], core: int) -> list[str]:
    """`command` on one core, where there are several and `taskset` is there."""
    several = (os.cpu_count() or 1) > 1 and shutil.which("taskset")
    return ["taskset", "-c", str(core), *command] if several else list(command)


class Processes:
    """Everything that was started, ended together."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._all: list[subprocess.Popen[bytes]] = []

    def start(
        self, name: str, command: Sequence[str], *, core: int, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start with pipes for input and output; errors go to `<logs>/<name>.log`."""
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                pin(command, core),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(env or {})},
            )
        self._all.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End one; kill it after 5 s."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._all.remove(process)

    def end_all(self) -> None:
        """End what still runs."""
        for process in list(self._all):
            self.end(process)


def read_line(process: subprocess.Popen[bytes]) -> Any:
    """One line of JSON from a child. Raises `RuntimeError` if it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the process {process.args!r} ended early; see its log")
    return json.loads(line)


def tell(process: subprocess.Popen[bytes], message: Any) -> None:
    """One line of JSON to a child."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def generate(port: int, request: Path, *, connections: int, seconds: float, rate: float = 0, core: int) -> Load:
    """Run the generator: closed loop, or `rate` requests per second."""
    command = [str(compiled("generator")), str(port), str(request), str(connections), str(seconds), str(rate)]
    done = subprocess.run(pin(command, core), capture_output=True, check=False, timeout=seconds + 60)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"the generator failed: {done.stderr.decode()}")
    if done.stderr:
        print(done.stderr.decode()[:400])
    return Load(**json.loads(done.stdout))


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Processor time of a process and its children so far, user and system, from /proc."""
    return sum(_cpu_s(pid) for pid in _tree(process.pid))


def rss_bytes(process: subprocess.Popen[bytes]) -> int:
    """Resident memory of a process and its children now."""
    return sum(_rss(pid) for pid in _tree(process.pid))


def until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    """Poll until `condition` holds; it may raise OSError meanwhile. Raises `TimeoutError`."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"not within {limit_s:g} s: {what}")


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _tree(int(child))
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
