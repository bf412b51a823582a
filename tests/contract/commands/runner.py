"""Runs a scenario's commands with the real programs against one API server."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.contract.commands.acts import act
from tests.contract.commands.scenario import HERE, Act, Command, Scenario, Step
from tests.contract.commands.transcript import Ended, render
from tests.servers import ApiServer

PROGRAMS = Path(sys.executable).parent
FILES = HERE / "files"
DEADLINE_S = 90.0
POLL_S = 0.01


def answers(api: ApiServer, scenario: Scenario, folder: Path) -> list[str]:
    """What each of the scenario's commands printed, rendered. `folder` is empty and the scenario's own."""
    runner = Runner(api, scenario, folder)
    with api.namespace(scenario.namespace):
        act(api, scenario.namespace, Act("namespace-ready", ()))
        runner.steps(scenario.steps)
    return [render(ended) for ended in runner.ended()]


@dataclass
class Runner:
    """One scenario on one server; its programs keep their caches and settings in `folder`."""

    api: ApiServer
    scenario: Scenario
    folder: Path
    _running: list[_Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._work = self.folder / "work"
        shutil.copytree(FILES, self._work)
        shutil.copyfile(self.api.credentials.certificate, self._work / "tls.crt")
        shutil.copyfile(self.api.credentials.key, self._work / "tls.key")

    def steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, Act):
                act(self.api, self.scenario.namespace, step)
            else:
                self._run(step)

    def ended(self) -> list[Ended]:
        return [each.ended() for each in self._running]

    def _run(self, command: Command) -> None:
        program, *arguments = shlex.split(command.line)
        process = subprocess.Popen(
            [PROGRAMS / program, *arguments],
            cwd=self._work,
            env={**self._environment(), **self._editor(command), **command.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = _Running(command, process)
        self._running.append(running)
        running.begin()
        try:
            running.wait_lines(command.after_lines)
            self.steps(command.meanwhile)
            if command.until_lines:
                running.wait_lines(command.until_lines)
                running.stop()
            running.wait()
        finally:
            running.end()

    def _environment(self) -> dict[str, str]:
        home = self.folder / "home"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TZ": "UTC",
            "LC_ALL": "C",
            "KUBECONFIG": str(self.api.kubeconfig(namespace=self.scenario.namespace)),
            "KUBECACHEDIR": str(home / "kube-cache"),
            "HELM_CACHE_HOME": str(home / "helm-cache"),
            "HELM_CONFIG_HOME": str(home / "helm-config"),
            "HELM_DATA_HOME": str(home / "helm-data"),
            "TMPDIR": str(self.folder),
        }

    def _editor(self, command: Command) -> dict[str, str]:
        return {"KUBE_EDITOR": f"sed -i {shlex.quote(command.editor)}"} if command.editor else {}


@dataclass
class _Running:
    """A started command and what it has printed so far."""

    command: Command
    process: subprocess.Popen[str]
    stopped: bool = False
    _out: list[str] = field(default_factory=list)
    _err: list[str] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)
    _deadline: float = field(default_factory=lambda: time.monotonic() + DEADLINE_S)

    def begin(self) -> None:
        for stream, lines in ((self.process.stdout, self._out), (self.process.stderr, self._err)):
            reader = threading.Thread(target=_collect, args=(stream, lines), daemon=True)
            reader.start()
            self._readers.append(reader)
        assert self.process.stdin is not None
        self.process.stdin.write(self.command.stdin)
        self.process.stdin.close()

    def wait_lines(self, number: int) -> None:
        """Until it has printed so many lines. Raises AssertionError if it ends or the time is up before."""
        while len(self._out) < number:
            over = self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers)
            assert not over, f"{self.command.line} ended after {len(self._out)} lines: {self._out} {self._err}"
            self._in_time()
            time.sleep(POLL_S)

    def wait(self) -> None:
        while self.process.poll() is None:
            self._in_time()
            time.sleep(POLL_S)

    def _in_time(self) -> None:
        in_time = time.monotonic() < self._deadline
        assert in_time, f"{self.command.line}: not done in {DEADLINE_S:.0f} s: {self._out} {self._err}"

    def stop(self) -> None:
        self.stopped = True
        self.process.terminate()

    def end(self) -> None:
        """Whatever has happened, nothing of it is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def ended(self) -> Ended:
        code = None if self.stopped else self.process.returncode
        return Ended(self.command.line, "".join(self._out), "".join(self._err), code)


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    assert stream is not None
    with stream:
        for line in stream:  # one by one: others count them
            lines.append(line)
