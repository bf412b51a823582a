"""One of two servers hangs (SIGSTOP): no client sees an error."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.installation import CLIPS, Installation, deployment, eventually, stub_model, stub_runtime
from tests.e2e.load import Load
from tests.e2e.test_kills import container_pid

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-hung")]


def test_no_client_error_while_one_of_two_servers_hangs(installation: Installation, tmp_path: Path) -> None:
    runtime = stub_runtime(STUB_COUNT_FILE=str(tmp_path / "count"), STUB_DELAY_MS="20")
    installation.apply(runtime, stub_model(), deployment("hung", replicas=2, spill=False))
    installation.wait_ready("hung")
    eventually(
        lambda: installation.post("hung", audio=CLIPS[1].read_bytes()).status_code == 200, timeout_s=90, what="no 200"
    )
    with Load(installation, "hung", rate_per_s=20) as load:
        eventually(lambda: len(load.answers) > 20, timeout_s=90, what="no load")
        pid = container_pid(installation, "server", "insource.dev/deployment=hung")
        os.kill(pid, signal.SIGSTOP)
        try:
            before = len(load.answers)
            eventually(lambda: len(load.answers) > before + 300, timeout_s=120, what="the load stands still")
        finally:
            os.kill(pid, signal.SIGCONT)
    assert [each for each in load.answers if each.status != 200] == []
