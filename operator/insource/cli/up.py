"""`insource up` and `insource down`: a whole installation on this machine, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from insource.cli.leftovers import end_leftovers, has_ended
from insource.cli.lifetime import POLL_S, Lifetime, Wanted
from insource.cli.manifests import read_manifests
from insource.cli.state import Layout, State, data_option
from insource.env import Env, system_env

DETACH_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 45.0
INTERRUPTED = 130
"""Exit status when a signal came before everything was ready."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_OURS = (errno.EROFS, errno.EACCES, errno.EPERM)


@click.command()
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Manifests to apply once it runs (may be given more than once).",
)
@click.option("--detach", is_flag=True, help="Return once everything is ready; stop it with `insource down`.")
@click.option(
    "--gateway-port",
    type=click.IntRange(1, 65535),
    help="Port of the gateway on 127.0.0.1.  [default: last time's if it is free, else a free one]",
)
@data_option
def up(files: tuple[Path, ...], detach: bool, gateway_port: int | None, data: Path) -> None:
    """Start the embedded cluster, operator, gateway, ledger and emulated vendors."""
    layout = Layout(data)
    read_manifests(files)  # a file that cannot be read is refused before anything starts
    wanted = Wanted(files, gateway_port)
    with explained(layout):
        if detach:
            start_detached(layout, wanted)
            return
        layout.make()
        with layout.locked():
            env = system_env()
            was_ready = asyncio.run(Lifetime(layout, wanted, Console(), env).run())
    if not was_ready:
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def explained(layout: Layout) -> Iterator[None]:
    """An error of the file system becomes words on what to do about it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in (*_FULL, *_NOT_OURS):
            raise
        path, why = error.filename or layout.data, error.strerror or str(error)
        do = "see to that"
        if error.errno in _FULL:
            do = "make room on its file system"
        elif error.errno in _NOT_OURS:
            do = "make it writable for this user"
        raise click.ClickException(f"{path} cannot be written ({why}): {do}, or choose another --data") from error


@click.command()
@data_option
def down(data: Path) -> None:
    """Stop what `up` started in this data directory; the data stays."""
    layout = Layout(data)
    state = layout.running_state()
    if state is None and layout.is_locked():
        raise click.ClickException(f"`insource up` is just beginning in {layout.data}: try again in a moment")
    if state is None:
        ended = asyncio.run(end_leftovers(layout.data, system_env().clock, click.echo)) if layout.data.exists() else []
        click.echo("stopped" if ended else f"nothing is running in {layout.data}")
        return
    asyncio.run(stop_running(layout, state, system_env()))
    click.echo("stopped")


async def stop_running(layout: Layout, state: State, env: Env) -> None:
    """SIGTERM to the supervisor, and wait until its lock is free and its process gone."""
    try:
        supervisor = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(supervisor, signal.SIGTERM)
        deadline = env.clock.monotonic() + STOP_TIMEOUT_S
        # Note: the lock is free a moment before the process has ended.
        while layout.is_locked() or not has_ended(supervisor):
            if env.clock.monotonic() > deadline:
                # Killing it is safe: the kernel then ends its children (`parenthood`).
                signal.pidfd_send_signal(supervisor, signal.SIGKILL)
                raise click.ClickException(f"pid {state.pid} did not stop in {STOP_TIMEOUT_S:.0f} s and was killed")
            await env.clock.sleep(POLL_S)
    except ProcessLookupError:
        return
    finally:
        os.close(supervisor)


def start_detached(layout: Layout, wanted: Wanted) -> None:
    """Run `insource up` in a session of its own, and return when it is ready or has failed."""
    layout.make()
    with layout.locked():
        pass  # raises, and says where it runs
    arguments = [sys.executable, "-m", "insource", "up", "--data", str(layout.data)]
    for file in wanted.files:
        arguments += ["-f", str(file)]
    if wanted.gateway_port:
        arguments += ["--gateway-port", str(wanted.gateway_port)]
    with (layout.logs / "up.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        asyncio.run(_wait_detached(layout, process, Console(), system_env()))
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        sys.exit(INTERRUPTED)


async def _wait_detached(layout: Layout, process: subprocess.Popen[bytes], console: Console, env: Env) -> None:
    deadline = env.clock.monotonic() + DETACH_TIMEOUT_S
    with console.status("starting") as status:
        while True:
            state = layout.read_state()
            if state is not None and state.pid == process.pid:
                if state.phase == "ready":
                    break
                status.update(state.message or state.phase)
            if process.poll() is not None:
                said = (layout.logs / "up.log").read_text().strip()
                raise click.ClickException(f"`insource up` ended with {process.returncode}:\n{said}")
            if env.clock.monotonic() > deadline:
                process.terminate()
                process.wait()
                raise click.ClickException(f"not ready after {DETACH_TIMEOUT_S:.0f} s; logs: {layout.logs}")
            await env.clock.sleep(POLL_S)
    click.echo((layout.logs / "up.log").read_text().strip())
