"""A real Envoy and a real agent in front of small fake adapters and a fake ledger, all on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from insource.env import system_env
from insource.gateway.agent import Agent
from insource.gateway.envoy import EnvoySettings, write_configuration
from insource.gateway.settings import AgentSettings
from insource.gateway.sources import Source, StaticSource
from insource.gateway.view import ClientKey, DeploymentKey, DeploymentView, Pool
from insource.wire.vocabulary import BackendKind, Role
from tests.ports import free_port

KEY = DeploymentKey("voice", "dictation")
ALICE = ClientKey("alice", "sk-alice-5d41402abc4b2a76")
BOB = ClientKey("bob", "sk-bob-7d793037a0760186")
MASTER = b"master-of-tests"
AUTH = {"authorization": f"Bearer {ALICE.key}"}
PATH = f"/{KEY}/v1/audio/transcriptions"


async def until(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]], limit_s: float = 60.0, what: str = ""
) -> Any:
    """Wait for a condition with a deadline; the condition may raise OSError or a client error meanwhile."""
    deadline = time.monotonic() + limit_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            last = value
        except (OSError, aiohttp.ClientError) as error:
            last = error
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {limit_s} s: {what or condition} (last: {last!r})")


@dataclass
class Seen:
    """One request as an adapter saw it."""

    headers: dict[str, str]
    path: str
    size: int


Behaviour = Callable[[web.Request, int], Awaitable[web.StreamResponse]]


async def ok(request: web.Request, size: int) -> web.StreamResponse:
    return web.json_response({"text": "hello", "size": size}, headers={"x-insource-outcome": "ok"})


def status(code: int, outcome: str | None = None, **headers: str) -> Behaviour:
    async def answer(request: web.Request, size: int) -> web.StreamResponse:
        extra = {**headers, **({"x-insource-outcome": outcome} if outcome else {})}
        return web.json_response({"error": {"message": outcome or "x"}}, status=code, headers=extra)

    return answer


async def reset(request: web.Request, size: int) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def break_off(request: web.Request, size: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"x-insource-outcome": "ok", "content-length": "1000"})
    await response.prepare(request)
    await response.write(b"a" * 100)
    await asyncio.sleep(0.05)
    assert request.transport
    request.transport.abort()
    return response


class Adapter:
    """A backend with one port per role, whose behaviour per role can be changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ports: dict[str, int] = {}
        self.behaviour: dict[str, Behaviour] = defaultdict(lambda: ok)
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self._runners: list[web.AppRunner] = []

    async def start(self) -> Adapter:
        for role in ("serve", "rescue", "spill"):
            app = web.Application(client_max_size=0)
            app.router.add_route("*", "/{path:.*}", self._handler(role))
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.ports[role] = runner.addresses[0][1]
            self._runners.append(runner)
        return self

    def _handler(self, role: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            size = 0
            async for chunk in request.content.iter_any():
                size += len(chunk)
            self.seen[role].append(Seen({k.lower(): v for k, v in request.headers.items()}, request.path, size))
            return await self.behaviour[role](request, size)

        return handle

    def clear(self) -> None:
        self.behaviour.clear()
        self.seen.clear()

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def pool(self, role: Role, *, revision: str = "r1", weight: int = 1, vendor: str = "") -> Pool:
        kind = BackendKind.VENDOR if vendor else BackendKind.IN_HOUSE
        address = ("127.0.0.1", self.ports[role.value])
        return Pool(self.name, "" if vendor else revision, kind, vendor, role, weight, (address,))


class Ledger:
    """Keeps sightings; can be away."""

    def __init__(self) -> None:
        self.sightings: dict[str, dict[str, Any]] = {}
        self.deliveries = 0
        self.away = False
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> Ledger:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/sightings", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def _take(self, request: web.Request) -> web.Response:
        if self.away or request.headers.get("authorization") != "Bearer ledger-token":
            return web.Response(status=503)
        batch = (await request.json())["sightings"]
        self.deliveries += len(batch)
        conflicts = []
        for each in batch:
            if self.sightings.setdefault(each["attempt_id"], each) != each:
                conflicts.append(each["attempt_id"])
        return web.json_response({"accepted": len(batch), "duplicates": 0, "conflicts": conflicts})

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()


@dataclass
class Gateway:
    """One gateway with its surroundings."""

    root: Path
    run_dir: Path
    source: StaticSource
    adapter: Adapter
    vendor: Adapter
    ledger: Ledger
    port: int
    session: aiohttp.ClientSession
    agent: Agent | None = None
    task: asyncio.Task[None] | None = None
    envoy: subprocess.Popen[bytes] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    envoy_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        scheme = "https" if self.envoy_settings.get("tls_dir") else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    def agent_settings(self) -> AgentSettings:
        base = AgentSettings(
            kubeconfig=None,
            state_dir=self.state_dir,
            run_dir=self.run_dir,
            admin_host="127.0.0.1",
            admin_port=0,
            master_file=self.root / "master",
            ledger_url=self.ledger.url,
            ledger_token_file=self.root / "token",
            pod="gateway-0",
        )
        return replace(base, **self.settings)

    async def start_agent(self, source: Source | None = None) -> None:
        self.agent = Agent(self.agent_settings(), source or self.source, system_env())
        self.task = asyncio.create_task(self.agent.run())
        waiter = asyncio.create_task(self.agent.started.wait())
        await asyncio.wait({waiter, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self.task.done():
            self.task.result()

    async def stop_agent(self) -> None:
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    def start_envoy(self) -> None:
        settings = EnvoySettings(
            "127.0.0.1", self.port, self.state_dir, self.run_dir, concurrency=2, **self.envoy_settings
        )
        with (self.root / "envoy.err").open("ab") as errors:
            self.envoy = subprocess.Popen(write_configuration(settings, system_env()), stderr=errors)

    def kill_envoy(self, number: int = signal.SIGKILL) -> None:
        if self.envoy:
            self.envoy.send_signal(number)
            self.envoy.wait()
            self.envoy = None

    def envoy_errors(self) -> str:
        return (self.root / "envoy.err").read_text()

    async def admin(self, path: str, method: str = "GET") -> Any:
        assert self.agent
        async with self.session.request(method, f"http://127.0.0.1:{self.agent.admin_port}{path}") as answer:
            text = await answer.text()
            return json.loads(text) if answer.content_type == "application/json" else (answer.status, text)

    async def ready(self) -> None:
        async def check() -> bool:
            assert self.envoy is None or self.envoy.poll() is None, self.envoy_errors()
            return bool((await self.admin("/readyz"))[0] == 200)

        await until(check, what="gateway ready")

    async def post(
        self, path: str = PATH, body: bytes = b"{}", headers: dict[str, str] | None = None, session: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        async with (session or self.session).post(
            self.url + path, data=io.BytesIO(body), headers=AUTH if headers is None else headers
        ) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def applied(self, version: int, key: DeploymentKey = KEY) -> None:
        async def check() -> bool:
            return bool((await self.admin("/applied"))["deployments"].get(str(key), {}).get("version") == version)

        await until(check, what=f"version {version} applied")

    def view(self, version: int = 1, **changes: Any) -> DeploymentView:
        standard = DeploymentView(
            KEY,
            version,
            1,
            serve=(self.adapter.pool(Role.SERVE),),
            rescue=(self.adapter.pool(Role.RESCUE),),
            spill=(self.vendor.pool(Role.SPILL, vendor="openai"),),
            clients=("alice",),
            request_timeout_s=20,
            max_body_bytes=32 << 20,
        )
        return replace(standard, **changes)

    async def put(self, view: DeploymentView) -> None:
        self.source.put(view)
        await self.applied(view.version, view.key)

    def lines(self) -> list[dict[str, Any]]:
        files = sorted(self.state_dir.glob("access.log*"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    async def seen_by_ledger(self, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self.ledger.sightings) >= count, what=f"{count} sightings")
        return list(self.ledger.sightings.values())


@contextlib.asynccontextmanager
async def gateway(root: Path, envoy: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway that is ready, with one deployment: in-house, rescue, and a vendor to spill to."""
    run_dir = Path(tempfile.mkdtemp(prefix="isg"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
        (root / "master").write_bytes(MASTER + b"\n")
        (root / "token").write_text("ledger-token")
        adapter, vendor, ledger = Adapter("inhouse"), Adapter("openai"), Ledger()
        for each in (adapter, vendor, ledger):
            await each.start()
            stack.push_async_callback(each.stop)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        )
        source = StaticSource(keys=(ALICE, BOB))
        gw = Gateway(root, run_dir, source, adapter, vendor, ledger, free_port(), session, settings=settings)
        gw.envoy_settings.update(envoy or {})
        source.put(gw.view())
        stack.callback(gw.kill_envoy)
        stack.push_async_callback(gw.stop_agent)
        await gw.start_agent()
        gw.start_envoy()
        await gw.ready()
        yield gw


def pid_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
