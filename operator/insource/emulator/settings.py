"""How an emulator is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Engine = Literal["pocketsphinx", "echo"]
Vendor = Literal["openai", "azure-openai", "azure-speech", "azure-images"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)


@dataclass(frozen=True)
class EmulatorSettings:
    """Settings of one emulator."""

    data: Path
    """Folder of the bill; it is made if it is missing."""
    key_file: Path
    """One accepted API key per line; read again for every request, so that keys can be rotated."""
    vendor: Vendor = "openai"
    listen: str = "127.0.0.1:0"
    """HOST:PORT; loopback only, because `/emulator/*` is open to everyone who can connect."""
    engine: Engine = "pocketsphinx"
    """`pocketsphinx` hears, and pico speaks; `echo` does neither, and answers at once: for tests at high rates."""
    requests_per_minute: int | None = None
    """Default: what the vendor grants."""
    workers: int = 1
    """Recognitions, and syntheses, at once; each in a process of its own."""
    tier: int = 1
    """The quota tier of azure-images, 1 to 6: two requests per minute each."""
    deployments: Mapping[str, str] = field(default_factory=dict)
    """Deployment name to model, of azure-openai and azure-images; each model is deployed under its own name, too."""
