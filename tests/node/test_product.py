"""The whole product on a real node: installed by its chart, asked by the OpenAI SDK, killed, rolled, removed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from openai import APIConnectionError

from tests import audio
from tests.node import figures
from tests.node.kubectl import until
from tests.node.node import Node
from tests.node.places import NodeError
from tests.node.release import (
    NAMESPACE,
    SHORT,
    SLOW,
    VOICE,
    Release,
    Traffic,
    component,
    deployment,
    every_answer_is_in_the_ledger_once,
    slow_deployment,
)

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

SERVING = "insource.dev/deployment=dictation"
SLOW_SERVING = f"insource.dev/deployment={SLOW}"


@pytest.fixture(scope="module")
def release(installed: Release) -> Release:
    """With one ModelDeployment that serves. What it took is among the figures."""
    began = time.monotonic()
    installed.kubectl.apply(deployment())
    installed.wait_ready()
    ready = time.monotonic()
    text, _ = installed.transcribe(audio.clip("0870").wav.read_bytes())
    figures.note(
        f"ModelDeployment Ready after {ready - began:.1f} s, "
        f"first transcript after {time.monotonic() - began:.1f} s: {text!r}"
    )
    return installed


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


@pytest.fixture(scope="module")
def slow(release: Release) -> Release:
    """Beside the one that recognises, one whose requests take a minute."""
    release.kubectl.apply(*slow_deployment(release.images))
    release.wait_ready(SLOW)
    return release


def test_a_deleted_pod_ends_its_request_first(slow: Release) -> None:
    pods = [slow.pod(selector, VOICE)["metadata"]["name"] for selector in (SERVING, SLOW_SERVING)]
    with Traffic(slow, slow=True) as traffic:
        slow.kubectl("delete", "pod", "-n", VOICE, *pods, "--wait=false")
        traffic.finish()
    assert not traffic.failures()
    traffic.slow_is_done_and_told()
    for name in ("dictation", SLOW):
        slow.wait_ready(name)


@pytest.mark.usefixtures("routed")
def test_a_gateway_is_rolled_with_a_request_in_flight(slow: Release) -> None:
    before = {pod["metadata"]["name"] for pod in slow.kubectl.pods(NAMESPACE, component("gateway"))}
    with Traffic(slow, slow=True) as traffic:
        slow.kubectl("rollout", "restart", "deployment/insource-gateway", "-n", NAMESPACE)
        slow.kubectl("rollout", "status", "deployment/insource-gateway", "-n", NAMESPACE, "--timeout=300s")
        traffic.finish()
    assert not traffic.failures()
    traffic.slow_is_done_and_told()
    after = {pod["metadata"]["name"] for pod in slow.kubectl.pods(NAMESPACE, component("gateway"))}
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


@pytest.mark.usefixtures("routed")
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
    release.disconnect()

    def heard() -> str:
        try:
            return release.transcribe(SHORT)[0]
        except APIConnectionError:  # kube-proxy brings the new Service's rules after its pods are ready
            return ""

    until(heard, "a transcript after the new install")
    assert release.pod(SERVING, VOICE)["metadata"]["uid"] == server
