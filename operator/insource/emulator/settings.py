"""How an emulator is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Engine = Literal["pocketsphinx", "echo"]


@dataclass(frozen=True)
class EmulatorSettings:
    """Settings of one emulator."""

    data: Path
    """Folder of the bill; it is made if it is missing."""
    key_file: Path
    """One accepted API key per line; read again for every request, so that keys can be rotated."""
    listen: str = "127.0.0.1:0"
    """HOST:PORT; loopback only, because `/emulator/*` is open to everyone who can connect."""
    engine: Engine = "pocketsphinx"
    """`echo` recognises nothing and answers at once: for tests at high rates."""
    requests_per_minute: int = 500
    workers: int = 1
    """Recognitions at once, each in a process of its own."""
