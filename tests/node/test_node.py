"""The node itself: what a cluster must do before anything of ours is judged on it."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.node import policies
from tests.node.cluster import Images
from tests.node.kubectl import Kubectl, is_true, until
from tests.node.node import Node
from tests.node.places import NodeError
from tests.node.traces import NAMESPACES

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

SERVER = """
import http.server, os, signal, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["POD_NAME"].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(images: Images, **more: Any) -> dict[str, Any]:
    """Python under the restricted profile. It answers its own name."""
    name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    return {
        "name": "server",
        "image": images.name("insource"),
        "command": ["python", "-c", SERVER],
        "env": [name],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        **more,
    }


def deployment(name: str, replicas: int, pod: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"securityContext": RESTRICTED, **pod}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


@contextlib.contextmanager
def namespace(kubectl: Kubectl, name: str) -> Iterator[Kubectl]:
    """A namespace that takes only restricted pods, gone afterwards with all of them."""
    assert name in NAMESPACES, "else what a killed run leaves in it is found by nobody"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    until(lambda: kubectl("get", "serviceaccount", "default", "-n", name), "a ServiceAccount")
    try:
        yield kubectl
    finally:
        kubectl("delete", "namespace", name, "--wait=true", "--timeout=120s")


@pytest.fixture(scope="module")
def web(kubectl: Kubectl, images: Images) -> Iterator[str]:
    """Two restricted Python pods behind a Service `web`."""
    with namespace(kubectl, "node-web"):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "node-web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        pods = deployment("web", 2, {"containers": [container(images)]})
        pods["metadata"]["namespace"] = "node-web"
        kubectl.apply(service, pods)
        until(lambda: len(kubectl.ready_pods("node-web")) == 2, "two pods")
        yield "node-web"


def inside(kubectl: Kubectl, where: str, url: str) -> str:
    """What a pod of `where` gets from a URL."""
    pod = kubectl.ready_pods(where)[0]["metadata"]["name"]
    script = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode())"
    return kubectl.execute(where, pod, "python", "-c", script).strip()


def test_two_restricted_python_pods_get_ready_and_see_each_other(kubectl: Kubectl, web: str) -> None:
    names = {pod["metadata"]["name"] for pod in kubectl.ready_pods(web)}
    assert len(names) == 2
    asked = [f"http://web.{web}.svc.cluster.local", "http://web", f"http://web.{web}:80"]
    assert {inside(kubectl, web, url) for url in asked} <= names


def test_a_pod_reads_the_api_with_its_token_and_the_clusters_certificate(kubectl: Kubectl, web: str) -> None:
    pod = kubectl.ready_pods(web)[0]["metadata"]["name"]
    script = (
        "import ssl, urllib.request as u; d='/var/run/secrets/kubernetes.io/serviceaccount/';"
        "h={'Authorization': 'Bearer ' + open(d + 'token').read()};"
        "r=u.Request('https://kubernetes.default.svc/version', headers=h);"
        "print(u.urlopen(r, context=ssl.create_default_context(cafile=d+'ca.crt'), timeout=5).status)"
    )
    assert kubectl.execute(web, pod, "python", "-c", script).strip() == "200"


def test_a_name_of_the_internet_is_unknown_at_once(kubectl: Kubectl, web: str, node: Node) -> None:
    del node
    with pytest.raises(NodeError, match=r"Name or service not known|No address associated|not known"):
        inside(kubectl, web, "http://example.com")


def test_a_pod_that_is_not_restricted_is_refused(kubectl: Kubectl, web: str, images: Images) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": web},
        "spec": {"containers": [{"name": "c", "image": images.name("insource")}]},
    }
    said = kubectl.refused("apply", "-f", "-", given=json.dumps(pod))
    assert 'violates PodSecurity "restricted' in said


def test_the_machine_reaches_a_service(kubectl: Kubectl, web: str, node: Node) -> None:
    del node
    address = kubectl.json("get", "service", "web", "-n", web)["spec"]["clusterIP"]
    with urllib.request.urlopen(f"http://{address}", timeout=5) as answer:
        assert answer.read().decode().startswith("web-")


def test_logs_and_exec(kubectl: Kubectl, web: str) -> None:
    pod = kubectl.ready_pods(web)[0]["metadata"]["name"]
    assert kubectl.execute(web, pod, "id", "-u").strip() == "10001"
    assert kubectl("logs", "-n", web, pod) == ""


def test_a_claim_gets_a_volume_that_the_pods_group_may_write_and_outlives_the_pod(
    kubectl: Kubectl, images: Images
) -> None:
    with namespace(kubectl, "node-claim"):
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "node-claim"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
        }
        mounted = container(images, volumeMounts=[{"name": "data", "mountPath": "/data"}])
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        pods = deployment("keeper", 1, {"containers": [mounted], "volumes": [volume]})
        pods["metadata"]["namespace"] = "node-claim"
        kubectl.apply(claim, pods)
        until(lambda: kubectl.ready_pods("node-claim"), "a pod with a claim")
        first = kubectl.ready_pods("node-claim")[0]["metadata"]["name"]
        kubectl.execute("node-claim", first, "python", "-c", "open('/data/kept','w').write('yes')")
        kubectl("delete", "pod", "-n", "node-claim", first)
        until(lambda: kubectl.ready_pods("node-claim"), "another pod with the claim")
        second = kubectl.ready_pods("node-claim")[0]["metadata"]["name"]
        assert second != first
        assert kubectl.execute("node-claim", second, "cat", "/data/kept") == "yes"
        name = kubectl.json("get", "pvc", "data", "-n", "node-claim")["spec"]["volumeName"]
    until(lambda: name not in kubectl("get", "pv", "-o", "name"), "the volume is deleted with its claim")


def test_a_drain_moves_pods_away_and_uncordon_brings_them_back(kubectl: Kubectl, web: str, node: Node) -> None:
    before = {pod["metadata"]["name"] for pod in kubectl.ready_pods(web)}
    kubectl("drain", node.places.name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
    try:
        assert not kubectl.ready_pods(web)
        assert kubectl.json("get", "node", node.places.name)["spec"]["unschedulable"]
    finally:
        kubectl("uncordon", node.places.name)
    until(lambda: len(kubectl.ready_pods(web)) == 2, "two pods after the drain")
    assert not before & {pod["metadata"]["name"] for pod in kubectl.ready_pods(web)}


def test_gpus_are_handed_out_and_the_fifth_pod_waits(kubectl: Kubectl, images: Images, node: Node) -> None:
    node.set_gpus(4)
    try:
        with namespace(kubectl, "node-gpus"):
            one = container(images, resources={"limits": {"nvidia.com/gpu": "1"}})
            pods = deployment("gpu", 5, {"containers": [one], "terminationGracePeriodSeconds": 1})
            pods["metadata"]["namespace"] = "node-gpus"
            kubectl.apply(pods)
            until(lambda: len(kubectl.ready_pods("node-gpus")) == 4, "four pods with a GPU each")
            (waiting,) = [pod for pod in kubectl.pods("node-gpus") if not is_true(pod, "PodScheduled")]
            (why,) = [each for each in waiting["status"]["conditions"] if each["type"] == "PodScheduled"]
            assert "Insufficient nvidia.com/gpu" in why["message"]
    finally:
        node.set_gpus(0)


@pytest.mark.parametrize(
    "name", ["kubelet", "kube-apiserver", "kube-proxy", "kube-router", "coredns", "volumes", "containerd"]
)
def test_a_killed_program_comes_back_and_pods_serve_on(kubectl: Kubectl, web: str, node: Node, name: str) -> None:
    if name == policies.PROGRAM and (reason := policies.not_enforced(node.places)):
        pytest.skip(f"{policies.NOT_ENFORCED}: {reason}")
    pods = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in kubectl.ready_pods(web)}
    node.stop(name, signal.SIGKILL)
    assert name not in node.running()
    for address in pods.values():
        with urllib.request.urlopen(f"http://{address}:8080", timeout=5) as answer:
            assert answer.status == 200
    node.start(name)
    node.wait(name)
    until(lambda: inside(kubectl, web, f"http://web.{web}.svc.cluster.local") in pods, "a service from within")
    assert {pod["metadata"]["name"] for pod in kubectl.ready_pods(web)} == set(pods)
