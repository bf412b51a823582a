"""`insource up` and `insource down`: a whole installation on this machine, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import click
from rich.console import Console

from insource.cli.installation import STOP_ORDER, cluster, others, run_dir
from insource.cli.manifests import apply_files, read_manifests
from insource.cli.ports import choose_ports
from insource.cli.seed import LEDGER_TOKEN_SECONDS, seed_cluster, write_credentials, write_ledger_tokens
from insource.cli.state import Layout, State, data_option
from insource.cli.supervisor import Supervisor
from insource.env import Env, system_env
from insource.kube.client import Client, connect

START_TIMEOUT_S = 60.0
DETACH_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 45.0
POLL_S = 0.1


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
@data_option
def up(files: tuple[Path, ...], detach: bool, data: Path) -> None:
    """Start the embedded cluster, operator, gateway, ledger and vendor emulator."""
    layout = Layout(data)
    read_manifests(files)  # a file that cannot be read is refused before anything starts
    if detach:
        start_detached(layout, files)
        return
    layout.make()
    with layout.locked():
        asyncio.run(Installation(layout, Console(), system_env()).run(files))


@click.command()
@data_option
def down(data: Path) -> None:
    """Stop what `up` started in this data directory; the data stays."""
    layout = Layout(data)
    state = layout.running_state()
    if state is None:
        click.echo(f"nothing is running in {layout.data}")
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
        while layout.is_locked() or not _has_ended(supervisor):
            if env.clock.monotonic() > deadline:
                # Killing it is safe: the kernel then ends its children (`parenthood`).
                signal.pidfd_send_signal(supervisor, signal.SIGKILL)
                raise click.ClickException(f"pid {state.pid} did not stop in {STOP_TIMEOUT_S:.0f} s and was killed")
            await env.clock.sleep(POLL_S)
    except ProcessLookupError:
        return
    finally:
        os.close(supervisor)


def _has_ended(process: int) -> bool:
    """Whether the process behind this pidfd is over."""
    return bool(select.select([process], [], [], 0)[0])


def start_detached(layout: Layout, files: tuple[Path, ...]) -> None:
    """Run `insource up` in a session of its own, and return when it is ready or has failed."""
    if layout.running_state() is not None:
        with layout.locked():  # raises, and says where it runs
            return
    layout.make()
    layout.state.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "insource", "up", "--data", str(layout.data)]
    for file in files:
        arguments += ["-f", str(file)]
    with (layout.logs / "up.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    asyncio.run(_wait_detached(layout, process, Console(), system_env()))


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
                raise click.ClickException(f"not ready after {DETACH_TIMEOUT_S:.0f} s; logs: {layout.logs}")
            await env.clock.sleep(POLL_S)
    announce(layout, state, console)


def announce(layout: Layout, state: State, console: Console) -> None:
    """Tell a person how to use what runs now."""
    key = layout.api_key.read_text().strip()
    console.print(f"gateway     {state.gateway_url}", highlight=False, soft_wrap=True)
    console.print(f"kubeconfig  {layout.kubeconfig}", highlight=False, soft_wrap=True)
    console.print(f"API key     {key}", highlight=False, soft_wrap=True)
    console.print(
        f'[dim]shell: eval "$(insource env --data {layout.data})"; stop: insource down --data {layout.data}[/dim]',
        highlight=False,
        soft_wrap=True,
    )


class Installation:
    """One running installation: from nothing to ready, until a signal, and back to nothing."""

    def __init__(self, layout: Layout, console: Console, env: Env) -> None:
        self._layout = layout
        self._console = console
        self._env = env
        self._ports = choose_ports(layout.ports)
        self._sockets = run_dir(layout)
        self._supervisor = Supervisor(env.clock, self._on_processes)
        self._state = State(
            pid=os.getpid(),
            api_url=f"https://127.0.0.1:{self._ports['api']}",
            gateway_url=self._url("gateway"),
            ledger_url=self._url("ledger"),
            emulator_url=self._url("emulator"),
            agent_url=self._url("agent"),
            run_dir=str(self._sockets),
            ledger_reader_token_file=str(layout.reader_ledger_token),
        )

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    async def run(self, files: tuple[Path, ...]) -> None:
        """Start, apply `files`, and stay until SIGINT or SIGTERM; leave no process, port or socket."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets.mkdir(mode=0o700, parents=True)
        try:
            work = asyncio.create_task(self._start_and_stay(files))
            stop = asyncio.create_task(stopped.wait())
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            stop.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            self._write(phase="stopping", message="stopping")
            await self._supervisor.stop_all(STOP_ORDER)
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._layout.state.unlink(missing_ok=True)

    async def _start_and_stay(self, files: tuple[Path, ...]) -> None:
        layout = self._layout
        write_credentials(layout, self._state.api_url, self._env)
        with self._console.status("starting") as status:

            def tell(message: str) -> None:
                status.update(message)
                self._write(message=message)

            tell("starting the embedded cluster")
            self._supervisor.start(cluster(layout, self._ports, self._sockets))
            tls = ssl.create_default_context(cafile=str(layout.ca))
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
                await self._wait_ready(session, {"cluster": f"{self._state.api_url}/readyz"}, tell)
                client = await connect(str(layout.kubeconfig), self._env)
                try:
                    tell("seeding")
                    await seed_cluster(client, layout, self._state.emulator_url)
                    await write_ledger_tokens(client, layout)
                    for program in others(layout, self._ports, self._sockets):
                        self._supervisor.start(program)
                    await self._wait_ready(session, self._checks(), tell)
                    if files:
                        tell("applying manifests")
                        await apply_files(client, files)
                    self._write(phase="ready", message="")
                    status.stop()
                    announce(layout, self._state, self._console)
                    await self._renew_tokens(client)
                finally:
                    await client.close()

    def _checks(self) -> dict[str, str]:
        return {
            "ledger": f"{self._state.ledger_url}/readyz",
            "emulator": f"{self._state.emulator_url}/readyz",
            "operator": f"{self._url('operator')}/readyz",
            "gateway": f"{self._state.agent_url}/readyz",
        }

    async def _wait_ready(self, session: aiohttp.ClientSession, checks: dict[str, str], tell: object) -> None:
        assert callable(tell)
        deadline = self._env.clock.monotonic() + START_TIMEOUT_S
        waiting = dict(checks)
        while waiting:
            tell("waiting for " + ", ".join(waiting))
            for name, url in list(waiting.items()):
                if await _answers(session, url):
                    del waiting[name]
            if not waiting:
                return
            if self._env.clock.monotonic() > deadline:
                raise click.ClickException(
                    f"not ready after {START_TIMEOUT_S:.0f} s: {', '.join(waiting)}; see {self._layout.logs}"
                )
            await self._env.clock.sleep(POLL_S)

    async def _renew_tokens(self, client: Client) -> None:
        """Keep the ledger tokens fresh; this is also how `up` spends its life."""
        while True:
            await self._env.clock.sleep(LEDGER_TOKEN_SECONDS / 4)
            try:
                await write_ledger_tokens(client, self._layout)
            except Exception as error:  # the API server may be restarting: the present ones are good for a while yet
                self._console.print(f"renewing the ledger tokens failed, trying again later: {error}")

    def _on_processes(self, pids: dict[str, int]) -> None:
        self._write(processes=pids)

    def _write(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)
        self._layout.write_state(self._state)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
