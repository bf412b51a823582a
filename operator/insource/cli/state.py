"""What one `insource up` leaves in its data directory for the other commands: paths and `state.json`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from insource.cli.data_version import check_version, write_version


class State(BaseModel):
    """`<data>/state.json`: where everything of this installation is. No secret is in it."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    """The supervisor's process id."""
    phase: str = "starting"
    """starting | ready | stopping"""
    message: str = ""
    api_url: str
    gateway_url: str
    ledger_url: str
    emulator_urls: dict[str, str] = Field(default_factory=dict)
    """Of each emulated vendor, by its name. Empty while an earlier release runs, which knew one only."""
    agent_url: str
    run_dir: str
    ledger_reader_token_file: str
    processes: dict[str, int] = Field(default_factory=dict)
    """Child process name -> pid."""


class Layout:
    """Every path of one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data.absolute()
        self.state = self.data / "state.json"
        self.ports = self.data / "ports.json"
        self.lock = self.data / "lock"
        self.logs = self.data / "logs"
        self.kubeconfig = self.data / "kubeconfig"
        self.api_key = self.data / "api-key"
        self.cluster = self.data / "cluster"
        self.ledger = self.data / "ledger"
        self.gateway = self.data / "gateway"
        self.emulator = self.data / "emulator"
        self.credentials = self.data / "credentials"
        """Private (0700): component kubeconfigs, tokens and the gateway's master."""
        self.tokens = self.credentials / "tokens.csv"
        self.ca = self.credentials / "ca.crt"
        self.certificate = self.credentials / "apiserver.crt"
        self.certificate_key = self.credentials / "apiserver.key"
        self.gateway_master = self.credentials / "gateway-master"
        self.gateway_ledger_token = self.credentials / "gateway-ledger-token"
        self.reader_ledger_token = self.credentials / "reader-ledger-token"

    def component_kubeconfig(self, name: str) -> Path:
        """The kubeconfig with which one of our own programs speaks to the API server."""
        return self.credentials / f"kubeconfig-{name}"

    def vendor_key(self, vendor: str) -> Path:
        """The key that this emulated vendor accepts."""
        return self.credentials / f"{vendor}-key"

    def make(self) -> None:
        """Create the folders; those with secrets are for the owner only.

        Raises OSError, and ClickException for a directory of a newer program.
        """
        check_version(self.data)
        self.data.mkdir(parents=True, exist_ok=True)
        write_version(self.data)
        for folder in (self.logs, self.cluster, self.ledger, self.emulator):
            folder.mkdir(exist_ok=True)
        for folder in (self.credentials, self.gateway):
            folder.mkdir(mode=0o700, exist_ok=True)

    def write_state(self, state: State) -> None:
        """Replace `state.json` in one step, so that a reader sees the old or the new one."""
        replace_file(self.state, state.model_dump_json(indent=1), mode=0o644)

    def read_state(self) -> State | None:
        """The state, or None if nothing (or nothing readable) is there."""
        try:
            return State.model_validate_json(self.state.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def running_state(self) -> State | None:
        """The state of an `up` that is alive now, or None."""
        state = self.read_state()
        return state if state is not None and self.is_locked() else None

    def require_running(self) -> State:
        """The state of an installation that is ready; otherwise an error that says how to get one."""
        state = self.running_state()
        if state is not None and state.phase == "ready":
            return state
        if state is not None or self.is_locked():
            doing = state.message or state.phase if state is not None else "starting"
            raise click.ClickException(
                f"insource in {self.data} is not ready ({doing}): try again in a moment, its logs are in {self.logs}"
            )
        raise click.ClickException(f"nothing is running in {self.data}: start it with `insource up --data {self.data}`")

    def is_locked(self) -> bool:
        """Does a living supervisor hold this directory?"""
        try:
            with self.lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory: two `up`s in it would destroy each other's work."""
        with self.lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                state = self.read_state()
                where = f" (pid {state.pid}, gateway {state.gateway_url})" if state else ""
                raise click.ClickException(
                    f"insource is already running in {self.data}{where}: use it, or stop it with "
                    f"`insource down --data {self.data}`, or choose another --data"
                ) from None
            # What a killed one has left here is nobody's any more: its pid may be somebody else's by now.
            self.state.unlink(missing_ok=True)
            yield


def replace_file(path: Path, content: str, *, mode: int) -> None:
    """Write `content` to `path` atomically, with these permissions from the first byte on. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_json(path: Path) -> dict[str, int]:
    """A small JSON object of integers, or an empty one if there is none."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): int(value) for key, value in content.items()} if isinstance(content, dict) else {}


data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".insource"),
    show_default=True,
    envvar="INSOURCE_DATA",
    help="Data directory of this installation.",
)
