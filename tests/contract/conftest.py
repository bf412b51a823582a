"""A real kubectl against the embedded API server, over TLS with a bearer token, on a port from the kernel."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from insource.cli.certificates import ensure_certificates
from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.auth import Tokens, User
from insource.local.cluster import apply_at_start
from insource.local.store import ApiError, Store
from tests.contract.rights import Rights, fresh
from tests.servers import ApiServer
from tests.unit.local_widgets import CRDS, NAMESPACES, widget_crd

TOKEN = "t0ken"
KUBECTL = Path(sys.executable).with_name("kubectl")
CRD_FOLDER = Path(__file__).parents[2] / "crds"


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
    kubeconfig: Path
    trust: ssl.SSLContext

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        flags = ("--cache-dir", str(self.kubeconfig.with_name("cache")), "--kubeconfig", str(self.kubeconfig))
        return await asyncio.create_subprocess_exec(
            KUBECTL, *flags, *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def kubectl(self, *arguments: str, stdin: Any = None) -> Answer:
        process = await self.start(*arguments)
        text = stdin if isinstance(stdin, str) or stdin is None else json.dumps(stdin)
        given = text.encode() if text is not None else None
        out, err = await asyncio.wait_for(process.communicate(given), 60)
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
            session.request(method, self.url + path, json=body, headers=sent, ssl=self.trust) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority and the server's certificate."""
    folder = tmp_path_factory.mktemp("tls")
    ensure_certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key", datetime.now(UTC))
    return folder


def kubeconfig(url: str, authority: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [
            {"name": "here", "cluster": {"server": url, "certificate-authority": str(authority / "ca.pem")}},
        ],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin", "namespace": "ns"}}],
    }


@pytest.fixture
async def cluster(tmp_path: Path, authority: Path) -> AsyncIterator[Cluster]:
    env = system_env()
    store = Store(env)
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    store.create(("", "serviceaccounts"), {"metadata": {"name": "default"}}, "ns")
    store.create(CRDS, widget_crd())
    apply_at_start(store, CRD_FOLDER)
    tokens = Tokens(store, env, {TOKEN: User("admin", groups=("system:masters",))}, b"k" * 32)
    runner = web.AppRunner(create_app(store, tokens, Lines()), shutdown_timeout=1)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(authority / "server.pem", authority / "server.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(kubeconfig(url, authority)))
    yield Cluster(store, url, config, ssl.create_default_context(cafile=authority / "ca.pem"))
    await runner.cleanup()


@pytest.fixture
def rights(api: ApiServer) -> Iterator[Rights]:
    """A namespace and what is granted in it, taken back when the test ends."""
    with api.namespace(fresh("rbac")) as namespace:
        held = Rights(api, namespace)
        yield held
        for path in reversed(held.made):
            api.request("DELETE", path)
