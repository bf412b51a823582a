"""Ports for the programs of one installation: kept over restarts where they are still free."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from insource.cli.state import read_json, replace_file

NAMES = ("api", "gateway", "agent", "ledger", "emulator", "operator")


def choose_ports(path: Path) -> dict[str, int]:
    """A port on 127.0.0.1 for each of `NAMES`: last time's if nobody has it now, else one from the kernel."""
    before = read_json(path)
    chosen: dict[str, int] = {}
    held: list[socket.socket] = []
    try:
        for name in NAMES:
            listener = _bind(before.get(name, 0))
            held.append(listener)
            chosen[name] = listener.getsockname()[1]
    finally:
        for listener in held:
            listener.close()
    replace_file(path, json.dumps(chosen), mode=0o644)
    return chosen


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    return listener
