"""The way to a vendor: a real CONNECT proxy, a private CA, and keys that change as mounted Secrets do."""

import asyncio
import base64
import contextlib
import io
import ssl
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.adapter_harness import FakeServer, World, server_application, until, world
from tests.pki import Authority, MountedFolder

pytestmark = pytest.mark.gateway
CREDENTIALS = "egress:pass:word"


@dataclass
class Proxy:
    """An HTTP proxy that knows CONNECT only."""

    credentials: str = ""
    """`user:password` that it wants; empty: none."""
    status: int = 200
    """What it answers to who may come."""
    tls: bool = False
    """It is itself spoken to by TLS, and proves itself as the vendor does."""
    asked: list[str] = field(default_factory=list)
    """Targets of the tunnels that were asked for."""
    port: int = 0
    open: list[asyncio.StreamWriter] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: who asks waits for its answer."""

    def __post_init__(self) -> None:
        self.answers.set()

    def cut(self) -> None:
        """End every tunnel."""
        for each in self.open:
            each.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split()
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            self.asked.append(target)
            await self.answers.wait()
            wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
            status = 405 if method != "CONNECT" else self.status
            if self.credentials and headers.get("proxy-authorization") != wanted:
                status = 407
            if status != 200:
                writer.write(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
            else:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                host, _, port = target.partition(":")
                self.open.append(writer)
                there, back = await asyncio.open_connection(host, int(port))
                await asyncio.gather(pump(reader, back), pump(there, writer))
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@dataclass
class Scene:
    """An adapter, and a vendor behind TLS of a private CA."""

    world: World
    vendor: FakeServer
    proxy: Proxy
    ca: MountedFolder
    authority: Authority
    port: int


@dataclass
class Endpoint:
    """A vendor behind TLS of a private CA."""

    vendor: FakeServer
    authority: Authority
    port: int


@contextlib.asynccontextmanager
async def private_endpoint(folder: Path, door: Proxy) -> AsyncIterator[Endpoint]:
    """The vendor, and `door` listening."""
    authority, vendor = Authority(), FakeServer()
    pair = authority.issue()
    (folder / "pair.pem").write_text(pair.certificate + pair.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "pair.pem")
    runner = web.AppRunner(server_application(vendor), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    listening = await asyncio.start_server(door.take, "127.0.0.1", 0, ssl=tls if door.tls else None)
    door.port = listening.sockets[0].getsockname()[1]
    try:
        yield Endpoint(vendor, authority, runner.addresses[0][1])
    finally:
        listening.close()
        door.cut()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def private_vendor(
    folder: Path, *, proxy: Proxy | None = None, ca: str | None = None, **backend: Any
) -> AsyncIterator[Scene]:
    door = proxy or Proxy()
    async with private_endpoint(folder, door) as there:
        mount = MountedFolder(folder / "ca", {"ca.crt": there.authority.pem if ca is None else ca})
        settings: dict[str, Any] = {
            "endpoint": f"https://127.0.0.1:{there.port}/v1",
            "ca_file": mount.path / "ca.crt",
            "ca_source": "ConfigMap corp-ca/ca.crt",
            **({"proxy_url": f"{'https' if door.tls else 'http'}://127.0.0.1:{door.port}"} if proxy else {}),
            **backend,
        }
        async with world(folder, side="vendor", backend=settings) as here:
            yield Scene(here, there.vendor, door, mount, there.authority, there.port)


def credentials(folder: Path, text: str = CREDENTIALS) -> dict[str, Any]:
    (folder / "proxy").write_text(text + "\n")
    return {"proxy_credentials_file": folder / "proxy", "proxy_secret": "egress/credentials"}


async def test_a_vendor_of_a_private_ca(tmp_path: Path) -> None:
    async with private_vendor(tmp_path) as here:
        assert here.world.adapter.state().ready
        assert (await here.world.post()).status == 200
        assert here.proxy.asked == []


async def test_a_bundle_with_comments_in_any_language(tmp_path: Path) -> None:
    """As everybody's bundle has, Mozilla's first of all."""
    async with private_vendor(tmp_path) as here:
        here.ca.swap({"ca.crt": f"# Főtanúsítvány, Türkiye\n{here.authority.pem}"})
        assert here.world.adapter.state().ready
        assert (await here.world.post()).status == 200
        here.ca.swap({"ca.crt": f"# Főtanúsítvány\n{Authority().pem}"})
        assert (await here.world.post()).error["code"] == "certificate", "and it is read"


async def test_a_vendor_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    """Neither another authority than the bundle's, nor the system's where there is no bundle."""
    async with private_vendor(tmp_path, ca=Authority().pem) as here:
        reply = await here.world.post()
        assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", "certificate")
        assert here.vendor.calls == []
        # The right bundle is used by the next request.
        here.ca.swap({"ca.crt": here.authority.pem})
        assert (await here.world.post()).status == 200


async def test_without_a_bundle_the_systems_authorities_count(tmp_path: Path) -> None:
    async with private_vendor(tmp_path, ca_file=None) as here:
        assert here.world.adapter.state().ready
        reply = await here.world.post()
        assert (reply.status, reply.error["code"], here.vendor.calls) == (503, "certificate", [])


@pytest.mark.parametrize(
    "content", [{}, {"ca.crt": ""}, {"ca.crt": "later"}, {"ca.crt": "-----BEGIN CERTIFICATE-----"}]
)
async def test_a_bundle_that_is_none_stops_it_and_says_so(tmp_path: Path, content: dict[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    async with private_vendor(tmp_path, ca_file=tmp_path / "other" / "ca.crt") as here:
        other = MountedFolder(tmp_path / "other", content)
        state = here.world.adapter.state()
        assert (state.ready, state.credentials_resolved) == (False, True)
        assert "ConfigMap corp-ca/ca.crt" in state.message
        reply = await here.world.post()
        assert (reply.status, reply.error["code"], here.vendor.calls) == (503, "ca_bundle", [])
        other.swap({"ca.crt": here.authority.pem})
        assert here.world.adapter.state().ready
        assert (await here.world.post()).status == 200
        # A broken one does not take away what serves.
        other.swap({"ca.crt": "broken"})
        assert here.world.adapter.state().ready
        assert (await here.world.post()).status == 200


async def test_through_a_proxy(tmp_path: Path) -> None:
    async with private_vendor(tmp_path, proxy=Proxy()) as here:
        assert (await here.world.post()).status == 200
        assert here.proxy.asked == [f"127.0.0.1:{here.port}"]
        assert here.vendor.calls[0]["authorization"].startswith("Bearer ")
        assert "proxy-authorization" not in {name.lower() for name in here.vendor.calls[0]["headers"]}


@pytest.mark.parametrize("size", [3200, 3 << 20])
async def test_through_a_proxy_that_is_itself_spoken_to_by_tls(tmp_path: Path, size: int) -> None:
    door, wav = Proxy(tls=True, credentials=CREDENTIALS), silence(size)
    async with private_vendor(tmp_path, proxy=door, **credentials(tmp_path)) as here:
        for _ in range(2):
            assert (await here.world.post(audio=wav)).status == 200
        assert here.proxy.asked[0] == f"127.0.0.1:{here.port}"
        assert here.vendor.calls[0]["bytes"] == wav


async def test_a_proxy_that_cannot_prove_itself_hears_no_credentials(tmp_path: Path) -> None:
    door = Proxy(tls=True, credentials=CREDENTIALS)
    async with private_vendor(tmp_path, proxy=door, ca=Authority().pem, **credentials(tmp_path)) as here:
        reply = await here.world.post()
        assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", "certificate")
        assert (door.asked, here.vendor.calls) == ([], [])


def silence(size: int) -> bytes:
    """A WAV with so many bytes of samples."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(size))
    return content.getvalue()


async def test_a_large_upload_goes_through_a_proxy(tmp_path: Path) -> None:
    wav = silence(3 << 20)
    async with private_vendor(tmp_path, proxy=Proxy()) as here:
        assert (await here.world.post(audio=wav)).status == 200
        assert here.vendor.calls[0]["bytes"] == wav


async def test_a_proxy_with_credentials_that_change(tmp_path: Path) -> None:
    door = Proxy(credentials=CREDENTIALS)
    async with private_vendor(tmp_path, proxy=door, **credentials(tmp_path)) as here:
        assert (await here.world.post()).status == 200
        door.credentials = "egress:another"
        door.cut()
        reply = await here.world.post()
        assert (reply.status, reply.outcome) == (503, "refused_credentials")
        assert (await here.world.ended(reply.request))["reason"] == "proxy_credentials"
        state = here.world.adapter.state()
        assert state.credentials_resolved is False
        assert "Secret egress/credentials (407)" in state.credentials_message
        credentials(tmp_path, "egress:another")
        assert here.world.adapter.state().credentials_resolved is True
        assert (await here.world.post()).status == 200
        said = state.credentials_message + reply.body.decode()
        assert "pass:word" not in said


async def test_a_refusal_that_comes_late_is_of_the_credentials_that_were_shown(tmp_path: Path) -> None:
    door = Proxy(credentials="egress:another")
    async with private_vendor(tmp_path, proxy=door, **credentials(tmp_path)) as here:
        door.answers.clear()
        asked = asyncio.create_task(here.world.post())
        await until(lambda: door.asked)
        credentials(tmp_path, "egress:another")
        door.answers.set()
        assert (await asked).outcome == "refused_credentials"
        assert here.world.adapter.state().credentials_resolved is True


async def test_a_proxy_whose_credentials_are_missing(tmp_path: Path) -> None:
    door = Proxy(credentials=CREDENTIALS)
    async with private_vendor(tmp_path, proxy=door, **credentials(tmp_path, "no-password")) as here:
        state = here.world.adapter.state()
        assert (state.ready, state.credentials_resolved) == (False, False)
        assert "Secret egress/credentials" in state.credentials_message
        assert "no-password" not in state.credentials_message
        reply = await here.world.post()
        assert (reply.outcome, door.asked) == ("refused_credentials", [])
        credentials(tmp_path)
        assert here.world.adapter.state().ready
        assert (await here.world.post()).status == 200


async def test_a_proxy_that_wants_credentials_and_has_been_given_none(tmp_path: Path) -> None:
    door = Proxy(credentials=CREDENTIALS)
    async with private_vendor(tmp_path, proxy=door) as here:
        reply = await here.world.post()
        assert (reply.status, reply.outcome) == (503, "refused_credentials")
        assert "spec.proxy.credentials" in here.world.adapter.state().credentials_message
        door.credentials = ""
        assert (await here.world.post()).status == 200
        assert here.world.adapter.state().credentials_resolved is True


@pytest.mark.parametrize("status", [403, 502])
async def test_a_proxy_that_refuses_the_target_is_a_failure_that_spill_and_retries_know(
    tmp_path: Path, status: int
) -> None:
    async with private_vendor(tmp_path, proxy=Proxy(status=status)) as here:
        reply = await here.world.post()
        assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", f"proxy_{status}")
        assert here.vendor.calls == []


async def test_a_proxy_that_is_away(tmp_path: Path) -> None:
    async with private_vendor(tmp_path, proxy=Proxy(), proxy_url="http://127.0.0.1:1") as here:
        reply = await here.world.post()
        assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", "unreachable")


async def test_the_vendors_key_is_rotated_under_load(tmp_path: Path) -> None:
    """First the Secret, then the old key's end at the vendor: no request fails, no process restarts."""
    mount = MountedFolder(tmp_path / "secret", {"key": "sk-first\n"})
    valid = {"Bearer sk-first"}
    async with private_vendor(tmp_path, key_file=mount.path / "key") as here:

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.headers["authorization"] not in valid:
                return web.json_response({"error": {"message": "Incorrect API key"}}, status=401)
            return web.json_response({"text": "hello"})

        here.vendor.answer = answer
        codes: list[int] = []
        stop = asyncio.Event()

        async def use() -> None:
            while not stop.is_set():
                codes.append((await here.world.post()).status)

        users = [asyncio.create_task(use()) for _ in range(3)]

        def used(key: str) -> bool:
            return {call["authorization"] for call in here.vendor.calls[-6:]} == {key}

        for fresh in ("sk-second", "sk-third"):
            valid.add(f"Bearer {fresh}")
            mount.swap({"key": fresh + "\n"})
            await until(lambda wanted=f"Bearer {fresh}": used(wanted))  # type: ignore[misc]
            valid.intersection_update({f"Bearer {fresh}"})
            done = len(codes)
            await until(lambda done=done: len(codes) > done + 10)  # type: ignore[misc]
        stop.set()
        await asyncio.gather(*users)
        assert set(codes) == {200}
        assert here.world.adapter.state().credentials_resolved is True
