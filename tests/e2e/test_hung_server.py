"""Of two replicas one hangs (SIGSTOP), its server or its adapter: no client sees an error, and it comes back."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.installation import CLIPS, Installation, deployment, eventually, stub_model, stub_runtime
from tests.e2e.load import Load
from tests.e2e.test_kills import container_pid

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("e2e-hung")]
SELECTOR = "insource.dev/deployment=hung"


@pytest.fixture
def two(installation: Installation, tmp_path: Path) -> Installation:
    runtime = stub_runtime(STUB_COUNT_FILE=str(tmp_path / "count"), STUB_DELAY_MS="20")
    installation.apply(runtime, stub_model(), deployment("hung", replicas=2, spill=False))
    installation.wait_ready("hung")
    eventually(
        lambda: installation.post("hung", audio=CLIPS[1].read_bytes()).status_code == 200, timeout_s=90, what="no 200"
    )
    return installation


def test_no_client_error_while_one_of_two_servers_hangs(two: Installation) -> None:
    with Load(two, "hung", rate_per_s=20) as load:
        eventually(lambda: len(load.answers) > 20, timeout_s=90, what="no load")
        pid = container_pid(two, "server", SELECTOR)
        os.kill(pid, signal.SIGSTOP)
        try:
            before = len(load.answers)
            eventually(lambda: len(load.answers) > before + 300, timeout_s=120, what="the load stands still")
        finally:
            os.kill(pid, signal.SIGCONT)
    assert [each for each in load.answers if each.status != 200] == []


def test_no_client_error_while_one_of_two_adapters_hangs(two: Installation) -> None:
    """What it had taken waits until the kubelet has ended it, and is then answered by the other one."""
    with Load(two, "hung", rate_per_s=20) as load:
        eventually(lambda: len(load.answers) > 20, timeout_s=90, what="no load")
        pid = container_pid(two, "adapter", SELECTOR)
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: not Path(f"/proc/{pid}").exists(), timeout_s=150, what="it was not ended")
            before = len(load.answers)
            eventually(lambda: len(load.answers) > before + 100, timeout_s=120, what="the load stands still")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert [each for each in load.answers if each.status != 200] == []
    eventually(lambda: sorted(map(is_ready, pods(two))) == [True, True], timeout_s=90, what="not both are ready")
    assert sum(restarts(pod) for pod in pods(two)) == 1


def pods(installation: Installation) -> list[dict[str, object]]:
    items: list[dict[str, object]] = installation.get("pods", "-n", "voice", "-l", SELECTOR)["items"]
    return items


def is_ready(pod: dict[str, object]) -> bool:
    conditions = pod["status"]["conditions"]  # type: ignore[index]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def restarts(pod: dict[str, object]) -> int:
    status: dict[str, list[dict[str, int]]] = pod["status"]  # type: ignore[assignment]
    held = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    return sum(each["restartCount"] for each in held)
