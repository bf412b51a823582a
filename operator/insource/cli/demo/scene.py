"""What every step of the demo shares: the console, the running installation, kubectl, the ledger, and what was seen."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from insource.cli.installation import package_file
from insource.cli.state import Layout, State
from insource.env import Clock

NAMESPACE = "voice"
NAME = "dictation"
POLL_S = 0.2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Example:
    """One file in `examples/` and the ModelDeployment that it has."""

    file: str
    name: str


TRANSCRIPTION = Example("transcription.yaml", NAME)
SPEECH = Example("speech.yaml", "narration")
IMAGE = Example("image.yaml", "pictures")
TRANSCRIPTION_MAI = Example("transcription-mai.yaml", "dictation-mai")
SPEECH_MAI = Example("speech-mai.yaml", "narration-mai")
IMAGE_MAI = Example("image-mai.yaml", "pictures-mai")
CODE = Example("code-completion.yaml", "code")
RETRIEVAL = Example("retrieval.yaml", "retrieval")


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
    requests: list[str] = field(default_factory=list)
    """Ids of the requests that were served: the ledger must come to know each."""

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

    @property
    def folder(self) -> Path:
        """Where sounds and pictures are saved; made when it is not there. Seen from the current folder, if below it."""
        found, here = self.layout.data / "demo", Path.cwd()
        found.mkdir(parents=True, exist_ok=True)
        return found.relative_to(here) if found.is_relative_to(here) else found

    @property
    def shows_pictures(self) -> bool:
        """Whether blocks in colour make sense where this is printed."""
        return self.console.is_terminal or self.console.record

    def client(self, example: Example) -> Any:
        """The OpenAI SDK, pointed at the gateway. Its own retries are off, so that each request is one request."""
        from openai import OpenAI

        return OpenAI(
            base_url=f"{self.state.gateway_url}/{NAMESPACE}/{example.name}/v1",
            api_key=self.layout.api_key.read_text().strip(),
            max_retries=0,
            timeout=60,
        )

    def served(self, raw: Any) -> str:
        """Remember a raw answer of the SDK as one that the ledger must know; the request's id."""
        request_id = str(raw.headers.get("x-request-id", ""))
        self.expect(bool(request_id), "an answer has no x-request-id")
        self.requests.append(request_id)
        return request_id

    async def work(self, what: str, job: Callable[[], Result]) -> tuple[Result, float]:
        """Do something that blocks, and say what meanwhile: its result, and the seconds that it took."""
        import openai

        started = self.clock.monotonic()
        with self.console.status(what):
            try:
                result = await asyncio.to_thread(job)
            except openai.OpenAIError as error:
                raise DemoFailure(f"{what}: {error}. Logs: {self.layout.logs}") from None
        return result, self.clock.monotonic() - started

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
