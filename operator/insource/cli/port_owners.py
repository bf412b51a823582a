"""Who listens on a port of this machine, as far as /proc tells. Linux; elsewhere nobody is known."""

from __future__ import annotations

import contextlib
from pathlib import Path

LISTENING = "0A"


def owner_of(port: int) -> str:
    """`pid 4711 (nginx)`; empty if nobody listens, or the process is another user's."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if any(_target(handle) in wanted for handle in (process / "fd").iterdir()):
                    return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _target(handle: Path) -> str:
    try:
        return str(handle.readlink())
    except OSError:
        return ""  # closed meanwhile
