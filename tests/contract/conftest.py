"""A real kubectl against the embedded API server on a port from the kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.auth import Tokens, User
from insource.local.store import ApiError, Store
from tests.unit.local_widgets import CRDS, NAMESPACES, widget_crd

TOKEN = "t0ken"
KUBECTL = Path(__file__).parents[2] / ".venv" / "bin" / "kubectl"


class Lines:
    """Pod logs without a node."""

    async def read(self, namespace: str, pod: str, container: str, **options: Any) -> AsyncIterator[bytes]:
        if container != "c":
            raise ApiError(400, "BadRequest", f"container {container} is not valid for pod {pod}")
        lines = [b"one\n", b"two\n", b"three\n"]
        for line in lines[-(options["tail_lines"] or 3) :]:
            yield line


@dataclass
class Answer:
    code: int
    out: str
    err: str


@dataclass
class Cluster:
    """The server, its store, and the two ways to ask it."""

    store: Store
    url: str
    cache: Path

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        server = self.url.replace("http://", f"http://admin:{TOKEN}@")
        flags = ("--cache-dir", str(self.cache), "--server", server, "-n", "ns", "--kubeconfig", "/dev/null")
        return await asyncio.create_subprocess_exec(
            KUBECTL, *flags, *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def kubectl(self, *arguments: str, stdin: Any = None) -> Answer:
        process = await self.start(*arguments)
        given = json.dumps(stdin).encode() if stdin is not None else None
        out, err = await asyncio.wait_for(process.communicate(given), 30)
        return Answer(process.returncode or 0, out.decode(), err.decode())

    async def ok(self, *arguments: str, stdin: Any = None) -> str:
        answer = await self.kubectl(*arguments, stdin=stdin)
        assert answer.code == 0, answer.err
        return answer.out

    async def http(
        self, method: str, path: str, body: Any = None, token: str = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): v for name, v in headers.items()}}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=sent) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    env = system_env()
    store = Store(env)
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    store.create(CRDS, widget_crd())
    tokens = Tokens(store, env, {TOKEN: User("admin")}, b"k" * 32)
    runner = web.AppRunner(create_app(store, tokens, Lines()), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Cluster(store, f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path / "cache")
    await runner.cleanup()
