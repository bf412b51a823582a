"""kubectl and helm as a person has them, for one cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.node.images import ROOT
from tests.node.packages import call
from tests.node.places import NodeError

PATIENCE_S = 180.0


def until(ready: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Raises AssertionError with the last answer when the time is over. An error of kubectl counts as not yet."""
    end, last = time.monotonic() + seconds, ""
    while True:
        try:
            if found := ready():
                return
            last = repr(found)
        except (NodeError, OSError) as error:
            last = str(error)
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s; last: {last}"
        time.sleep(0.1)


@dataclass(frozen=True)
class Kubectl:
    """As the kubeconfig's user."""

    kubeconfig: Path

    def environment(self) -> dict[str, str]:
        path = f"{ROOT / '.venv/bin'}:{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}

    def command(self, *words: str) -> list[str]:
        program = shutil.which("kubectl", path=self.environment()["PATH"])
        assert program is not None, "kubectl is not on PATH: `make` puts it into .venv/bin"
        return [program, *words]

    def __call__(self, *words: str, given: str | None = None) -> str:
        """What it says. Raises NodeError with its words."""
        return call(self.command(*words), f"kubectl {' '.join(words)}", env=self.environment(), input=given)

    def apply(self, *documents: dict[str, Any]) -> None:
        self("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def execute(self, namespace: str, pod: str, *command: str) -> str:
        return self("exec", "-n", namespace, pod, "--", *command)

    def refused(self, *words: str, given: str | None = None) -> str:
        """What it says when it fails, which it must."""
        done = subprocess.run(
            self.command(*words), env=self.environment(), input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0, f"kubectl {' '.join(words)} did not fail: {done.stdout}"
        return done.stderr

    def pods(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        found = self.json("get", "pods", "-n", namespace, *(["-l", selector] if selector else []))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        return [pod for pod in self.pods(namespace, selector) if is_true(pod, "Ready")]


def is_true(thing: dict[str, Any], condition: str) -> bool:
    conditions: Sequence[dict[str, Any]] = thing.get("status", {}).get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


class Forward:
    """`kubectl port-forward` to one pod of a Service, on a free port of this machine, until `close`."""

    def __init__(self, kubectl: Kubectl, namespace: str, service: str, port: int) -> None:
        # Its words go to a file: a pipe that nobody reads would stop it.
        with tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                kubectl.command("port-forward", "-n", namespace, f"service/{service}", f":{port}"),
                env=kubectl.environment(), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip

            def heard() -> str:
                # Not by a seek: the position is the program's, too.
                return os.pread(said.fileno(), 1 << 16, 0).decode()

            until(lambda: "Forwarding from 127.0.0.1:" in heard() or not self.lives(), "a forwarded port", 60)
            found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", heard())
            assert found, f"kubectl port-forward to {service}: {heard()}"
            self.url = f"http://127.0.0.1:{found[1]}"

    def lives(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
