"""Pods whose status, logs or volumes cannot be written run on, and what was not told is told later."""

# ruff: noqa: ASYNC230  (small files, in a test)
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from insource.env import system_env
from insource.local import pod_report, pod_runner, processes
from insource.local.pod_logs import ContainerLogs, LogQuery
from tests.unit.node_pods import running, shell

SLEEP = "exec sleep 60"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pod_report, pod_runner):
        monkeypatch.setattr(module, "RETRY_S", 0.05)


async def test_a_pod_whose_status_cannot_be_written_runs_on(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    spec = {"containers": [shell("main", f"echo $$$$ > {pid}; {SLEEP}")]}
    async with running(tmp_path, spec, lambda bench: setattr(bench, "refusing", True)) as bench:
        await bench.until(lambda: bench.refused >= 3 and pid.exists() and pid.read_text())
        first = int(pid.read_text())
        assert bench.statuses == []
        bench.refusing = False
        await bench.until(lambda: bench.container("main")["ready"])
        assert int(pid.read_text()) == first
        os.kill(first, 0)
        assert bench.container("main")["restartCount"] == 0


async def test_a_pod_that_cannot_leave_the_api_leaves_later(tmp_path: Path) -> None:
    async with running(tmp_path, {"containers": [shell("main", SLEEP)]}) as bench:
        await bench.until(lambda: bench.container("main")["ready"])
        bench.refusing = True
        bench.delete(grace_s=0)
        await bench.until(lambda: bench.refused >= 3)
        assert bench.removed == []
        bench.refusing = False
        await bench.until(lambda: bench.removed == ["uid-1"])


async def test_a_volume_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    volume = {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}
    main = shell("main", SLEEP, volumeMounts=[{"name": "v", "mountPath": "/v"}])

    async with running(tmp_path, {"containers": [main], **volume}, lambda b: b.config_map("c", a="1")) as bench:
        await bench.until(lambda: bench.container("main")["ready"])
        files = bench.folder / "volumes" / "v"
        obstacle = files / "..data_tmp"
        (obstacle / "x").mkdir(parents=True)  # where the new generation's link is to be: an OSError for anybody
        bench.config_map("c", a="2")
        bench.runner.references_changed()
        await bench.until(lambda: any(reason == "FailedMount" for reason, _ in bench.events.seen))
        assert (files / "a").read_text() == "1"
        (obstacle / "x").rmdir()
        obstacle.rmdir()
        await bench.until(lambda: (files / "a").read_text() == "2")
        assert bench.container("main")["restartCount"] == 0


async def test_a_container_that_cannot_be_prepared_is_tried_again(tmp_path: Path) -> None:
    def prepare(bench: Any) -> None:
        (tmp_path / "pods" / "uid-1").mkdir(parents=True)
        (tmp_path / "pods" / "uid-1" / "work").write_text("in the way")

    async with running(tmp_path, {"containers": [shell("main", SLEEP)]}, prepare) as bench:
        await bench.until(
            lambda: bench.container("main")["state"].get("waiting", {}).get("reason") == "CreateContainerError"
        )
        assert str(bench.folder / "work") in bench.container("main")["state"]["waiting"]["message"]
        (bench.folder / "work").unlink()
        bench.runner.references_changed()
        await bench.until(lambda: bench.container("main")["ready"])


async def test_a_program_that_cannot_be_recorded_is_not_left_running(tmp_path: Path) -> None:
    class Nothing:
        def write(self, data: bytes) -> None: ...

        def close(self) -> None: ...

    mark = f"sleep-{tmp_path.name}"
    environment = {processes.MARK: mark}
    with pytest.raises(OSError, match="Is a directory"):
        await processes.start(
            ["/bin/sleep", "60"], environment=environment, folder=tmp_path, output=Nothing(), record=tmp_path
        )
    assert processes.kill_leftovers([], frozenset({mark})) == []


async def test_lines_that_find_no_room_are_lost_and_the_next_ones_are_whole(tmp_path: Path) -> None:
    logs = ContainerLogs(tmp_path, system_env().clock)
    log = logs.begin()
    log.write(b"one\n")
    file = log._file
    with Path("/dev/full").open("ab", buffering=0) as full:
        log._file = full
        log.write(b"two\n")
    log._file = file
    log.write(b"three\n")
    log.close()
    path = logs.path()
    assert path is not None
    read = [line async for line in logs.read(path, LogQuery())]
    assert [line for line in read if line.strip()] == [b"one\n", b"three\n"]
