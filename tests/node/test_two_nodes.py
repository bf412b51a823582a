"""A drain that gets its way: everything moves from one node to another while a client's long request is in flight."""

from __future__ import annotations

from typing import Any

import pytest

from tests.node import figures
from tests.node.kubectl import until
from tests.node.node import Node
from tests.node.release import (
    NAMESPACE,
    SHORT,
    SLOW,
    VOICE,
    Release,
    Traffic,
    deployment,
    every_answer_is_in_the_ledger_once,
    slow_deployment,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def release(second: Node, node: Node, installed: Release) -> Release:
    """All of it on the first node; the second is empty."""
    kubectl = installed.kubectl
    kubectl.apply(deployment(), *slow_deployment(installed.images))
    for name in ("dictation", SLOW):
        installed.wait_ready(name)
    assert installed.transcribe(SHORT)[0]
    assert nodes_of(installed) == {node.places.name}
    kubectl("uncordon", second.places.name)
    return installed


def pods(release: Release) -> list[dict[str, Any]]:
    return [*release.kubectl.pods(NAMESPACE), *release.kubectl.pods(VOICE)]


def nodes_of(release: Release) -> set[str]:
    return {pod["spec"].get("nodeName", "") for pod in pods(release)}


def test_pods_of_two_nodes_reach_each_other_by_a_service(release: Release, second: Node) -> None:
    """From a pod of the second node to the gateway, which is on the first, by name."""
    gateway = f"http://insource-gateway.{NAMESPACE}.svc.cluster.local"
    script = f"""
import urllib.error, urllib.request
try: urllib.request.urlopen({gateway!r}, timeout=10)
except urllib.error.HTTPError as error: print(error.code)
"""
    here = {"kubernetes.io/hostname": second.places.name}
    container = {
        "name": "c",
        "image": release.images.name("insource"),
        "command": ["python", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": here,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    meta = {"name": "asks", "namespace": VOICE}
    kubectl = release.kubectl
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    until(lambda: kubectl.json("get", "pod", "asks", "-n", VOICE)["status"]["phase"] == "Succeeded", "an answer")
    # Nobody's key: the gateway itself has answered.
    assert kubectl("logs", "-n", VOICE, "asks").strip() in ("401", "404")
    kubectl("delete", "pod", "-n", VOICE, "asks")


def test_a_drain_moves_everything_and_loses_no_request(release: Release, node: Node, second: Node) -> None:
    kubectl = release.kubectl
    with Traffic(release, slow=True) as traffic:
        words = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=600s")
        try:
            kubectl("drain", node.places.name, *words)
            assert nodes_of(release) == {second.places.name}
            traffic.finish()
        finally:
            kubectl("uncordon", node.places.name)
    assert not traffic.failures()
    traffic.slow_is_done_and_told()
    assert traffic.slow is not None
    figures.note(
        f"drain of one of two nodes: {len(traffic.short) + 2} requests, none failed, the longest took "
        f"{traffic.slow.ended - traffic.slow.began:.0f} s"
    )
    for name in ("dictation", SLOW):
        release.wait_ready(name)
    every_answer_is_in_the_ledger_once(release, traffic.answered())
