"""Starting a program of ours as a child process and learning the port it chose, for tests that kill it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

LISTENING = re.compile(rb'listening\b.*?port\W+(\d+)|"port": (\d+),.*"event": "listening"')
"""In the plain log, or in that of the programs' commands, which is JSON."""
ESCAPES = re.compile(rb"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Program:
    """A running child process that listens on `port` of loopback."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_url(self) -> str:
        """Where else it listens: the next time that its log says so."""
        assert self.process.stdout is not None
        return f"http://127.0.0.1:{_port_told(self.process.stdout)}"


@contextmanager
def program(code: str, environment: Mapping[str, str]) -> Iterator[Program]:
    """Run Python `code`, which must log `listening` with its `port`; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        yield Program(process, _port_told(process.stdout))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def _port_told(log: IO[bytes]) -> int:
    seen = b""
    for line in log:
        seen += line
        if found := LISTENING.search(ESCAPES.sub(b"", line)):
            return int(found.group(1) or found.group(2))
    raise AssertionError(f"the program ended before it listened: {seen.decode()}")
