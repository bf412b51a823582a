"""The product on the node as a customer has it: the chart, a client's key, a ModelDeployment, the OpenAI SDK."""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from openai import OpenAI, OpenAIError

from tests import audio
from tests.node.cluster import Images
from tests.node.images import ROOT
from tests.node.kubectl import Kubectl, is_true, until
from tests.node.packages import call

CHART = ROOT / "charts/insource"
NAMESPACE = "insource-system"
VOICE = "voice"
INSTALL_S = 300.0
REQUEST_S = 330.0


def values(images: Images) -> dict[str, Any]:
    """The defaults, but for the images and for a machine of two processors."""
    small = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}

    def image(target: str) -> dict[str, str]:
        repository, _, tag = images.name(target).rpartition(":")
        return {"repository": repository, "tag": tag}

    return {
        "image": image("insource"),
        "serversImage": image("servers"),
        "operator": {"resources": small},
        "ledger": {"resources": small, "persistence": {"size": "100Mi"}},
        "gateway": {
            "image": image("gateway"),
            "concurrency": 1,
            "resources": {"agent": small, "envoy": small},
            "drain": {"settleSeconds": 3, "limitSeconds": 330},
        },
    }


def deployment(name: str = "dictation") -> dict[str, Any]:
    """Whisper tiny.en on the processor, and no vendor."""
    in_house = {"model": "whisper-tiny-en", "accelerator": {"class": "cpu"}}
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": VOICE},
        "spec": {
            "modality": "Transcription",
            "backends": [{"name": "inhouse", "inHouse": in_house}],
            "traffic": {"primary": "inhouse", "requestTimeout": "5m"},
        },
    }


@dataclass
class Release:
    """One installation. `folder` holds the values that were given."""

    kubectl: Kubectl
    images: Images
    folder: Path
    name: str = "insource"
    key: str = field(default_factory=lambda: f"sk-{secrets.token_hex(24)}")

    def helm(self, *words: str) -> str:
        environment = self.kubectl.environment()
        return call(["helm", *words, "--namespace", NAMESPACE], f"helm {words[0]}", env=environment)

    def install(self, *changed: str) -> None:
        """As docs/install.md has it, with `changed` as `name=value`; the same command upgrades."""
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(values(self.images)))
        words = ["--install", "--create-namespace", "-f", str(file), "--wait", "--timeout", f"{INSTALL_S:.0f}s"]
        words += [word for each in changed for word in ("--set", each)]
        self.helm("upgrade", self.name, str(CHART), *words)

    def add_client(self) -> None:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "client-tests",
                "namespace": NAMESPACE,
                "labels": {"insource.dev/client": "tests"},
                "annotations": {"insource.dev/namespaces": VOICE},
            },
            "stringData": {"key": self.key},
        }
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        voice = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": VOICE, "labels": labels}}
        self.kubectl.apply(secret, voice)

    def wait_ready(self, name: str = "dictation") -> None:
        def ready() -> bool | str:
            found = self.kubectl.json("get", "modeldeployment", name, "-n", VOICE)
            return is_true(found, "Ready") or json.dumps(found.get("status", {}))[:2000] == ""

        until(ready, f"{name} is Ready")

    @cached_property
    def gateway(self) -> str:
        """Its Service's address, as this machine reaches it."""
        spec = self.kubectl.json("get", "service", "insource-gateway", "-n", NAMESPACE)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def client(self, name: str = "dictation") -> OpenAI:
        """The SDK as a customer has it, but without its own retries: what fails is seen."""
        url = f"{self.gateway}/{VOICE}/{name}/v1"
        return OpenAI(base_url=url, api_key=self.key, max_retries=0, timeout=REQUEST_S)

    def transcribe(self, wav: bytes, name: str = "dictation") -> tuple[str, str]:
        """What was said, and the request's id. Raises OpenAIError."""
        with self.client(name) as client:
            raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=("a.wav", wav))
            return raw.parse().text, raw.headers["x-request-id"]

    def ledger(self, path: str, **query: str) -> Any:
        """What it answers to a reader of the system's namespace, asked through the API server of no one: directly."""
        spec = self.kubectl.json("get", "service", "insource-ledger", "-n", NAMESPACE)["spec"]
        token = self.kubectl(
            "create", "token", "insource-operator", "-n", NAMESPACE, "--audience", "insource-ledger"
        ).strip()
        url = f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def pod(self, selector: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        """One that is Ready."""
        return self.kubectl.ready_pods(namespace, selector)[0]


SHORT = audio.clip("0880").wav.read_bytes()
LONG_CLIPS = 4


@dataclass
class Answer:
    """One request's end; `error` is '' if it was answered."""

    began: float
    ended: float = 0.0
    text: str = ""
    request_id: str = ""
    error: str = ""


class Traffic:
    """One client with short requests, one after the other, and one request of 100 s of speech in flight."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.short: list[Answer] = []
        self.long = Answer(time.monotonic())

    def __enter__(self) -> Traffic:
        wav = audio.joined(LONG_CLIPS)
        self._threads = [
            threading.Thread(target=self._ask, args=(wav, self.long), daemon=True),
            threading.Thread(target=self._ask_on, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        until(lambda: self.short and self.short[0].ended, "a first short answer")
        assert not self.long.ended, f"the long request is not in flight any more: {self.long}"
        return self

    def finish(self) -> None:
        """Waits for the long one and for one more short one."""
        until(lambda: self.long.ended, "the long request's end", REQUEST_S + 30)
        count = len(self.short)
        until(lambda: len(self.short) > count and self.short[-2].ended, "another short answer", REQUEST_S + 30)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_S + 30)

    def failures(self) -> list[Answer]:
        return [each for each in (self.long, *self.short) if each.error]

    def answered(self) -> set[str]:
        """Ids of the requests that a client has an answer of."""
        return {each.request_id for each in (self.long, *self.short) if each.request_id}

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            answer = Answer(time.monotonic())
            self.short.append(answer)
            self._ask(SHORT, answer)
            self._stop.wait(0.1)

    def _ask(self, wav: bytes, answer: Answer) -> None:
        try:
            answer.text, answer.request_id = self._release.transcribe(wav)
        except OpenAIError as error:
            answer.error = f"{type(error).__name__}: {error} ({error.__cause__})"
        answer.ended = time.monotonic()
