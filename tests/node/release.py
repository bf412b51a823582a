"""The product on the node as a customer has it: the chart, a client's key, a ModelDeployment, the OpenAI SDK."""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from openai import OpenAI, OpenAIError

from tests import audio
from tests.node.cluster import Images
from tests.node.images import ROOT
from tests.node.kubectl import Forward, Kubectl, is_true, until
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


def component(name: str) -> str:
    """The selector of a program's pods."""
    return f"app.kubernetes.io/name=insource,app.kubernetes.io/component={name}"


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


SLOW = "slow"
SLOW_S = 60
SLOW_PER_AUDIO_S = 2


def slow_deployment(images: Images) -> list[dict[str, Any]]:
    """One whose `SLOW_SPEECH` takes `SLOW_S` on any machine: the stub server waits as long, and recognises nothing."""
    version = "insource.dev/v1alpha1"
    runtime = {
        "modalities": ["Transcription"],
        "image": images.name("servers"),
        "command": ["insource", "server", "stub"],
        # Not longer for any request: its warm-up has a second of audio, and would never end in time.
        "env": [{"name": "STUB_DELAY_MS_PER_AUDIO_S", "value": str(SLOW_PER_AUDIO_S * 1000)}],
        "port": 8000,
        "healthPath": "/health",
        "apiPrefix": "/v1",
        "slots": 2,
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }
    model = {"modality": "Transcription", "sources": [{"runtime": SLOW, "uri": "package://insource"}]}
    wanted = deployment(SLOW)
    wanted["spec"]["backends"][0]["inHouse"]["model"] = SLOW
    return [
        {"apiVersion": version, "kind": "InferenceRuntime", "metadata": {"name": SLOW}, "spec": runtime},
        {"apiVersion": version, "kind": "CatalogModel", "metadata": {"name": SLOW}, "spec": model},
        wanted,
    ]


@dataclass
class Release:
    """One installation. `folder` holds the values that were given."""

    kubectl: Kubectl
    images: Images
    folder: Path
    routed: bool = True
    name: str = "insource"
    key: str = field(default_factory=lambda: f"sk-{secrets.token_hex(24)}")
    _forwards: dict[str, Forward] = field(default_factory=dict)

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

    def address(self, service: str) -> str:
        """A Service of the release as this machine reaches it: by its own address, or by a forwarded port."""
        if self.routed:
            spec = self.kubectl.json("get", "service", service, "-n", NAMESPACE)["spec"]
            return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"
        return self.forwarded(service)

    def forwarded(self, service: str) -> str:
        """By a forwarded port: through no policy, as what a person's tool does."""
        found = self._forwards.get(service)
        if found is None or not found.lives():
            port = self.kubectl.json("get", "service", service, "-n", NAMESPACE)["spec"]["ports"][0]["port"]
            found = self._forwards[service] = Forward(self.kubectl, NAMESPACE, service, port)
        return found.url

    def disconnect(self) -> None:
        """Forgets where Services were: the next request finds them again."""
        self.__dict__.pop("gateway", None)
        while self._forwards:
            self._forwards.popitem()[1].close()

    @cached_property
    def gateway(self) -> str:
        return self.address("insource-gateway")

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
        """What it answers to a reader of the system's namespace. Raises OSError.

        By a forwarded port: with its pod on another node this machine is a stranger to it, and policies keep it out.
        """
        token = self.kubectl(
            "create", "token", "insource-operator", "-n", NAMESPACE, "--audience", "insource-ledger"
        ).strip()
        url = f"{self.forwarded('insource-ledger')}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            # Its pod may be another one by now.
            self._forwards.pop("insource-ledger").close()
            raise

    def pod(self, selector: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        """One that is Ready."""
        return self.kubectl.ready_pods(namespace, selector)[0]


SHORT = audio.clip("0880").wav.read_bytes()
SLOW_SPEECH = audio.silence(SLOW_S * 1000 // SLOW_PER_AUDIO_S)
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
    """One client with short requests, one after the other, and one request of 100 s of speech in flight.

    `slow`: beside these one to the slow deployment, which is in flight for a minute whatever the machine.
    """

    def __init__(self, release: Release, *, slow: bool = False) -> None:
        self._release = release
        self.slow = Answer(time.monotonic()) if slow else None
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
        if self.slow is not None:
            self._threads.append(threading.Thread(target=self._ask, args=(SLOW_SPEECH, self.slow, SLOW), daemon=True))
        for thread in self._threads:
            thread.start()
        until(lambda: self.short and self.short[0].ended, "a first short answer")
        assert not self.long.ended, f"the long request is not in flight any more: {self.long}"
        return self

    def finish(self) -> None:
        """Waits for the long ones and for one more short one."""
        for each in self._long_ones():
            until(lambda each=each: each.ended, "a long request's end", REQUEST_S + 30)
        count = len(self.short)
        until(lambda: len(self.short) > count and self.short[-2].ended, "another short answer", REQUEST_S + 30)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_S + 30)

    def failures(self) -> list[Answer]:
        return [each for each in (*self._long_ones(), *self.short) if each.error]

    def answered(self) -> set[str]:
        """Ids of the requests that a client has an answer of, but for the slow one."""
        return {each.request_id for each in (self.long, *self.short) if each.request_id}

    def slow_is_done_and_told(self) -> None:
        """It was in flight all the time, was answered, and is in the ledger once."""
        assert self.slow is not None
        assert not self.slow.error
        assert self.slow.ended - self.slow.began >= SLOW_S
        every_answer_is_in_the_ledger_once(self._release, {self.slow.request_id}, SLOW)

    def _long_ones(self) -> list[Answer]:
        return [self.long, *([self.slow] if self.slow is not None else [])]

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            answer = Answer(time.monotonic())
            self.short.append(answer)
            self._ask(SHORT, answer)
            self._stop.wait(0.1)

    def _ask(self, wav: bytes, answer: Answer, name: str = "dictation") -> None:
        try:
            answer.text, answer.request_id = self._release.transcribe(wav, name)
        except OpenAIError as error:
            answer.error = f"{type(error).__name__}: {error} ({error.__cause__})"
        answer.ended = time.monotonic()


def every_answer_is_in_the_ledger_once(release: Release, answered: set[str], name: str = "dictation") -> None:
    def complete() -> bool:
        rows = release.ledger("/v1/attempts", namespace=VOICE, deployment=name, limit="10000")["attempts"]
        good = Counter(row["request_id"] for row in rows if row["outcome"] == "ok")
        return all(good[request_id] == 1 for request_id in answered)

    until(complete, "each answered request is in the ledger, once")
