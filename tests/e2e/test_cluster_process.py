"""The cluster as the program that people start: killed, stopped, started again; no process is ever left."""

# ruff: noqa: ASYNC110, ASYNC240  (waiting on a condition of another process)
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.cluster_pods import IMAGES, TOKEN, container, processes_of, settings

pytestmark = pytest.mark.e2e


class Api:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ready(self) -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self._session.get(f"{self._url}/api/v1/nodes") as answer:
                        if answer.status == 200 and (await answer.json())["items"]:
                            return
                await asyncio.sleep(0.05)

    async def create_pod(self, name: str, spec: dict[str, Any]) -> None:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        async with self._session.post(f"{self._url}/api/v1/namespaces/default/pods", json=pod) as answer:
            assert answer.status == 201, await answer.text()

    async def running(self, name: str, restarts: int) -> None:
        async with asyncio.timeout(60):
            while True:
                async with self._session.get(f"{self._url}/api/v1/namespaces/default/pods/{name}") as answer:
                    held = ((await answer.json()).get("status") or {}).get("containerStatuses") or [{}]
                if held[0].get("ready") and held[0]["restartCount"] == restarts:
                    return
                await asyncio.sleep(0.05)


async def ready_url(log: Path) -> str:
    """What the program says when it is ready: the kernel has chosen its port."""
    async with asyncio.timeout(120):
        while True:
            for line in log.read_text().splitlines():
                if line.startswith("{") and (said := json.loads(line)).get("event") == "ready":
                    return str(said["url"])
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def program(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Api]]:
    """`insource cluster` on this folder."""
    told = settings(folder)
    told.data.mkdir(exist_ok=True)
    told.run_dir.mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "insource", "cluster", "--data", str(told.data), "--run-dir", str(told.run_dir)),
            *("--port", "0", "--tokens-file", str(told.tokens_file)),
            env={**os.environ, "INSOURCE_LOCAL_IMAGES": IMAGES, "PYTHONPATH": str(Path("operator").absolute())},
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            api = Api(session, await ready_url(folder / "log"))
            await api.ready()
            yield process, api
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def none_left(folder: Path) -> None:
    async with asyncio.timeout(60):
        while processes_of(folder):
            await asyncio.sleep(0.01)


async def test_killed_leaves_nothing_and_starts_the_same_pods_again(tmp_path: Path) -> None:
    async with program(tmp_path) as (process, api):
        await api.create_pod("p", {"containers": [container()]})
        await api.running("p", restarts=0)
        assert processes_of(tmp_path)
        process.kill()
        await process.wait()
        await none_left(tmp_path)
    async with program(tmp_path) as (_, api):
        await api.running("p", restarts=1)
        assert len(processes_of(tmp_path)) == 1
    await none_left(tmp_path)


async def test_what_a_container_left_behind_is_ended_by_the_next_start(tmp_path: Path) -> None:
    """The kernel ends a container with the cluster, but not what the container itself had started."""
    script = "(trap '' TERM; exec sleep 301) & exec sleep 300"
    async with program(tmp_path) as (process, api):
        await api.create_pod("p", {"containers": [container(script)]})
        await api.running("p", restarts=0)
        async with asyncio.timeout(60):
            while len(processes_of(tmp_path)) < 2:
                await asyncio.sleep(0.01)
        before = set(processes_of(tmp_path))
        process.kill()
        await process.wait()
    async with program(tmp_path) as (process, api):
        await api.running("p", restarts=1)
        assert not before & set(processes_of(tmp_path))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        assert processes_of(tmp_path) == []


async def test_sigterm_lets_pods_end_in_peace(tmp_path: Path) -> None:
    path = tmp_path / "said"
    script = f"trap 'echo bye >> {path}; exit 0' TERM; touch {path}; while :; do sleep 0.05; done"
    async with program(tmp_path) as (process, api):
        await api.create_pod("p", {"containers": [container(script)]})
        await api.running("p", restarts=0)
        async with asyncio.timeout(60):
            while not path.exists():
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        assert path.read_text() == "bye\n"
        assert processes_of(tmp_path) == []


async def test_two_clusters_do_not_meet(tmp_path: Path) -> None:
    async with program(tmp_path / "a"), program(tmp_path / "b"):
        blocks = {(tmp_path / name / "c" / "node" / "address-block").read_text() for name in ("a", "b")}
        assert len(blocks) == 2
