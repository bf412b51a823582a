"""Ports for the programs of one installation: kept over restarts where they are still free."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from insource.cli.local_vendors import LOCAL_VENDORS
from insource.cli.port_owners import owner_of
from insource.cli.state import read_json, replace_file

NAMES = ("api", "gateway", "agent", "ledger", "operator", *(vendor.name for vendor in LOCAL_VENDORS))


@dataclass(frozen=True)
class Moved:
    """A port of last time that somebody else has now."""

    name: str
    before: int
    after: int
    owner: str
    """As `owner_of` says it; empty if it is not known."""


def choose_ports(path: Path, wanted: Mapping[str, int] | None = None) -> tuple[dict[str, int], tuple[Moved, ...]]:
    """A port on 127.0.0.1 for each of `NAMES`: the wanted one, last time's if nobody has it now, or the kernel's.

    Raises ClickException for a wanted port that is taken.
    """
    before = read_json(path)
    asked = wanted or {}
    chosen: dict[str, int] = {}
    moved: list[Moved] = []
    held: list[socket.socket] = []
    try:
        # The wanted ones first, so that the kernel gives them to nobody else.
        for name in sorted(NAMES, key=lambda name: (name not in asked, NAMES.index(name))):
            port = asked.get(name) or before.get(name, 0)
            listener = _bound(port)
            if listener is None and name in asked:
                raise _taken(name, port)
            if listener is None:
                listener = _bound(0)
                assert listener is not None
                moved.append(Moved(name, port, listener.getsockname()[1], owner_of(port)))
            held.append(listener)
            chosen[name] = listener.getsockname()[1]
    finally:
        for listener in held:
            listener.close()
    replace_file(path, json.dumps({name: chosen[name] for name in NAMES}), mode=0o644)
    return chosen, tuple(moved)


def _bound(port: int) -> socket.socket | None:
    """A socket on this port (0: any), or None if somebody has it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        return None
    return listener


def _taken(name: str, port: int) -> click.ClickException:
    owner = owner_of(port)
    by = f"by {owner}: stop that" if owner else "or may not be used by this user: free it"
    return click.ClickException(
        f"port {port} for the {name} is taken {by}, choose another with --{name}-port, or leave that out"
    )
