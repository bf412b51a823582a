"""An adapter with a fake model server and a fake ledger around it, all on loopback with the kernel's ports."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from insource.adapter.server import Adapter
from insource.adapter.settings import InHouseSettings, Patience, Settings, VendorSettings
from insource.adapter.warmup import tone_wav
from insource.env import system_env
from insource.wire.vocabulary import Dialect, Modality
from tests.gateway.adapter_answers import USUAL, VERBOSE, usual

TOKEN = "ab" * 32
KEY = "sk-test-key-of-the-vendor"


@dataclass
class FakeServer:
    """A backend in OpenAI's shape that answers as told and keeps what it was asked."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    working: Callable[[], Awaitable[None]] | None = None
    """Awaited between a call's arrival and its usual answer."""
    healthy: Callable[[], Awaitable[bool]] | None = None
    port: int = 0
    warm: bool = True
    probes: int = 0
    """Warm-ups that were asked for."""

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        call: dict[str, Any] = {name: value for name, value in form.items() if name != "file"}
        call |= {
            "granularities": list(form.getall("timestamp_granularities[]", ())),
            "bytes": file.file.read(),
            "filename": file.filename,
            "authorization": request.headers.get("authorization"),
            "request_id": request.headers.get("x-request-id", ""),
            "headers": dict(request.headers),
        }
        file.file.close()
        if not call["request_id"].startswith("probe-"):
            self.calls.append(call)
            if self.answer is not None:
                return await self.answer(request)
            if self.working is not None:
                await self.working()
        else:
            self.probes += 1
        if not self.warm:
            return web.json_response({"error": {"message": "loading"}}, status=503)
        if call["response_format"] == "json":
            return web.json_response({"text": VERBOSE["text"], "usage": VERBOSE["usage"]})
        return web.json_response(VERBOSE)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Everything that is asked for in JSON."""
        body = await request.json()
        if request.headers.get("x-request-id", "").startswith("probe-"):
            self.probes += 1
            return await usual(request, body)
        headers = dict(request.headers)
        self.calls.append({"path": request.path, "body": body, "headers": headers})
        if self.answer is not None:
            return await self.answer(request)
        if self.working is not None:
            await self.working()
        return await usual(request, body)

    async def edit(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        files = [(name, value) for name, value in form.items() if isinstance(value, web.FileField)]
        pictures = [(name, file.filename, file.content_type, file.file.read()) for name, file in files]
        for _, file in files:
            file.file.close()
        self.calls.append({"path": request.path, "body": texts, "pictures": pictures, "headers": dict(request.headers)})
        if self.answer is not None:
            return await self.answer(request)
        content_type, content = USUAL["/images/generations"]({"n": int(texts.get("n", 1))})
        return web.Response(body=content, content_type=content_type)

    async def health(self, request: web.Request) -> web.Response:
        ok = await self.healthy() if self.healthy else True
        return web.Response(status=200 if ok else 503)


@dataclass
class FakeLedger:
    """Keeps every record it is sent; refuses what a test wants refused."""

    records: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    reservations: list[dict[str, Any]] = field(default_factory=list)
    grant: dict[str, Any] = field(default_factory=lambda: {"granted": True})
    away: bool = False
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.away:
            return web.json_response({"error": {}}, status=503)
        self.tokens.append(request.headers.get("authorization", ""))
        duplicates = 0
        for record in body["records"]:
            key = (record["attempt_id"], record["kind"])
            if key in self.records:
                duplicates += 1
                if self.records[key] != record:
                    self.conflicts.append(record["attempt_id"])
            self.records.setdefault(key, record)
        return web.json_response({"accepted": len(body["records"]) - duplicates, "duplicates": duplicates})

    async def reserve(self, request: web.Request) -> web.Response:
        if self.away:
            return web.json_response({"error": {}}, status=503)
        self.reservations.append(await request.json())
        return web.json_response(self.grant)

    def ends(self) -> dict[str, dict[str, Any]]:
        return {attempt: record for (attempt, kind), record in self.records.items() if kind == "usage"}

    def starts(self) -> dict[str, dict[str, Any]]:
        return {attempt: record for (attempt, kind), record in self.records.items() if kind == "attempt"}


@dataclass
class World:
    adapter: Adapter
    server: FakeServer
    ledger: FakeLedger
    session: aiohttp.ClientSession
    folder: Path
    settings: Settings
    sent: int = 0

    def url(self, path: str = "/v1/audio/transcriptions", role: str = "serve") -> str:
        return f"http://127.0.0.1:{self.adapter.ports[role]}{path}"

    def identity(self, **changes: str) -> dict[str, str]:
        self.sent += 1
        headers = {
            "x-request-id": f"req-{self.sent}",
            "x-envoy-attempt-count": "1",
            "x-insource-namespace": "voice",
            "x-insource-deployment": "dictation",
            "x-insource-client": "anna",
            "x-insource-gateway-token": TOKEN,
        }
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in headers.items() if value}

    async def post(
        self, fields: list[tuple[str, str]] | None = None, audio: bytes | None = b"", role: str = "serve",
        name: str = "speech.wav", path: str = "/v1/audio/transcriptions", **headers: str,
    ) -> Reply:  # fmt: skip
        data = form(fields, audio, name)
        async with self.session.post(self.url(path, role), data=data, headers=self.identity(**headers)) as response:
            return Reply(response.status, CIMultiDict(response.headers), await response.read())

    async def send_form(self, path: str, parts: Iterable[tuple[str, str | bytes]]) -> Reply:
        """Post a form: what is bytes goes as a file."""
        data = aiohttp.FormData(default_to_multipart=True)
        for part, value in parts:
            if isinstance(value, bytes):
                data.add_field(part, io.BytesIO(value), filename="a.png", content_type="image/png")
            else:
                data.add_field(part, value)
        async with self.session.post(self.url(path), data=data, headers=self.identity()) as response:
            return Reply(response.status, CIMultiDict(response.headers), await response.read())

    async def ask(self, path: str, body: Any, role: str = "serve", **headers: str) -> Reply:
        """Post JSON (or bytes that claim to be)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        identity = {"content-type": "application/json", **self.identity(**headers)}
        async with self.session.post(self.url(path, role), data=data, headers=identity) as response:
            return Reply(response.status, CIMultiDict(response.headers), await response.read())

    async def quantities(self, request: str) -> dict[tuple[str, str], int]:
        """What the ledger was told of this attempt: (unit, source) -> quantity."""
        end = await self.ended(request)
        return {(each["unit"], each["source"]): each["quantity"] for each in end["quantities"]}

    async def ended(self, request: str, number: int = 1) -> dict[str, Any]:
        """The ledger's end of this attempt, once it has come."""
        attempt = f"{request}.0.{number}"
        await until(lambda: attempt in self.ledger.ends())
        return self.ledger.ends()[attempt]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error

    @property
    def outcome(self) -> str:
        return self.headers["x-insource-outcome"]

    @property
    def request(self) -> str:
        return self.headers["x-request-id"]


class Hanging:
    """A server's answer that never comes."""

    def __init__(self) -> None:
        self.entered, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError


def form(fields: list[tuple[str, str]] | None, audio: bytes | None, name: str = "speech.wav") -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for field_name, value in fields if fields is not None else [("model", "whisper-1")]:
        data.add_field(field_name, value)
    if audio is not None:
        data.add_field("file", io.BytesIO(audio or tone_wav()), filename=name, content_type="audio/wav")
    return data


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def serve(application: web.Application) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


def server_application(server: FakeServer) -> web.Application:
    application = web.Application(client_max_size=1 << 30)
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        application.router.add_post(path, server.transcribe)
    for path in USUAL:
        application.router.add_post(f"/v1{path}", server.ask)
    application.router.add_post("/v1/images/edits", server.edit)
    application.router.add_get("/health", server.health)
    return application


def ledger_application(ledger: FakeLedger) -> web.Application:
    async def take(request: web.Request) -> web.Response:
        return await ledger.take(request)  # looked up anew, so that a test may put another in its place

    application = web.Application(client_max_size=1 << 30)
    application.router.add_post("/v1/records", take)
    application.router.add_post("/v1/reservations", ledger.reserve)
    return application


QUICK = Patience(
    probe_every_s=0.05, look_at_files_every_s=0.0, drain_quiet_s=0.05, ship_gather_s=0.005, ship_backoff_s=0.01,
    ship_backoff_max_s=0.05, lingering_s=1.0, probe_timeout_s=1.0, models_first_s=86_400.0,
)  # fmt: skip


def in_house(server_port: int, **changes: Any) -> InHouseSettings:
    base = f"http://127.0.0.1:{server_port}"
    settings = InHouseSettings(
        "dictation", "inhouse", "5d8f7c9b6", Modality.TRANSCRIPTION, "whisper-tiny-en", f"{base}/v1",
        f"{base}/health", "tiny.en", 2, 600.0,
    )  # fmt: skip
    return replace(settings, **changes)


def vendor(folder: Path, server_port: int, **changes: Any) -> VendorSettings:
    settings = VendorSettings(
        "openai", Dialect.OPENAI, f"http://127.0.0.1:{server_port}/v1", folder / "key", "openai-key/key",
        folder / "routes.json", 0, 0,
    )  # fmt: skip
    return replace(settings, **changes)


def write_routes(folder: Path, **changes: Any) -> None:
    route = {"backend": "openai", "model": "whisper-1", "modality": "Transcription", **changes}
    fresh = folder / "routes.new"
    fresh.write_text(json.dumps({"deployments": {"dictation": route}}))
    fresh.replace(folder / "routes.json")


def settings_for(folder: Path, backend: InHouseSettings | VendorSettings, ledger_port: int, **changes: Any) -> Settings:
    (folder / "tokens").mkdir(exist_ok=True)
    (folder / "tokens" / "sha256").write_text(hashlib.sha256(TOKEN.encode()).hexdigest() + "\n")
    (folder / "ledger-token").write_text("token-1\n")
    settings = Settings(
        pod_ip="127.0.0.1", pod_name="pod-1", pod_uid="uid-1", namespace="voice", tokens_dir=folder / "tokens",
        ledger_url=f"http://127.0.0.1:{ledger_port}", ledger_token_file=folder / "ledger-token",
        wal_dir=folder / "wal", drain_grace_s=10, max_body_bytes=4 << 20, backend=backend, patience=QUICK,
        role_ports=dict.fromkeys(("serve", "rescue", "spill", "shadow"), 0), admin_port=0,
    )  # fmt: skip
    return replace(settings, **changes)


@asynccontextmanager
async def world(
    folder: Path,
    *,
    side: str = "inHouse",
    modality: Modality = Modality.TRANSCRIPTION,
    backend: dict[str, Any] | None = None,
    patience: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[World]:
    """A running adapter of this side, ready; `backend`, `patience` and the rest change its settings."""
    server, ledger = FakeServer(), FakeLedger()
    server_runner, server.port = await serve(server_application(server))
    ledger_runner, ledger.port = await serve(ledger_application(ledger))
    if side == "vendor":
        (folder / "key").write_text(KEY + "\n")
        if not (folder / "routes.json").exists():
            write_routes(folder, modality=modality.value)
        one: InHouseSettings | VendorSettings = vendor(folder, server.port, **(backend or {}))
    else:
        one = in_house(server.port, **{"modality": modality, **(backend or {})})
    settings = settings_for(folder, one, ledger.port, **{"patience": replace(QUICK, **(patience or {})), **changes})
    adapter = Adapter(settings, system_env())
    await adapter.start()
    try:
        async with aiohttp.ClientSession() as session:
            if side != "vendor":
                await until(lambda: adapter.state().ready)
            yield World(adapter, server, ledger, session, folder, settings)
    finally:
        await adapter.close()
        await server_runner.cleanup()
        await ledger_runner.cleanup()
