"""The embedded cluster's process killed -9 while the others live: they find it again, and see what is new in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.e2e.installation import Installation, deployment, eventually, stub_model, stub_runtime
from tests.e2e.load import AUDIO

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.xdist_group("e2e-cluster-killed")]
ENVIRONMENT = {"INSOURCE_EMULATOR_ENGINE": "echo"}


def serves(installation: Installation, name: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return installation.post(name, audio=AUDIO).status_code == 200
    return False


def test_the_others_find_it_again(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a", ENVIRONMENT)
    installation.up()
    try:
        installation.apply(stub_runtime(STUB_DELAY_MS="20"), stub_model(), deployment("before", spill=False))
        installation.wait_ready("before")
        others = {name: pid for name, pid in installation.state["processes"].items() if name != "cluster"}
        killed = installation.state["processes"]["cluster"]
        for _ in range(2):
            os.kill(killed, signal.SIGKILL)
            eventually(
                lambda before=killed: installation.state["processes"]["cluster"] != before,
                timeout_s=120,
                what="no new cluster",
            )
            killed = installation.state["processes"]["cluster"]

            def answers() -> bool:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return installation.kubectl("get", "--raw", "/readyz", check=False).returncode == 0
                return False

            eventually(answers, timeout_s=120, what="the API server does not answer")
        installation.apply(deployment("after", spill=False), deployment("before", replicas=2, spill=False))
        installation.wait_ready("after", timeout_s=120)
        eventually(
            lambda: installation.get("mdep", "before").get("status", {}).get("replicas") == 2,
            timeout_s=120,
            what="the edit of a ModelDeployment from before is not seen",
        )
        installation.wait_ready("before", timeout_s=120)
        for name in ("before", "after"):
            eventually(lambda name=name: serves(installation, name), timeout_s=120, what=f"{name} does not serve")
        installation.kubectl("delete", "mdep", "before", "-n", "voice", "--timeout=100s")
        eventually(
            lambda: not installation.get("replicasets", "-n", "voice", "-l", "insource.dev/deployment=before")["items"],
            timeout_s=120,
            what="its ReplicaSet stays",
        )
        now = installation.state["processes"]
        assert {name: now[name] for name in others} == others, "the others lived on"
    finally:
        installation.down()
