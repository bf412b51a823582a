"""A pod runner without a store: real processes, statuses kept in a list."""

# ruff: noqa: ASYNC110  (waiting on a condition of another process)
from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from insource.env import system_env
from insource.local.images import ImageTable
from insource.local.pod_launch import Surroundings
from insource.local.pod_lifecycle import BackOff
from insource.local.pod_logs import LogQuery
from insource.local.pod_runner import PodRunner
from insource.local.store_errors import ApiError
from insource.local.volumes import TokenRequest

SHELL = "test/shell"
ADDRESS = "127.77.77.7"


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def record(self, subject: Any, reason: str, message: str, type: str = "Normal") -> None:
        self.seen.append((reason, message))


class PodBench:
    """One pod that runs, what it reported, and how to wait for something."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.events = Events()
        self.removed: list[str] = []
        self.tokens: list[TokenRequest] = []
        self.refusing = False
        """The API takes no write."""
        self.refused = 0
        self.runner: PodRunner
        self.task: asyncio.Task[None]
        self.folder: Path

    @property
    def status(self) -> dict[str, Any]:
        return self.statuses[-1] if self.statuses else {}

    def container(self, name: str) -> dict[str, Any]:
        every = [*self.status.get("initContainerStatuses", ()), *self.status.get("containerStatuses", ())]
        return next((held for held in every if held["name"] == name), {"state": {}, "restartCount": 0, "ready": False})

    def config_map(self, name: str, **data: str) -> None:
        self.objects["ConfigMap", name] = {"kind": "ConfigMap", "data": data}

    def secret(self, name: str, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.objects["Secret", name] = {"kind": "Secret", "data": encoded}

    def delete(self, grace_s: int = 30) -> None:
        metadata = {**self.runner.pod["metadata"], "deletionTimestamp": "x", "deletionGracePeriodSeconds": grace_s}
        self.runner.update({**self.runner.pod, "metadata": metadata})

    async def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"did not come: {self.status} {self.events.seen}") from None

    async def lines(self, name: str, *, runs_back: int = 0, **query: Any) -> list[str]:
        logs = self.runner.logs(name)
        assert logs is not None
        path = logs.path(runs_back=runs_back)
        if path is None:
            return []
        return [line.decode().rstrip("\n") async for line in logs.read(path, LogQuery(**query))]

    async def until_line(self, name: str, wanted: str) -> None:
        async with asyncio.timeout(60):
            while not any(wanted in line for line in await self.lines(name)):
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(
    folder: Path, spec: dict[str, Any], prepare: Callable[[PodBench], None] | None = None, **metadata: Any
) -> AsyncIterator[PodBench]:
    """Runs a pod of this spec until the block is left."""
    bench = PodBench()
    if prepare is not None:
        prepare(bench)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "voice", "uid": "uid-1", **metadata},
        "spec": {"nodeName": "n", **spec},
    }

    def check() -> None:
        if bench.refusing:
            bench.refused += 1
            raise ApiError(500, "InternalError", "nothing was changed: the disk is full")

    def remove(held: dict[str, Any]) -> None:
        check()
        bench.removed.append(held["metadata"]["uid"])

    def write(held: dict[str, Any], status: dict[str, Any]) -> None:
        check()
        bench.statuses.append(status)
        bench.runner.update({**held, "status": status})

    def issue(request: TokenRequest) -> str:
        bench.tokens.append(request)
        return f"token-{len(bench.tokens)}"

    async with aiohttp.ClientSession() as session:
        around = Surroundings(
            env=system_env(),
            pods_folder=folder / "pods",
            claims_folder=folder / "claims",
            images=ImageTable({SHELL: ("/bin/sh", "-c")}),
            host_ip="127.77.77.1",
            session=session,
            events=bench.events,  # type: ignore[arg-type]
            lookup=lambda kind, _, name: bench.objects.get((kind, name)),
            issue=issue,
            write_status=write,
            remove=remove,
            back_off=BackOff(0.2, 0.4),
        )
        bench.folder = folder / "pods" / "uid-1"
        bench.folder.mkdir(parents=True, exist_ok=True)
        bench.runner = PodRunner(pod, ADDRESS, around)
        bench.task = asyncio.create_task(bench.runner.run())
        try:
            yield bench
        finally:
            bench.runner.vanish()
            await bench.task


def shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A container that runs a shell script."""
    return {"name": name, "image": SHELL, "args": [script], **more}
