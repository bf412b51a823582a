"""In-house pods on the embedded node: what `pod` says reaches the server; what keeps one from starting is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.installation import CLIPS, Installation, deployment, eventually, stub_model, stub_runtime

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e-pod-settings")]
AUDIO = CLIPS[1].read_bytes()
SETTINGS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "words", "namespace": "voice"},
    "data": {"STUB_TEXT": "Said by a ConfigMap.", "other": "Said by one of its keys."},
}


@pytest.fixture(scope="module")
def stub(installation: Installation) -> Installation:
    installation.apply(stub_runtime(), stub_model(), SETTINGS)
    return installation


def in_house(name: str, **fields: Any) -> dict[str, Any]:
    wanted = deployment(name, spill=False)
    (backend, _) = wanted["spec"]["backends"]
    backend["inHouse"] |= fields
    wanted["spec"]["backends"] = [backend]
    return wanted


def says(installation: Installation, name: str) -> str:
    answer = installation.post(name, audio=AUDIO)
    return str(answer.json().get("text", "")) if answer.status_code == 200 else ""


def test_environment_reaches_the_server_and_a_change_of_it_new_pods(stub: Installation) -> None:
    sources = {"envFrom": [{"configMapRef": {"name": "words"}}]}
    stub.apply(in_house("settings", pod={"server": sources}))
    stub.wait_ready("settings")
    eventually(
        lambda: says(stub, "settings") == "Said by a ConfigMap.", timeout_s=60, what=lambda: says(stub, "settings")
    )
    key = {"name": "STUB_TEXT", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "other"}}}
    stub.apply(in_house("settings", pod={"server": {**sources, "env": [key]}}))
    eventually(
        lambda: says(stub, "settings") == "Said by one of its keys.", timeout_s=90, what=lambda: says(stub, "settings")
    )
    stub.kubectl("delete", "mdep", "settings")


READS_A_FILE = """
import os, sys
os.environ["STUB_TEXT"] = open("/etc/words/" + sys.argv[1]).read()
os.execv(sys.executable, [sys.executable, "-m", "insource", "server", "stub"])
"""


def test_volumes_and_arguments_reach_the_server(stub: Installation) -> None:
    pod = {
        "volumes": [{"name": "words", "configMap": {"name": "words"}}],
        "server": {"volumeMounts": [{"name": "words", "mountPath": "/etc/words"}], "extraArgs": ["other"]},
    }
    runtime, model = silent_runtime("reads", command=["python3", "-c", READS_A_FILE])
    stub.apply(runtime, model, in_house("reads", model="reads", pod=pod))
    stub.wait_ready("reads")
    eventually(
        lambda: says(stub, "reads") == "Said by one of its keys.", timeout_s=60, what=lambda: says(stub, "reads")
    )
    stub.kubectl("delete", "mdep", "reads")


def silent_runtime(name: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A runtime that never answers (unless fields say something else), and a model for it."""
    runtime, model = stub_runtime(), stub_model()
    runtime["metadata"]["name"] = model["metadata"]["name"] = name
    runtime["spec"] |= {"command": ["python3", "-c", "import time; time.sleep(600)"], **fields}
    model["spec"]["sources"][0]["runtime"] = name
    return runtime, model


def test_a_pod_of_another_service_account_serves_and_its_records_arrive(stub: Installation) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "speech", "namespace": "voice"}}
    stub.apply(account, in_house("own-account", pod={"serviceAccountName": "speech"}))
    stub.wait_ready("own-account")
    (pod,) = stub.get("pods", "-n", "voice", "-l", "insource.dev/deployment=own-account")["items"]
    assert pod["spec"]["serviceAccountName"] == "speech"
    answers = []

    def is_answered() -> bool:
        answers.append(stub.post("own-account", audio=AUDIO))
        return answers[-1].status_code == 200

    eventually(is_answered, timeout_s=60, what=lambda: answers[-1].text)

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = stub.ledger("/v1/attempts", namespace="voice", deployment="own-account")[
            "attempts"
        ]
        return [row for row in found if row["outcome"] == "ok"]

    eventually(lambda: bool(rows()), timeout_s=90, what="no record of it in the ledger")
    stub.kubectl("delete", "mdep", "own-account")
    stub.kubectl("delete", "serviceaccount", "speech", "-n", "voice")


def test_a_server_that_does_not_answer_in_time_is_told(stub: Installation) -> None:
    stub.apply(*silent_runtime("silent"), in_house("silent", model="silent", startupTimeout="4s"))
    eventually(
        lambda: stub.condition("silent", "ModelLoaded").get("reason") == "StartTimeout",
        timeout_s=90,
        what=lambda: str(stub.get("mdep", "silent", "-n", "voice").get("status")),
    )
    told = stub.condition("silent", "ModelLoaded")
    assert told["message"] == (
        "container server has not answered its health check within 4s and was ended: "
        "read its log, or raise startupTimeout"
    )
    assert stub.condition("silent", "Ready")["reason"] == "StartTimeout"
    assert stub.condition("silent", "Stalled") == {}
    stub.kubectl("delete", "mdep", "silent")


def test_an_image_that_cannot_be_pulled_is_told(stub: Installation) -> None:
    stub.apply(*silent_runtime("no-image", image="registry.example/none:1"), in_house("no-image", model="no-image"))
    eventually(
        lambda: stub.condition("no-image", "Ready").get("reason") == "ImageNotPulled",
        timeout_s=90,
        what=lambda: str(stub.get("mdep", "no-image", "-n", "voice").get("status")),
    )
    words = 'container server: image "registry.example/none:1" cannot be pulled: '
    assert stub.condition("no-image", "Ready")["message"].startswith(words)
    assert words in stub.condition("no-image", "BackendsAvailable")["message"]
    stub.kubectl("delete", "mdep", "no-image")
