"""What a model server is told by its environment (docs/architecture.md, "Environment of `server`")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """A variable of the environment is missing or cannot be read; the text names it."""


@dataclass(frozen=True)
class ServerSettings:
    """Settings that every model server has."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 lets the kernel choose; the log line `listening` tells which."""
    model_name: str = ""
    """The `model` that requests must ask for; empty: any."""
    model_uri: str = ""
    model_dir: Path | None = None
    """Where the model's files are, if they were delivered; None: where `model_uri` says."""
    model_sha256: str = ""
    """Hex SHA-256 of the model's weights file; empty: not checked."""
    slots: int = 1
    """Transcriptions that run at once; others wait their turn."""
    count_file: Path | None = None
    """Where every request begun and ended is noted (`insource.servers.counts`); None: counted in memory only."""


@dataclass(frozen=True)
class StubSettings:
    """Settings of the stub: a server's, and how it answers."""

    server: ServerSettings
    delay_ms: float = 0.0
    text: str = "This is the stub server."


def server_settings(environment: Mapping[str, str]) -> ServerSettings:
    """Read `POD_IP PORT MODEL_NAME MODEL_URI MODEL_DIR MODEL_SHA256 SLOTS COUNT_FILE`; raises `SettingsError`."""
    count_file = environment.get("COUNT_FILE", "")
    return ServerSettings(
        host=environment.get("POD_IP") or "127.0.0.1",
        port=_integer(environment, "PORT", 8000, least=0),
        model_name=environment.get("MODEL_NAME", ""),
        model_uri=environment.get("MODEL_URI", ""),
        model_dir=Path(environment["MODEL_DIR"]) if environment.get("MODEL_DIR") else None,
        model_sha256=environment.get("MODEL_SHA256", "").lower().removeprefix("sha256:"),
        slots=_integer(environment, "SLOTS", 1, least=1),
        count_file=Path(count_file) if count_file else None,
    )


def stub_settings(environment: Mapping[str, str]) -> StubSettings:
    """As `server_settings`, and `STUB_DELAY_MS STUB_TEXT STUB_COUNT_FILE`; raises `SettingsError`."""
    with_count = {"COUNT_FILE": environment.get("STUB_COUNT_FILE", ""), **environment}
    return StubSettings(
        server=server_settings(with_count),
        delay_ms=_integer(environment, "STUB_DELAY_MS", 0, least=0),
        text=environment.get("STUB_TEXT") or StubSettings.text,
    )


def _integer(environment: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r}: an integer is needed") from None
    if value < least:
        raise SettingsError(f"{name}={text!r}: must be at least {least}")
    return value
