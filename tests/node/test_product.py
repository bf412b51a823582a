"""The whole product on a real node: installed by its chart, asked by the OpenAI SDK, killed, rolled, removed."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import audio
from tests.node import figures
from tests.node.cluster import Images
from tests.node.kubectl import Kubectl, until
from tests.node.node import Node
from tests.node.places import NodeError
from tests.node.release import NAMESPACE, SHORT, VOICE, Release, Traffic, deployment

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

SERVING = "insource.dev/deployment=dictation"


def component(name: str) -> str:
    return f"app.kubernetes.io/name=insource,app.kubernetes.io/component={name}"


@pytest.fixture(scope="module")
def release(kubectl: Kubectl, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Installed with one ModelDeployment that serves. What it took is among the figures."""
    found = Release(kubectl, images, tmp_path_factory.mktemp("release"))
    began = time.monotonic()
    try:
        found.install()
        installed = time.monotonic()
        found.add_client()
        kubectl.apply(deployment())
        found.wait_ready()
        ready = time.monotonic()
        text, _ = found.transcribe(audio.clip("0870").wav.read_bytes())
        figures.note(
            f"helm install {installed - began:.1f} s, ModelDeployment Ready {ready - installed:.1f} s later, "
            f"first transcript {time.monotonic() - began:.1f} s after the start: {text!r}"
        )
        yield found
    finally:
        remove(found)


def remove(release: Release) -> None:
    kubectl = release.kubectl
    kubectl("delete", "modeldeployment", "--all", "-n", VOICE, "--ignore-not-found", "--timeout=120s")
    release.helm("uninstall", release.name, "--ignore-not-found", "--wait", "--timeout", "300s")
    kubectl("delete", "namespace", VOICE, NAMESPACE, "--ignore-not-found", "--timeout=120s")


def test_the_first_transcript_is_what_was_said(release: Release) -> None:
    clip = audio.clip("0870")
    text, _ = release.transcribe(clip.wav.read_bytes())
    said, heard = (set(words.lower().replace(",", "").replace(".", "").split()) for words in (clip.reference, text))
    assert len(said & heard) >= 0.6 * len(said), text


def test_every_pod_keeps_to_the_restricted_profile(release: Release) -> None:
    labels = ("pod-security.kubernetes.io/enforce=restricted", "--overwrite", "--dry-run=server")
    said = release.kubectl("label", "namespace", NAMESPACE, *labels)
    assert "violate" not in said.lower()
    assert len(release.kubectl.ready_pods(NAMESPACE)) >= 5
    assert release.kubectl.ready_pods(VOICE, SERVING)


def test_the_operator_hears_of_its_own_kinds_in_a_container(release: Release) -> None:
    """Not only when it lists them, every few minutes: kopf did not start for a user without a name."""
    for pod in release.kubectl.ready_pods(NAMESPACE, component("operator")):
        assert "kopf_ended" not in release.kubectl("logs", "-n", NAMESPACE, pod["metadata"]["name"])


def kill_container(selector: str, container: str, namespace: str = NAMESPACE) -> Callable[[Release, Node], None]:
    """By SIGKILL from outside: it can neither drain nor say goodbye."""

    def kill(release: Release, node: Node) -> None:
        status = release.pod(selector, namespace)["status"]
        every: list[dict[str, Any]] = [*status["containerStatuses"], *status.get("initContainerStatuses", [])]
        (found,) = [each for each in every if each["name"] == container]
        node.ctr("tasks", "kill", "--signal", "SIGKILL", found["containerID"].rpartition("/")[2])
        count = found["restartCount"]

        def restarted() -> bool:
            now = release.kubectl.json("get", "pods", "-n", namespace, "-l", selector)["items"]
            states = [
                state
                for pod in now
                for state in (*pod["status"]["containerStatuses"], *pod["status"].get("initContainerStatuses", []))
            ]
            return any(s["name"] == container and s["restartCount"] > count and s["ready"] for s in states)

        until(restarted, f"{container} is back")

    return kill


def kill_program(name: str) -> Callable[[Release, Node], None]:
    def kill(release: Release, node: Node) -> None:
        del release
        node.stop(name, signal.SIGKILL)
        node.start(name)
        node.wait(name)

    return kill


@dataclass(frozen=True)
class Victim:
    """`may_fail`: a request that was inside it has nobody left to answer it."""

    kill: Callable[[Release, Node], None]
    may_fail: bool = False


VICTIMS = {
    "operator": Victim(kill_container(component("operator"), "operator")),
    "agent": Victim(kill_container(component("gateway"), "agent")),
    "envoy": Victim(kill_container(component("gateway"), "envoy"), may_fail=True),
    "ledger": Victim(kill_container(component("ledger"), "ledger")),
    "server": Victim(kill_container(SERVING, "server", VOICE)),
    "adapter": Victim(kill_container(SERVING, "adapter", VOICE)),
    "kube-apiserver": Victim(kill_program("kube-apiserver")),
    "kubelet": Victim(kill_program("kubelet")),
}


@pytest.mark.parametrize("name", VICTIMS)
def test_killed_under_load(release: Release, node: Node, name: str) -> None:
    victim = VICTIMS[name]
    with Traffic(release) as traffic:
        began = time.monotonic()
        victim.kill(release, node)
        back = time.monotonic() - began
        traffic.finish()
    failed = traffic.failures()
    figures.note(
        f"{name} killed: back after {back:.1f} s, {len(traffic.short) + 1} requests, {len(failed)} failed, "
        f"the longest short one took {max(each.ended - each.began for each in traffic.short):.1f} s"
    )
    if victim.may_fail:
        assert not traffic.short[-1].error
        assert all("Connection" in each.error for each in failed), failed
    else:
        assert not failed
    release.wait_ready()
    every_answer_is_in_the_ledger_once(release, traffic.answered())


def every_answer_is_in_the_ledger_once(release: Release, answered: set[str]) -> None:
    def complete() -> bool:
        rows = release.ledger("/v1/attempts", namespace=VOICE, deployment="dictation", limit="10000")["attempts"]
        good = Counter(row["request_id"] for row in rows if row["outcome"] == "ok")
        return all(good[request_id] == 1 for request_id in answered)

    until(complete, "each answered request is in the ledger, once")


def test_a_deleted_pod_ends_its_request_first(release: Release) -> None:
    pod = release.pod(SERVING, VOICE)["metadata"]["name"]
    with Traffic(release) as traffic:
        release.kubectl("delete", "pod", "-n", VOICE, pod, "--wait=false")
        traffic.finish()
    assert not traffic.failures()
    release.wait_ready()


def test_a_gateway_is_rolled_with_a_request_in_flight(release: Release) -> None:
    before = {pod["metadata"]["name"] for pod in release.kubectl.pods(NAMESPACE, component("gateway"))}
    with Traffic(release) as traffic:
        release.kubectl("rollout", "restart", "deployment/insource-gateway", "-n", NAMESPACE)
        release.kubectl("rollout", "status", "deployment/insource-gateway", "-n", NAMESPACE, "--timeout=300s")
        traffic.finish()
    assert not traffic.failures()
    after = {pod["metadata"]["name"] for pod in release.kubectl.pods(NAMESPACE, component("gateway"))}
    assert not before & after


def test_a_drain_of_the_only_node_ends_what_is_in_flight_and_holds_what_comes(release: Release, node: Node) -> None:
    name = node.places.name
    with Traffic(release) as traffic:
        try:
            # With no other node the budgets of gateway and operator cannot be kept: the drain must not get its way.
            with pytest.raises(NodeError, match="disruption budget"):
                release.kubectl("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=20s")
        finally:
            release.kubectl("uncordon", name)
        traffic.finish()
    assert not traffic.failures()
    release.wait_ready()


def test_an_upgrade_restarts_no_model_server_and_loses_no_request(release: Release) -> None:
    server = release.pod(SERVING, VOICE)["metadata"]["uid"]
    with Traffic(release) as traffic:
        release.install("operator.replicas=1", "gateway.podAnnotations.upgraded=yes")
        traffic.finish()
    assert not traffic.failures()
    assert release.pod(SERVING, VOICE)["metadata"]["uid"] == server


def test_an_uninstall_leaves_the_customers_objects_and_a_new_install_takes_them_up(release: Release) -> None:
    server = release.pod(SERVING, VOICE)["metadata"]["uid"]
    release.helm("uninstall", release.name, "--wait", "--timeout", "300s")
    assert not release.kubectl.pods(NAMESPACE)
    assert release.pod(SERVING, VOICE)["metadata"]["uid"] == server
    release.install()
    release.wait_ready()
    release.__dict__.pop("gateway", None)
    until(lambda: release.transcribe(SHORT)[0], "a transcript after the new install")
    assert release.pod(SERVING, VOICE)["metadata"]["uid"] == server
