"""Every program killed -9 under load: it comes back by itself, and no usage is lost or doubled.

A stub server stands where the recogniser would, because no CPU transcribes 20 clips a second.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.e2e.installation import CLIPS, Installation, deployment, eventually, stub_model, stub_runtime

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("e2e-kills")]
ENVIRONMENT = {"INSOURCE_EMULATOR_ENGINE": "echo", "INSOURCE_EMULATOR_REQUESTS_PER_MINUTE": "100000"}
RATE_PER_S = 20
AUDIO = CLIPS[1].read_bytes()


class Load:
    """Requests at a fixed rate from a few threads; what each was answered is kept."""

    def __init__(self, installation: Installation, name: str) -> None:
        self._installation = installation
        self._name = name
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: list[tuple[int, str]] = []
        """(status or 0 if there was no answer, request id) of every request."""

    def __enter__(self) -> Load:
        workers = 8
        for number in range(workers):
            thread = threading.Thread(target=self._work, args=(workers / RATE_PER_S, number / RATE_PER_S), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=90)

    def _work(self, period_s: float, offset_s: float) -> None:
        url = self._installation.url(self._name) + "/audio/transcriptions"
        headers = {"Authorization": f"Bearer {self._installation.api_key}"}
        due = time.monotonic() + offset_s
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += period_s
            try:
                answer = httpx.post(
                    url, headers=headers, files={"file": ("a.wav", AUDIO)}, data={"model": "m"}, timeout=60
                )
            except httpx.HTTPError:
                self.answers.append((0, ""))
            else:
                self.answers.append((answer.status_code, answer.headers.get("x-request-id", "")))


def container_pid(installation: Installation, program: str, name: str) -> int:
    """The process of one container of a ModelDeployment's or Vendor's pod."""
    selector = f"insource.dev/vendor={name}" if name == "openai" else f"insource.dev/deployment={name}"
    pods = installation.get("pods", "-l", selector)["items"]
    addresses = {pod["status"].get("podIP") for pod in pods}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            environment = dict(
                entry.split(b"=", 1) for entry in (folder / "environ").read_bytes().split(b"\0") if b"=" in entry
            )
        except OSError:
            continue
        runs = b"insource" in arguments and program.encode() in arguments
        if runs and environment.get(b"POD_IP", b"").decode() in addresses:
            return int(folder.name)
    raise AssertionError(f"no process of {program} in a pod of {name}")


@pytest.fixture
def served(installation: Installation, tmp_path: Path) -> Installation:
    runtime = stub_runtime(STUB_COUNT_FILE=str(tmp_path / "stub-count"), STUB_DELAY_MS="20")
    installation.apply(runtime, stub_model(), deployment("killed"))
    installation.wait_ready("killed")
    eventually(lambda: installation.post("killed", audio=AUDIO).status_code == 200, timeout_s=20, what="not serving")
    return installation


def test_usage_is_whole_whatever_is_killed(served: Installation, tmp_path: Path) -> None:
    def child(name: str) -> Callable[[], int]:
        return lambda: int(served.state["processes"][name])

    victims: dict[str, Callable[[], int]] = {
        "server": lambda: container_pid(served, "server", "killed"),
        "adapter": lambda: container_pid(served, "adapter", "killed"),
        "agent": child("agent"),
        "ledger": child("ledger"),
        "emulator": child("emulator"),
        "operator": child("operator"),
        "envoy": child("envoy"),
    }
    with Load(served, "killed") as load:
        for name, find in victims.items():
            pid = find()
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), timeout_s=10, what=f"{name} lives")
            # The interval between kills, in which each comes back under load: about a minute in all.
            threading.Event().wait(60 / len(victims))
            eventually(lambda find=find, pid=pid: comes_back(find, pid), timeout_s=30, what=f"{name} did not come back")
    served.wait_ready("killed")

    statuses = Counter(status for status, _ in load.answers)
    assert statuses[200] > 0.8 * len(load.answers), statuses
    compare(served, tmp_path / "stub-count")


def comes_back(find: Callable[[], int], before: int) -> bool:
    try:
        return find() != before
    except AssertionError:
        return False


def compare(served: Installation, count_file: Path) -> None:
    """In-house server's own count and the emulator's meter against the ledger's rows."""

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = served.ledger(
            "/v1/attempts", namespace="voice", deployment="killed", limit="100000"
        )["attempts"]
        return found

    def difference() -> list[str]:
        known = rows()
        in_house = {row["request_id"] for row in known if row["backend"] == "inhouse"}
        vendor = {row["request_id"] for row in known if row["backend"] == "openai"}
        lines = [json.loads(line) for line in count_file.read_text().splitlines()]
        # A line without a request id is the adapter's own warm-up, which no ledger row may have.
        counted = {line["request_id"] for line in lines if line["event"] == "begun" and line["request_id"]}
        billed = {entry["caller_request_id"] for entry in served.emulator_meter()["lines"]}
        return [f"in-house server counted {lost}, the ledger has no row" for lost in sorted(counted - in_house)] + [
            f"the vendor billed {lost}, the ledger has no row" for lost in sorted(billed - vendor)
        ]

    eventually(lambda: difference() == [], timeout_s=90, what=lambda: str(difference()[:10]))
    ids = [row["attempt_id"] for row in rows()]
    assert len(ids) == len(set(ids))
    ok_at_vendor = [row for row in rows() if row["backend"] == "openai" and row["outcome"] == "ok"]
    billed = [entry["caller_request_id"] for entry in served.emulator_meter()["lines"]]
    assert {row["request_id"] for row in ok_at_vendor} <= set(billed)
