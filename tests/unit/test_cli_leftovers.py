"""Children of a supervisor that was killed are found by their mark and ended, and nobody else's are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from insource.cli import leftovers
from insource.cli.leftovers import MARK, end_leftovers
from insource.env import system_env


def start(data: Path, script: str) -> subprocess.Popen[bytes]:
    """A child of `data` that has said that it is set up."""
    child = subprocess.Popen(["/bin/sh", "-c", script], env={MARK: str(data)}, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    return child


def await_stop(pid: int, script: str) -> None:
    """Until the child has stopped itself, if it does."""
    if "STOP" in script:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@pytest.fixture
def others(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    child = start(tmp_path / "other", "echo up; exec sleep 60")
    yield child
    child.kill()
    child.communicate()


async def test_only_what_carries_the_mark_is_ended(tmp_path: Path, others: subprocess.Popen[bytes]) -> None:
    ours = start(tmp_path / "ours", "echo up; exec sleep 60")
    said: list[str] = []
    assert await end_leftovers(tmp_path / "ours", system_env().clock, said.append) == [ours.pid]
    assert ours.wait() == -15
    assert str(ours.pid) in said[0]
    assert others.poll() is None
    ours.communicate()
    assert await end_leftovers(tmp_path / "ours", system_env().clock, said.append) == []
    assert len(said) == 1


@pytest.mark.parametrize("script", ["trap '' TERM; echo up; while :; do sleep 0.05; done", "echo up; kill -STOP $$"])
async def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(leftovers, "GRACE_S", 0.3)
    stuck = start(tmp_path, script)
    await_stop(stuck.pid, script)
    assert stuck.pid in await end_leftovers(tmp_path, system_env().clock, lambda _: None)
    assert stuck.wait() == -9
    stuck.communicate()
