"""Drives `insource up` and what it started, as a person would: by its commands, kubectl and HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CLIPS = sorted((EXAMPLES / "audio").glob("*.wav"))
KUBECTL = str(Path(sys.executable).with_name("kubectl"))


class Installation:
    """A data directory and the commands on it."""

    def __init__(self, data: Path, environment: dict[str, str] | None = None) -> None:
        self.data = data
        self.environment = {**os.environ, **(environment or {}), "INSOURCE_DATA": str(data), "NO_COLOR": "1"}

    def command(self, *arguments: str, check: bool = True, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "insource", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"insource {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done

    def up(self, *arguments: str) -> str:
        return self.command("up", "--detach", *arguments).stdout

    def down(self) -> None:
        self.command("down")

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.data / "state.json").read_text())

    @property
    def api_key(self) -> str:
        return (self.data / "api-key").read_text().strip()

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [
                KUBECTL,
                "--kubeconfig",
                str(self.data / "kubeconfig"),
                "--cache-dir",
                str(self.data / "kubectl"),
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def get(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        # Documents, not a List: kubectl knows how to validate a List only by an old way that our API server has not.
        self.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def condition(self, name: str, type_: str, namespace: str = "voice") -> dict[str, Any]:
        status = self.get("mdep", name, "-n", namespace).get("status", {})
        return next((c for c in status.get("conditions", []) if c["type"] == type_), {})

    def wait_ready(self, name: str, namespace: str = "voice", timeout_s: float = 150) -> None:
        def ready() -> bool:
            found = self.get("mdep", name, "-n", namespace)
            condition = next((c for c in found.get("status", {}).get("conditions", []) if c["type"] == "Ready"), {})
            return condition.get("status") == "True" and (
                condition.get("observedGeneration") == found["metadata"]["generation"]
            )

        eventually(ready, timeout_s=timeout_s, what=lambda: f"{name} Ready: {self.condition(name, 'Ready', namespace)}")

    def url(self, name: str, namespace: str = "voice") -> str:
        return f"{self.state['gateway_url']}/{namespace}/{name}/v1"

    def post(
        self,
        name: str,
        *,
        audio: bytes = b"",
        filename: str = "a.wav",
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        key: str | None = None,
        path: str = "/audio/transcriptions",
        namespace: str = "voice",
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.api_key if key is None else key}"} if key != "" else {}
        return httpx.post(
            self.url(name, namespace) + path,
            headers={**sent, **(headers or {})},
            files={"file": (filename, audio)},
            data={"model": "whisper-1", **(fields or {})},
            timeout=120,
        )

    def ledger(self, path: str, **query: str) -> dict[str, Any]:
        token = Path(self.state["ledger_reader_token_file"]).read_text().strip()
        answer = httpx.get(
            self.state["ledger_url"] + path, params=query, headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def emulator_meter(self, vendor: str = "openai") -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.state['emulator_urls'][vendor]}/emulator/meter", timeout=30).json()
        return found


def eventually(check: Callable[[], bool], *, timeout_s: float, what: str | Callable[[], str] = "") -> None:
    """Wait until `check` holds; fail with `what` if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.1)


def stub_runtime(**environment: str) -> dict[str, Any]:
    """An InferenceRuntime around the stub server: the wire format at any rate, no model behind it."""
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "InferenceRuntime",
        "metadata": {"name": "stub"},
        "spec": {
            "modalities": ["Transcription"],
            "image": "insource/insource:local",
            "command": ["insource", "server", "stub"],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "port": 8000,
            "healthPath": "/health",
            "apiPrefix": "/v1",
            "slots": 64,
        },
    }


def stub_model() -> dict[str, Any]:
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "CatalogModel",
        "metadata": {"name": "stub-model"},
        "spec": {
            "modality": "Transcription",
            "publisher": "tests",
            "version": "1",
            "licence": "Apache-2.0",
            "sources": [{"runtime": "stub", "uri": "package://insource"}],
        },
    }


def deployment(
    name: str, *, model: str = "stub-model", replicas: int = 1, spill: bool = True, **spec: Any
) -> dict[str, Any]:
    """A ModelDeployment in namespace voice: in-house primary, the emulated vendor as spill."""
    traffic: dict[str, Any] = {"primary": "inhouse"}
    if spill:
        traffic["spill"] = {"backend": "openai", "dailyLimit": "100"}
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "voice"},
        "spec": {
            "modality": "Transcription",
            "replicas": replicas,
            "backends": [
                {"name": "inhouse", "inHouse": {"model": model, "accelerator": {"class": "cpu"}}},
                {"name": "openai", "vendor": {"name": "openai", "model": "whisper-1"}},
            ],
            "traffic": traffic,
            **spec,
        },
    }
