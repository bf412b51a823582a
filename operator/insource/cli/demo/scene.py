"""What every step of the demo shares: the console, the running installation, kubectl, the ledger, and what was seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from insource.cli.installation import package_file
from insource.cli.state import Layout, State
from insource.env import Clock

NAMESPACE = "voice"
NAME = "dictation"
POLL_S = 0.2


class DemoFailure(click.ClickException):
    """Something that the demo promises did not happen."""


@dataclass
class Scene:
    """The stage on which the steps play."""

    console: Console
    layout: Layout
    clock: Clock
    seen: dict[str, Any] = field(default_factory=dict)
    """What goes to `demo.json`."""

    @property
    def state(self) -> State:
        """The installation's present state."""
        return self.layout.require_running()

    @property
    def examples(self) -> Path:
        """The folder of examples that ship with the project."""
        return package_file("examples")

    @property
    def clips(self) -> list[Path]:
        """The five LibriVox clips, in reading order; each has its transcript beside it as `.txt`."""
        return sorted((self.examples / "audio").glob("*.wav"))

    def say(self, text: str) -> None:
        """One line of narration."""
        self.console.print(text, highlight=False)

    def expect(self, happened: bool, failure: str) -> None:
        """Go on only if `happened`."""
        if not happened:
            raise DemoFailure(failure)

    def kubectl(self, *arguments: str) -> str:
        """Run the real kubectl against the embedded cluster; its output, or its error as ours."""
        command = [kubectl_path(), "--kubeconfig", str(self.layout.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.expect(done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get ... -o json`, parsed."""
        answer: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return answer

    def ledger(self, path: str, **query: str) -> dict[str, Any]:
        """One read from the ledger."""
        token = self.layout.reader_ledger_token.read_text().strip()
        url = f"{self.state.ledger_url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    async def wait(self, what: str, check: Callable[[], str | None], *, timeout_s: float) -> None:
        """Poll until `check` returns None; meanwhile show the reason that it returns."""
        deadline = self.clock.monotonic() + timeout_s
        reason: str | None = "starting"
        with self.console.status(what) as status:
            while (reason := check()) is not None:
                if self.clock.monotonic() > deadline:
                    raise DemoFailure(f"{what}: not after {timeout_s:.0f} s: {reason}. Logs: {self.layout.logs}")
                status.update(f"{what}: [dim]{reason}[/dim]")
                await self.clock.sleep(POLL_S)


def kubectl_path() -> str:
    """The kubectl that `make` put beside this Python, or the user's own."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise DemoFailure("kubectl is missing: run `make demo`, which installs it, or put one on the PATH")
    return found
