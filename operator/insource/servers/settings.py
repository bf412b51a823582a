"""What a model server is told by its environment (docs/architecture.md, "Environment of `server`")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_NOISE = 2.0


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
    """Requests that run at once; others wait their turn."""
    count_file: Path | None = None
    """Where every request begun and ended is noted (`insource.servers.counts`); None: counted in memory only."""


@dataclass(frozen=True)
class PiperSettings:
    """Settings of the Piper server: a server's, and how much one reading differs from the next."""

    server: ServerSettings
    noise_scale: float | None = None
    """Of the sound; 0: the same text gives the same sound, None: as the voice was made."""
    noise_w: float | None = None
    """Of the phonemes' lengths; as `noise_scale`."""


@dataclass(frozen=True)
class LlamaSettings:
    """Settings of the llama server: a server's, and how long a text may be."""

    server: ServerSettings
    context_tokens: int = 4096
    """Prompt and completion of one slot together [tokens]."""


@dataclass(frozen=True)
class StubSettings:
    """Settings of the stub: a server's, and how it answers."""

    server: ServerSettings
    delay_ms: float = 0.0
    """What every answer takes."""
    delay_per_audio_s: float = 0.0
    """What it takes beside that for each second of audio [s]: a warm-up stays short where a request is long."""
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


def piper_settings(environment: Mapping[str, str]) -> PiperSettings:
    """As `server_settings`, and `PIPER_NOISE_SCALE PIPER_NOISE_W`; raises `SettingsError`."""
    return PiperSettings(
        server=server_settings(environment),
        noise_scale=_noise(environment, "PIPER_NOISE_SCALE"),
        noise_w=_noise(environment, "PIPER_NOISE_W"),
    )


def llama_settings(environment: Mapping[str, str]) -> LlamaSettings:
    """As `server_settings`, and `CONTEXT_TOKENS`; raises `SettingsError`."""
    return LlamaSettings(
        server=server_settings(environment),
        context_tokens=_integer(environment, "CONTEXT_TOKENS", LlamaSettings.context_tokens, least=256),
    )


def stub_settings(environment: Mapping[str, str]) -> StubSettings:
    """As `server_settings`, and those of the stub; raises `SettingsError`.

    They are `STUB_DELAY_MS STUB_DELAY_MS_PER_AUDIO_S STUB_TEXT STUB_COUNT_FILE`.
    """
    with_count = {"COUNT_FILE": environment.get("STUB_COUNT_FILE", ""), **environment}
    return StubSettings(
        server=server_settings(with_count),
        delay_ms=_integer(environment, "STUB_DELAY_MS", 0, least=0),
        delay_per_audio_s=_integer(environment, "STUB_DELAY_MS_PER_AUDIO_S", 0, least=0) / 1000,
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


def _noise(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST_NOISE:
        raise SettingsError(f"{name}={text!r}: a number from 0 to {MOST_NOISE:g} is needed")
    return value
