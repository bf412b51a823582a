"""Ports for programs that must be told one.

They are below those that Linux gives away by itself, so no connection and no other server takes one between its
choice and its use; and they are given out in turn to all tests of this machine, so no two tests have the same.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, END = 20_000, 30_000
"""Above what programs have by default; below clusters' node ports, and what Linux gives away."""
TURN = Path(tempfile.gettempdir(), f"insource-test-ports-{os.getuid()}")


def free_port() -> int:
    """A port of loopback that nobody listens on, and that no other test is told."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As `free_port`, several."""
    chosen: list[int] = []
    with TURN.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        told = file.read()
        port = int(told) if told.isdigit() and FIRST <= int(told) < END else FIRST
        for _ in range(END - FIRST):
            if len(chosen) == count:
                break
            if is_free(port):
                chosen.append(port)
            port = port + 1 if port + 1 < END else FIRST
        file.truncate(0)
        file.write(str(port))
    assert len(chosen) == count, f"nearly all ports from {FIRST} to {END} are in use"
    return chosen


def is_free(port: int) -> bool:
    """Nobody listens on it, and no connection has it."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
