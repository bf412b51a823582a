"""One running installation: from nothing to ready, until a signal, and back to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click
from rich.console import Console

from insource.cli.installation import STOP_ORDER, cluster, others, run_dir
from insource.cli.leftovers import MARK, end_leftovers
from insource.cli.local_vendors import LOCAL_VENDORS
from insource.cli.manifests import apply_files
from insource.cli.ports import choose_ports
from insource.cli.seed import LEDGER_TOKEN_SECONDS, seed_cluster, write_credentials, write_ledger_tokens
from insource.cli.state import Layout, State
from insource.cli.supervisor import Ended, Supervisor
from insource.env import Env
from insource.kube.client import ApiError, Client, connect

START_TIMEOUT_S = 60.0
POLL_S = 0.1
GIVE_UP_AFTER = 3
"""A program that ends so often before everything was ready once is not waited for any longer."""
LAST_WORDS_BYTES = 4096
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What the person asked `insource up` for."""

    files: tuple[Path, ...] = ()
    """Manifests to apply once it runs."""
    gateway_port: int | None = None


class Lifetime:
    """Runs one installation. Whoever makes one holds the data directory's lock."""

    def __init__(self, layout: Layout, wanted: Wanted, console: Console, env: Env) -> None:
        """Raises ClickException for a port that is taken, OSError for a directory that cannot be written."""
        self._layout = layout
        self._wanted = wanted
        self._console = console
        self._env = env
        asked = {"gateway": wanted.gateway_port} if wanted.gateway_port else {}
        self._ports, self._moved = choose_ports(layout.ports, asked)
        self._sockets = run_dir(layout)
        mark = {MARK: str(layout.data)}
        self._supervisor = Supervisor(env.clock, self._on_processes, self._on_end, mark)
        self._hopeless: asyncio.Future[str] | None = None
        self._trouble = ""
        """What is known of the program that ended last."""
        self._state_unwritten = False
        self._state = State(
            pid=os.getpid(),
            api_url=f"https://127.0.0.1:{self._ports['api']}",
            gateway_url=self._url("gateway"),
            ledger_url=self._url("ledger"),
            emulator_urls={vendor.name: self._url(vendor.name) for vendor in LOCAL_VENDORS},
            agent_url=self._url("agent"),
            run_dir=str(self._sockets),
            ledger_reader_token_file=str(layout.reader_ledger_token),
        )

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    async def run(self) -> bool:
        """Start, and stay until SIGINT or SIGTERM; leave no process, port or socket. Was it ready before that?

        Raises ClickException if it cannot be started.
        """
        stopped = asyncio.Event()
        self._hopeless = asyncio.get_running_loop().create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        try:
            self._layout.write_state(self._state)
            work = asyncio.create_task(self._start_and_stay())
            stop = asyncio.create_task(stopped.wait())
            await asyncio.wait((work, stop, self._hopeless), return_when=asyncio.FIRST_COMPLETED)
            ready = self._state.phase == "ready"
            if work.done():
                work.result()
            for task in (stop, work):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            if self._hopeless.done() and not stopped.is_set():
                raise click.ClickException(self._hopeless.result())
            return ready
        finally:
            self._write(phase="stopping", message="stopping")
            await self._supervisor.stop_all(STOP_ORDER)
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._layout.state.unlink(missing_ok=True)

    async def _start_and_stay(self) -> None:
        layout = self._layout
        with self._console.status("starting") as status:

            def tell(message: str) -> None:
                status.update(message)
                self._write(message=message)

            await end_leftovers(layout.data, self._env.clock, self._say)
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets.mkdir(mode=0o700, parents=True)
            write_credentials(layout, self._state.api_url, self._env)
            tell("starting the embedded cluster")
            self._supervisor.start(cluster(layout, self._ports, self._sockets))
            tls = ssl.create_default_context(cafile=str(layout.ca))
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
                await self._wait_ready(session, {"cluster": f"{self._state.api_url}/readyz"}, tell)
                client = await connect(str(layout.kubeconfig), self._env)
                try:
                    await self._bring_up(client, session, tell)
                    status.stop()
                    announce(layout, self._state, self._console)
                    # After the words: who waits for this phase shows them.
                    self._write(phase="ready", message="")
                    await self._renew_tokens(client)
                finally:
                    await client.close()

    async def _bring_up(self, client: Client, session: aiohttp.ClientSession, tell: Tell) -> None:
        """Everything that needs the API server, until all of it is ready."""
        layout = self._layout
        tell("seeding")
        try:
            await seed_cluster(client, layout, self._state.emulator_urls)
            await write_ledger_tokens(client, layout)
        except ApiError as error:
            raise click.ClickException(f"the embedded cluster refused what `up` seeds: {error.message}") from error
        for program in others(layout, self._ports, self._sockets):
            self._supervisor.start(program)
        await self._wait_ready(session, self._checks(), tell)
        for moved in self._moved:
            if moved.name == "gateway":
                by = f" by {moved.owner}" if moved.owner else ""
                self._say(
                    f"port {moved.before}, the gateway's of last time, is taken{by}: it listens on {moved.after} now; "
                    "`--gateway-port` asks for a certain one"
                )
        if self._wanted.files:
            tell("applying manifests")
            await apply_files(client, self._wanted.files)

    def _checks(self) -> dict[str, str]:
        return {
            "ledger": f"{self._state.ledger_url}/readyz",
            **{f"emulator of {name}": f"{url}/readyz" for name, url in self._state.emulator_urls.items()},
            "operator": f"{self._url('operator')}/readyz",
            "gateway": f"{self._state.agent_url}/readyz",
        }

    async def _wait_ready(self, session: aiohttp.ClientSession, checks: dict[str, str], tell: Tell) -> None:
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
                trouble = f"\n{self._trouble}" if self._trouble else ""
                raise click.ClickException(
                    f"not ready after {START_TIMEOUT_S:.0f} s: {', '.join(waiting)}; see {self._layout.logs}{trouble}"
                )
            await self._env.clock.sleep(POLL_S)

    async def _renew_tokens(self, client: Client) -> None:
        """Keep the ledger tokens fresh; this is also how `up` spends its life."""
        while True:
            await self._env.clock.sleep(LEDGER_TOKEN_SECONDS / 4)
            try:
                await write_ledger_tokens(client, self._layout)
            except Exception as error:  # the API server may be restarting: the present ones are good for a while yet
                self._say(f"renewing the ledger tokens failed, trying again later: {error}")

    def _on_processes(self, pids: dict[str, int]) -> None:
        self._write(processes=pids)

    def _on_end(self, ended: Ended) -> None:
        name, log = ended.program.name, ended.program.log
        times = "" if ended.times == 1 else f" ({ended.times} times by now)"
        self._say(f"{name} {ended.how}{times}; starting it again in {ended.pause_s:.1f} s; its log: {log}")
        self._trouble = f"{name} does not start: {last_words(log) or ended.how}\nits log: {log}"
        if ended.times >= GIVE_UP_AFTER and self._state.phase == "starting":
            assert self._hopeless is not None
            if not self._hopeless.done():
                self._hopeless.set_result(self._trouble)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _write(self, **changes: object) -> None:
        """Changes the state for the other commands. Where that is impossible the installation runs on, and says so."""
        self._state = self._state.model_copy(update=changes)
        try:
            self._layout.write_state(self._state)
        except OSError as error:
            if not self._state_unwritten:
                self._say(f"{self._layout.state} cannot be written ({error.strerror}): the other commands may miss us")
            self._state_unwritten = True
        else:
            self._state_unwritten = False


def last_words(log: Path) -> str:
    """The last line that a program has written; empty if none can be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "").removeprefix("Error: ")


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


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
