"""`make demo` shows what it promises, ends with status 0 only then, and leaves nothing running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.installation import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-demo")]


def test_the_demo(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "demo")
    done = installation.command("demo", "--data", str(installation.data), timeout_s=280)
    told = json.loads((installation.data / "demo.json").read_text())
    assert told["mean_wer"] <= 0.10
    assert [(each["role"], each["outcome"]) for each in told["failover"]["attempts"]] == [
        ("serve", "server"),
        ("rescue", "server"),
        ("spill", "ok"),
    ]
    assert told["healing"]["answered_by"] == "inhouse"
    assert "saved" in done.stdout
    assert not (installation.data / "state.json").exists()
