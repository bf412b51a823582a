"""The supervisor restarts what ends unasked, and leaves nothing when it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from insource.cli.supervisor import Ended, Program, Supervisor
from insource.env import system_env

CHILD = """#!/bin/sh
sleep 600 &
echo "$!" > "$PIDS/grandchild"
trap 'echo asked > "$PIDS/asked"; exit 0' TERM
while :; do sleep 0.05; done
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


async def until(check: object, timeout_s: float = 60) -> None:
    assert callable(check)
    async with asyncio.timeout(timeout_s):
        while not check():  # noqa: ASYNC110 what is waited for happens in another process
            await asyncio.sleep(0.02)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    script = tmp_path / "child"
    script.write_text(CHILD)
    script.chmod(0o755)
    # The child is run as `<python> -m insource ...`; here "python" is the script itself.
    monkeypatch.setattr(sys, "executable", str(script))
    return Program("child", (), tmp_path / "log", environment={"PIDS": str(tmp_path)}, grace_s=5)


async def test_a_killed_child_is_started_again_and_its_children_end_with_it(child: Program, tmp_path: Path) -> None:
    pids: dict[str, int] = {}
    heard: list[Ended] = []
    supervisor = Supervisor(system_env().clock, pids.update, heard.append)
    supervisor.start(child)
    await until(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text().strip())
    first, orphan = pids["child"], int((tmp_path / "grandchild").read_text())
    os.kill(first, signal.SIGKILL)
    await until(lambda: pids["child"] != first)
    assert supervisor.restarts == {"child": 1}
    assert [(ended.how, ended.times, ended.in_a_row) for ended in heard] == [("was killed by SIGKILL", 1, 1)]
    await until(lambda: not alive(orphan))
    await until(lambda: int((tmp_path / "grandchild").read_text().strip() or orphan) != orphan)
    second, grandchild = pids["child"], int((tmp_path / "grandchild").read_text())
    await supervisor.stop_all((("child", "unknown"),))
    assert not alive(second)
    await until(lambda: not alive(grandchild))


async def test_a_child_is_asked_before_it_is_killed(child: Program, tmp_path: Path) -> None:
    supervisor = Supervisor(system_env().clock, lambda pids: None)
    supervisor.start(child)
    await until(lambda: (tmp_path / "grandchild").exists())
    await supervisor.stop("child")
    await until(lambda: (tmp_path / "asked").exists())
    assert supervisor.restarts == {}


class Clock:
    """Stands still but for sleeps, which are over at once and remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def test_one_that_keeps_failing_is_started_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    clock, heard = Clock(), list[Ended]()
    supervisor = Supervisor(clock, lambda pids: None, heard.append)
    supervisor.start(Program("child", (), tmp_path / "log"))
    await until(lambda: len(heard) >= 7)
    await supervisor.stop_all(())
    assert [ended.pause_s for ended in heard[:7]] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert {ended.how for ended in heard} == {"ended with exit status 1"}
    assert [ended.in_a_row for ended in heard[:7]] == [1, 2, 3, 4, 5, 6, 7]


async def test_one_that_cannot_be_started_is_told_and_tried_again(tmp_path: Path) -> None:
    heard: list[Ended] = []
    supervisor = Supervisor(Clock(), lambda pids: None, heard.append)
    supervisor.start(Program("child", (), tmp_path / "missing" / "log"))
    await until(lambda: len(heard) >= 2)
    await supervisor.stop_all(())
    assert "could not be started" in heard[0].how
    assert str(tmp_path / "missing" / "log") in heard[0].how
