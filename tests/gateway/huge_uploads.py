"""Bodies far above every limit, made as they are sent, through Envoy to the adapter as a process; and what holds after.

The adapter is a vendor's, with one ModelDeployment of each kind whose bodies are large. Nothing here ever holds more
than a piece of a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from bench.upload_memory import resident_kib

from insource.adapter.warmup import tone_wav
from insource.gateway.view import DeploymentKey, DeploymentView, Pool
from insource.wire.headers import ROLE_PORTS
from insource.wire.vocabulary import BackendKind, Modality, Role
from tests.gateway.adapter_harness import FakeLedger, FakeServer, ledger_application, serve, server_application
from tests.gateway.gateway_harness import ALICE, MASTER, Gateway, gateway
from tests.gateway.test_adapter_crash import environment, running

HUGE_BYTES = 300 * 1000 * 1000
LIMIT_BYTES = 32 << 20
"""The operator's usual `maxBodyBytes`."""
PIECE = bytes(64 << 10)
TOKEN = hmac.new(MASTER, b"voice", hashlib.sha256).hexdigest()
DEPLOYMENTS = {"dictation": Modality.TRANSCRIPTION, "chat": Modality.TEXT, "pictures": Modality.IMAGE}


@dataclass(frozen=True)
class Kind:
    """One endpoint that gets a body without end."""

    path: str
    content_type: str
    head: bytes
    """What the body begins with; zeros follow."""


def _file(field: str, name: str, content: bytes) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content


_MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
_FORM = "multipart/form-data; boundary=b"
KINDS = {
    "audio": Kind("/voice/dictation/v1/audio/transcriptions", _FORM, _MODEL + _file("file", "a.wav", tone_wav())),
    "picture": Kind("/voice/pictures/v1/images/edits", _FORM, _MODEL + _file("image", "a.png", b"\x89PNG\r\n")),
    "chat": Kind("/voice/chat/v1/chat/completions", "application/json", b'{"model": "m", "messages": "'),
    "by name, audio": Kind("/v1/audio/transcriptions", _FORM, _MODEL + _file("file", "a.wav", tone_wav())),
    "by name, chat": Kind("/v1/chat/completions", "application/json", b'{"model": "chat", "messages": "'),
}


@dataclass(frozen=True)
class Answer:
    """What came back, and how much of the body had gone out by then."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_bytes: int


@dataclass
class World:
    """All of it."""

    gateway: Gateway
    adapter: asyncio.subprocess.Process
    address: tuple[str, int]
    """Of the adapter's port for serving."""
    folder: Path
    server: FakeServer
    ledger: FakeLedger

    def spooled(self) -> list[Path]:
        """Uploads that the adapter keeps on disk."""
        return [*(self.folder / "wal" / "spool").iterdir()]

    async def send(self, kind: Kind, *, chunked: bool) -> Answer:
        """Through Envoy."""
        address = ("127.0.0.1", self.gateway.port)
        return await send(address, kind.path, {"authorization": f"Bearer {ALICE.key}"}, kind, chunked=chunked)

    async def send_to_adapter(self, kind: Kind, *, chunked: bool) -> Answer:
        """As Envoy would, for which this stands."""
        _, namespace, name, path = kind.path.split("/", 3)
        headers = {
            "x-request-id": f"{name}-{chunked}", "x-envoy-attempt-count": "1", "x-insource-namespace": namespace,
            "x-insource-deployment": name, "x-insource-client": "anna", "x-insource-gateway-token": TOKEN,
        }  # fmt: skip
        return await send(self.address, f"/{path}", headers, kind, chunked=chunked)

    def resident_kib(self) -> dict[str, int]:
        """Memory now: of the adapter, of Envoy, and of this process, which is the agent and the client, too."""
        assert self.gateway.envoy
        pids = {"adapter": self.adapter.pid, "Envoy": self.gateway.envoy.pid, "agent and client": os.getpid()}
        return {name: resident_kib(pid) for name, pid in pids.items()}


async def send(address: tuple[str, int], path: str, headers: Mapping[str, str], kind: Kind, *, chunked: bool) -> Answer:
    """Send `HUGE_BYTES`, until an answer comes."""
    reader, writer = await asyncio.open_connection(*address)
    length = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(HUGE_BYTES)}
    lines = {"host": "gateway", "content-type": kind.content_type, **length, **headers}
    head = "\r\n".join([f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())])
    writer.write(f"{head}\r\n\r\n".encode())
    answering = asyncio.create_task(_answer(reader))
    sent = 0
    try:
        with contextlib.suppress(ConnectionError):  # it has answered and closed
            while sent < HUGE_BYTES and not answering.done():
                piece = PIECE if sent else kind.head
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
                sent += len(piece)
        status, headers, body = await asyncio.wait_for(answering, 60)
        return Answer(status, headers, body, sent)
    finally:
        answering.cancel()
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Everything ready."""
    async with AsyncExitStack() as stack:
        server, ledger = FakeServer(), FakeLedger()
        for fake, application in ((server, server_application(server)), (ledger, ledger_application(ledger))):
            runner, fake.port = await serve(application)
            stack.push_async_callback(runner.cleanup)
        ip = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(2, 255)}"
        values = environment(folder, "vendor", ip, server.port, ledger.port)
        routes = {
            name: {"backend": "openai", "model": "m", "modality": kind.value} for name, kind in DEPLOYMENTS.items()
        }
        (folder / "routes.json").write_text(json.dumps({"deployments": routes}))
        (folder / "tokens" / "sha256").write_text(hashlib.sha256(TOKEN.encode()).hexdigest() + "\n")
        values |= {"INSOURCE_MAX_BODY_BYTES": str(LIMIT_BYTES), "TMPDIR": str(folder)}
        session = await stack.enter_async_context(aiohttp.ClientSession())
        adapter = await stack.enter_async_context(running(values, session))
        (folder / "gateway").mkdir()
        gw = await stack.enter_async_context(gateway(folder / "gateway"))
        address = (ip, ROLE_PORTS[Role.SERVE.value])
        for name in DEPLOYMENTS:
            await gw.put(_view(name, address))
        yield World(gw, adapter, address, folder, server, ledger)


def _view(name: str, address: tuple[str, int]) -> DeploymentView:
    pool = Pool("openai", "", BackendKind.VENDOR, "openai", Role.SERVE, 1, (address,))
    return DeploymentView(
        DeploymentKey("voice", name), 2, 1, serve=(pool,), clients=(ALICE.client,), served_names=("m", name),
        request_timeout_s=60, max_body_bytes=LIMIT_BYTES,
    )  # fmt: skip
