"""Pods as real processes: order, restarts, grace, probes, volumes, refusals. No store, no API."""

# ruff: noqa: ASYNC240  (waiting on a condition of another process)
from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from insource.local import processes
from tests.unit.node_pods import ADDRESS, PodBench, running, shell

SLEEP = "exec sleep 60"
GRACE = {"terminationGracePeriodSeconds": 1}


def alive(marker: str) -> list[int]:
    """Processes whose command line holds `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in words:
                found.append(int(entry.name))
    return found


def logger(path: Path, name: str, after: str = "") -> str:
    """A script that notes its start and its SIGTERM in one file."""
    return (
        f"trap '{after} echo stop-{name} >> {path}; exit 0' TERM; echo start-{name} >> {path}; "
        f"touch {path}.{name}; while :; do sleep 0.02; done"
    )


async def test_a_pod_runs_and_reports_as_the_kubelet_does(tmp_path: Path) -> None:
    async with running(tmp_path, {"containers": [shell("main", f"echo hello $HOSTNAME; {SLEEP}")]}) as bench:
        await bench.until(lambda: bench.container("main")["ready"])
        status = bench.status
        assert status["phase"] == "Running"
        assert status["podIP"] == ADDRESS
        conditions = {held["type"]: held["status"] for held in status["conditions"]}
        assert all(conditions[name] == "True" for name in ("Initialized", "Ready", "ContainersReady", "PodScheduled"))
        assert "running" in bench.container("main")["state"]
        await bench.until_line("main", "hello p")
        count = len(bench.statuses)
        bench.runner.references_changed()
        await asyncio.sleep(0.1)
        assert len(bench.statuses) == count, "a status is written only when it changes"


async def test_sidecars_start_in_order_and_stop_in_reverse_after_the_mains(tmp_path: Path) -> None:
    path = tmp_path / "order"
    probe = {"exec": {"command": ["test", "-e", f"{path}.one"]}, "periodSeconds": 1}
    spec = {
        "initContainers": [
            shell("prepare", f"echo prepare >> {path}"),
            shell("one", "sleep 0.3; " + logger(path, "one"), restartPolicy="Always", startupProbe=probe),
            shell("two", logger(path, "two"), restartPolicy="Always"),
        ],
        "containers": [shell("main", logger(path, "main", after="sleep 0.2;"))],
    }
    async with running(tmp_path, spec) as bench:
        await bench.until(lambda: path.exists() and "start-main" in path.read_text())
        bench.delete()
        await bench.until(lambda: bench.removed == ["uid-1"])
        assert path.read_text().split() == [
            "prepare",
            "start-one",
            "start-two",
            "start-main",
            "stop-main",
            "stop-two",
            "stop-one",
        ]
        assert not bench.folder.exists()


async def test_a_killed_container_comes_back_with_its_last_state(tmp_path: Path) -> None:
    async with running(tmp_path, {"containers": [shell("main", f"echo $$$$; {SLEEP}")]}) as bench:
        await bench.until_line("main", "")
        os.kill(int((await bench.lines("main"))[0]), signal.SIGKILL)
        await bench.until(lambda: bench.container("main")["restartCount"] == 1 and bench.container("main")["ready"])
        last = bench.container("main")["lastState"]["terminated"]
        assert (last["exitCode"], last["signal"], last["reason"]) == (137, 9, "Error")


async def test_crash_loop_backs_off(tmp_path: Path) -> None:
    async with running(tmp_path, {"containers": [shell("main", "echo no; exit 3")]}) as bench:
        await bench.until(lambda: bench.container("main")["restartCount"] >= 2)
        waiting = [held["containerStatuses"][0]["state"].get("waiting", {}).get("reason") for held in bench.statuses]
        assert "CrashLoopBackOff" in waiting
        assert await bench.lines("main", runs_back=1) == ["no"]


async def test_grace_then_sigkill_of_the_whole_group(tmp_path: Path) -> None:
    marker = f"sleep 61.{os.getpid()}"
    script = f"trap '' TERM; {marker} & echo up; while :; do sleep 0.05; done"
    async with running(tmp_path, {"containers": [shell("main", script)]}) as bench:
        await bench.until_line("main", "up")
        began_s = asyncio.get_running_loop().time()
        bench.delete(grace_s=1)
        await bench.until(lambda: bench.removed)
        assert asyncio.get_running_loop().time() - began_s >= 0.9
        assert not alive(f"sleep\x0061.{os.getpid()}")


async def test_force_deleted_dies_at_once(tmp_path: Path) -> None:
    script = f"trap '' TERM; echo $$$$; sleep 62.{os.getpid()}; sleep 5"
    async with running(tmp_path, {"containers": [shell("main", script)]}) as bench:
        await bench.until_line("main", "")
        pid = int((await bench.lines("main"))[0])
        bench.runner.vanish()
        await asyncio.wait_for(bench.task, 60)
        assert not Path(f"/proc/{pid}").exists()
        assert not alive(f"62.{os.getpid()}")
        assert bench.removed == []


async def test_pre_stop_runs_before_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "order"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook >> {path}"]}}}
    async with running(tmp_path, {"containers": [shell("main", logger(path, "main"), lifecycle=hook)]}) as bench:
        await bench.until(lambda: path.exists())
        bench.delete()
        await bench.until(lambda: bench.removed)
        assert path.read_text().split() == ["start-main", "hook", "stop-main"]


async def test_readiness_comes_and_goes(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    probe = {"exec": {"command": ["test", "-e", str(gate)]}, "periodSeconds": 1, "failureThreshold": 1}
    async with running(tmp_path, {"containers": [shell("main", SLEEP, readinessProbe=probe)]}) as bench:
        await bench.until(lambda: bench.status.get("phase") == "Running")
        assert not bench.container("main")["ready"]
        gate.touch()
        await bench.until(lambda: bench.container("main")["ready"])
        gate.unlink()
        await bench.until(lambda: not bench.container("main")["ready"])
        assert any(reason == "Unhealthy" for reason, _ in bench.events.seen)


async def test_liveness_failure_restarts(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    probe = {"exec": {"command": ["test", "-e", str(gate)]}, "periodSeconds": 1, "failureThreshold": 1}
    async with running(tmp_path, {"containers": [shell("main", SLEEP, livenessProbe=probe)]}) as bench:
        await bench.until(lambda: bench.container("main")["ready"])
        gate.unlink()
        await bench.until(lambda: bench.container("main")["restartCount"] >= 1)
        assert any("failed liveness probe, will be restarted" in message for _, message in bench.events.seen)


@pytest.mark.parametrize("probe", ["livenessProbe", "startupProbe"])
async def test_a_probe_has_a_grace_of_its_own(probe: str, tmp_path: Path) -> None:
    asked = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    deaf = shell("main", "trap '' TERM; while :; do sleep 0.05; done", **{probe: asked | GRACE})
    spec = {"containers": [deaf], "terminationGracePeriodSeconds": 3600}
    async with running(tmp_path, spec) as bench:
        await bench.until(lambda: bench.container("main")["restartCount"] >= 1)
        assert bench.container("main")["lastState"]["terminated"]["exitCode"] == 128 + signal.SIGKILL


async def test_a_pod_that_is_deleted_has_its_own_grace_whatever_its_probes_have(tmp_path: Path) -> None:
    path = tmp_path / "order"
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1} | GRACE
    slow = shell("main", logger(path, "main", after="sleep 2.5;"), livenessProbe=probe)
    async with running(tmp_path, {"containers": [slow]}) as bench:
        await bench.until(lambda: path.exists())
        bench.delete(grace_s=60)
        await bench.until(lambda: bench.removed)
        assert path.read_text().split() == ["start-main", "stop-main"]


async def test_http_and_tcp_probes_on_the_pods_own_address(tmp_path: Path) -> None:
    server = f"exec python3 -m http.server --bind $POD_IP 18080 --directory {tmp_path}"
    container = shell(
        "main",
        server,
        env=[{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        ports=[{"name": "web", "containerPort": 18080}],
        startupProbe={"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 30},
        readinessProbe={"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1},
    )
    async with running(tmp_path, {"containers": [container]}) as bench:
        await bench.until(lambda: bench.container("main")["ready"])


def prepared(bench: PodBench) -> None:
    bench.config_map("settings", first="1")
    bench.secret("key", key="hush")


async def test_volumes_live_update_and_tokens(tmp_path: Path) -> None:
    token = {"serviceAccountToken": {"path": "token", "audience": "ledger", "expirationSeconds": 600}}
    spec: dict[str, Any] = {
        "serviceAccountName": "adapter",
        "volumes": [
            {"name": "c", "configMap": {"name": "settings"}},
            {"name": "s", "secret": {"secretName": "key", "items": [{"key": "key", "path": "deep/file"}]}},
            {"name": "late", "secret": {"secretName": "late", "optional": True}},
            {"name": "t", "projected": {"sources": [token]}},
            {"name": "e", "emptyDir": {}},
        ],
        "containers": [
            shell(
                "main",
                f"cat /c/first /s/deep/file /t/token; touch $WAL/x; echo $WAL; {SLEEP}",
                env=[{"name": "WAL", "value": "/e"}],
                volumeMounts=[{"name": n, "mountPath": f"/{n}"} for n in ("c", "s", "t", "e", "late")],
            )
        ],
    }
    async with running(tmp_path, spec, prepared) as bench:
        await bench.until_line("main", str(bench.folder))
        volumes = bench.folder / "volumes"
        assert (await bench.lines("main"))[0].startswith("1hushtoken-1")
        assert (volumes / "e" / "x").exists()
        assert bench.tokens[0].audience == "ledger"
        assert bench.tokens[0].service_account == "adapter"
        bench.config_map("settings", second="2")
        bench.secret("late", now="here")
        bench.runner.references_changed()
        await bench.until(lambda: (volumes / "c" / "second").exists(), timeout_s=1)
        assert not (volumes / "c" / "first").exists()
        assert (volumes / "c" / "second").read_text() == "2"
        assert (volumes / "late" / "now").read_text() == "here"
        assert (volumes / "c" / "..data").is_symlink()
        assert len(bench.tokens) == 1, "a token is not issued anew before its time"


async def test_a_token_is_replaced_at_four_fifths_of_its_life(tmp_path: Path) -> None:
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 1}}
    spec = {
        "volumes": [{"name": "t", "projected": {"sources": [token]}}],
        "containers": [shell("main", SLEEP)],
    }
    async with running(tmp_path, spec) as bench:
        file = bench.folder / "volumes" / "t" / "token"
        await bench.until(lambda: file.exists() and file.read_text() == "token-2", timeout_s=3)


@pytest.mark.parametrize("path", ["", "/run/last-words"])
async def test_a_programs_last_words_are_told(tmp_path: Path, path: str) -> None:
    more = {"terminationMessagePath": path} if path else {}
    words = shell("main", f"echo gone wrong > {path or '/dev/termination-log'}; exit 3", **more)
    async with running(tmp_path, {"containers": [words]}) as bench:
        await bench.until(lambda: bench.container("main").get("lastState", {}).get("terminated"))
        ended = bench.container("main")["lastState"]["terminated"]
        assert (ended["exitCode"], ended["message"]) == (3, "gone wrong\n")


async def test_each_run_begins_without_last_words(tmp_path: Path) -> None:
    script = f"[ -e once ] && exit 4; touch once; echo first > /dev/termination-log; exit 3; {SLEEP}"
    async with running(tmp_path, {"containers": [shell("main", script)]}) as bench:

        def ended() -> dict[str, Any]:
            found: dict[str, Any] = bench.container("main").get("lastState", {}).get("terminated", {})
            return found

        await bench.until(lambda: ended().get("exitCode") == 4)
        assert "message" not in ended()


async def test_a_missing_secret_is_named_and_heals(tmp_path: Path) -> None:
    source = {"secretKeyRef": {"name": "key", "key": "key"}}
    container = shell("main", f"echo $KEY; {SLEEP}", env=[{"name": "KEY", "valueFrom": source}])
    async with running(tmp_path, {"containers": [container]}) as bench:
        await bench.until(lambda: bench.container("main")["state"].get("waiting", {}).get("message"))
        waiting = bench.container("main")["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerConfigError", "message": 'secret "key" not found'}
        assert bench.status["phase"] == "Pending"
        bench.secret("key", key="hush")
        bench.runner.references_changed()
        await bench.until_line("main", "hush")


async def test_an_unknown_image_and_an_unsupported_field_are_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path, {"containers": [{"name": "main", "image": "nginx:1"}]}) as bench:
        await bench.until(lambda: bench.status)
        waiting = bench.container("main")["state"]["waiting"]
        assert waiting["reason"] == "ErrImagePull"
        assert "only Insource's own images" in waiting["message"]
        assert bench.status["phase"] == "Pending"
    async with running(tmp_path, {"hostNetwork": True, "containers": [shell("main", SLEEP)]}) as bench:
        await bench.until(lambda: bench.status)
        assert bench.status["reason"] == "Unsupported"
        assert "hostNetwork" in bench.status["message"]
        assert bench.status["phase"] == "Pending"
        bench.delete()
        await bench.until(lambda: bench.removed)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    container = {"name": "main", "image": "insource/insource:1", "command": ["/no/such/program"]}
    async with running(tmp_path, {"containers": [container]}) as bench:
        await bench.until(lambda: bench.container("main").get("lastState"))
        assert bench.container("main")["lastState"]["terminated"]["reason"] == "StartError"


async def test_a_volume_over_the_interpreters_own_folder_does_not_hide_it(tmp_path: Path) -> None:
    """The image's program is this machine's, wherever it lies; only the container's own words name mounted paths."""
    folder = str(Path(sys.executable).parent)
    container = {
        "name": "main",
        "image": "insource/insource:1",
        "command": ["python3", "-c", f"import sys; open(sys.argv[1], 'w').write('here'); print({folder!r})"],
        "args": [f"{folder}/written"],
        "volumeMounts": [{"name": "over", "mountPath": folder}],
    }
    pod = {"containers": [container], "volumes": [{"name": "over", "emptyDir": {}}], "restartPolicy": "Never"}
    async with running(tmp_path, pod) as bench:
        await bench.until(lambda: bench.container("main")["state"].get("terminated"))
        assert bench.container("main")["state"]["terminated"]["exitCode"] == 0
        assert [path.read_text() for path in tmp_path.rglob("written")] == ["here"]
    assert not (Path(folder) / "written").exists()


async def test_logs_follow_until_the_run_ends(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4; do echo line $i; sleep 0.05; done"
    spec = {"restartPolicy": "Never", "containers": [shell("main", script)]}
    async with running(tmp_path, spec) as bench:
        await bench.until_line("main", "line 1")
        assert (await bench.lines("main", follow=True))[-1] == "line 4"
        assert await bench.lines("main", tail=2) == ["line 3", "line 4"]
        stamped = await bench.lines("main", tail=1, timestamps=True)
        assert stamped[0].endswith("Z line 4")
        await bench.until(lambda: bench.status["phase"] == "Succeeded")


@pytest.mark.parametrize("how", ["record", "environment"])
async def test_leftovers_of_a_dead_node_are_killed(tmp_path: Path, how: str) -> None:
    environment = {**os.environ, **({processes.MARK: "uid-9"} if how == "environment" else {})}
    process = await asyncio.create_subprocess_exec("sleep", "63", env=environment, start_new_session=True)
    record = tmp_path / "main.pid"
    if how == "record":
        processes._remember(record, process.pid)
    assert processes.kill_leftovers([record], frozenset({"uid-9"})) == [process.pid]
    assert await process.wait() == -signal.SIGKILL
    assert not record.exists()
