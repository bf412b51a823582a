"""The client against an API server that hangs, resets, lies, is unknown, or no longer accepts our token."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from insource.cli.certificates import ensure_certificates
from insource.env import system_env
from insource.kube import aiohttp_client
from insource.kube.aiohttp_client import AiohttpClient
from insource.kube.client import FIELD_CONFLICT, ApiError, WatchEvent, connect
from insource.kube.resources import PODS, SERVICES
from tests.sim.virtual import virtual_env

SECRET = "token-that-nobody-may-see"
POD = {"metadata": {"name": "p", "namespace": "n", "resourceVersion": "7"}}


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    target: str
    headers: dict[str, str]


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class RawApi:
    """An HTTP/1.1 server that answers exactly what a test says, byte by byte."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.url = ""
        self._busy: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawApi]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._busy:
                task.cancel()
            await asyncio.gather(*self._busy, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                method, target, _ = first.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(method, target, headers)
                self.requests.append(request)
                await self.answer(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._busy.discard(task)
            writer.close()


def reply(writer: asyncio.StreamWriter, status: int, body: Any, **headers: str) -> None:
    """One whole answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n{extra}\r\n"
    writer.write(head.encode() + content)


def always(status: int, body: Any, **headers: str) -> Answer:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        reply(writer, status, body, **headers)

    return answer


def streaming(*lines: Any, end: bool = True) -> Answer:
    """A watch that sends these lines; without `end` it then stays silent, as a dead one does."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        for line in lines:
            data = (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            await asyncio.Event().wait()

    return answer


def kubeconfig(folder: Path, url: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": user if user is not None else {"token": SECRET}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


@asynccontextmanager
async def connected(folder: Path, answer: Answer, **user: Any) -> AsyncIterator[tuple[AiohttpClient, RawApi]]:
    async with (
        RawApi(answer).listening() as api,
        await connect(kubeconfig(folder, api.url, user or None), system_env()) as client,
    ):
        yield client, api


async def failure(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    assert SECRET not in str(caught.value)
    return caught.value


async def watched(client: AiohttpClient, timeout_s: int = 30) -> list[WatchEvent]:
    async with aclosing(client.watch(PODS, resource_version="1", timeout_s=timeout_s)) as events:
        return [event async for event in events]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs that a test can wait for."""
    monkeypatch.setattr(aiohttp_client, "_CALL", aiohttp.ClientTimeout(total=0.3, sock_connect=0.3))
    monkeypatch.setattr(aiohttp_client, "_CALL_S", 0.3, raising=False)
    monkeypatch.setattr(aiohttp_client, "_WATCH_SILENCE_S", 0.3)


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_does_not_answer_is_a_timeout_and_nothing_is_known_of_the_write(tmp_path: Path) -> None:
    async def hang(_: Request, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with connected(tmp_path, hang) as (client, api):
        error = await failure(client.apply(PODS, POD, field_manager="m"))
        assert (error.status, error.reason) == (0, "Timeout")
        assert "/api/v1/namespaces/n/pods/p" in error.message
        assert len(api.requests) == 1, "a write whose end is unknown is never repeated by itself"


async def test_a_connection_that_is_cut_is_unreachable(tmp_path: Path) -> None:
    async def cut(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()

    async with connected(tmp_path, cut) as (client, _):
        error = await failure(client.get(PODS, "p", "n"))
        assert (error.status, error.reason) == (0, "Unreachable")


async def test_nobody_listens(tmp_path: Path) -> None:
    async with RawApi(always(200, POD)).listening() as api:
        path = kubeconfig(tmp_path, api.url)
    async with await connect(path, system_env()) as client:
        for call in (client.get(PODS, "p", "n"), watched(client)):
            error = await failure(call)
            assert (error.status, error.reason) == (0, "Unreachable")


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1", b"\xff"])
async def test_an_answer_that_is_not_json_is_no_answer(tmp_path: Path, body: bytes) -> None:
    async with connected(tmp_path, always(200, body)) as (client, _):
        error = await failure(client.get(PODS, "p", "n"))
        assert (error.status, error.reason) == (0, "Unreachable")
        assert "not JSON" in error.message


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", [], {"message": None}])
async def test_an_error_without_a_status_object_still_says_what_was_asked(tmp_path: Path, body: Any) -> None:
    async with connected(tmp_path, always(502, body)) as (client, _):
        error = await failure(client.get(PODS, "p", "n"))
        assert error.status == 502
        assert "/api/v1/namespaces/n/pods/p" in error.message


@pytest.mark.parametrize(
    ("header", "seconds"), [({"retry_after": "7"}, 7.0), ({"retry_after": "soon"}, None), ({}, None)]
)
async def test_the_servers_wish_to_wait_and_its_words_come_through(
    tmp_path: Path, header: dict[str, str], seconds: float | None
) -> None:
    status = {"kind": "Status", "reason": "TooManyRequests", "message": "too many"}
    async with connected(tmp_path, always(429, status, **header)) as (client, api):
        error = await failure(client.merge_patch(PODS, "p", "n", {}))
        assert (error.status, error.reason, error.message) == (429, "TooManyRequests", "too many")
        assert error.retry_after == seconds
        assert len(api.requests) == 1


async def test_a_conflict_of_field_managers_is_told_from_a_race(tmp_path: Path) -> None:
    cause = {"reason": FIELD_CONFLICT, "field": ".spec.ports[port=80]", "message": 'conflict with "a"'}
    status = {"reason": "Conflict", "message": "m", "details": {"causes": [cause, {"reason": "Other"}]}}
    async with connected(tmp_path, always(409, status)) as (client, api):
        assert (await failure(client.apply(SERVICES, POD, field_manager="m"))).conflicts == (".spec.ports[port=80]",)
        api.answer = always(409, {"reason": "Conflict", "message": "modified"})
        assert (await failure(client.apply(SERVICES, POD, field_manager="m"))).conflicts == ()


async def test_deleting_what_is_not_there_is_no_error_and_another_object_of_that_name_is(tmp_path: Path) -> None:
    async with connected(tmp_path, always(404, {"reason": "NotFound"})) as (client, api):
        await client.delete(PODS, "p", "n", uid="u")
        api.answer = always(409, {"reason": "Conflict"})
        assert (await failure(client.delete(PODS, "p", "n", uid="u"))).status == 409


# --- watches


async def test_events_and_bookmarks_come_line_by_line_however_they_are_cut(tmp_path: Path) -> None:
    line = json.dumps({"type": "ADDED", "object": POD}).encode()
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}

    async def pieces(request: Request, writer: asyncio.StreamWriter) -> None:
        assert "allowWatchBookmarks=true" in request.target
        assert "resourceVersion=1" in request.target
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        rest = line[10:] + b"\n" + json.dumps(bookmark).encode() + b"\n"
        for piece in (line[:10], rest[:-20], rest[-20:]):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with connected(tmp_path, pieces) as (client, _):
        events = await watched(client)
    versions = [(event.type, event.object["metadata"]["resourceVersion"]) for event in events]
    assert versions == [("ADDED", "7"), ("BOOKMARK", "9")]


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_lost_place_in_the_history_is_410_both_ways(tmp_path: Path, in_stream: bool) -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    answer = streaming({"type": "ERROR", "object": status}) if in_stream else always(410, status)
    async with connected(tmp_path, answer) as (client, _):
        error = await failure(watched(client))
    assert (error.status, error.reason, error.message) == (410, "Expired", "too old")


@pytest.mark.usefixtures("impatient")
async def test_a_silent_watch_is_dead(tmp_path: Path) -> None:
    async with connected(tmp_path, streaming({"type": "ADDED", "object": POD}, end=False)) as (client, _):
        error = await failure(watched(client))
    assert (error.status, error.reason) == (0, "Timeout")
    assert "watch of pods" in error.message


async def test_a_watch_that_breaks_off_or_talks_nonsense_is_unreachable(tmp_path: Path) -> None:
    async def cut(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{")
        await writer.drain()
        writer.transport.abort()

    async with connected(tmp_path, cut) as (client, api):
        assert (await failure(watched(client))).reason == "Unreachable"
        api.answer = streaming(b"nonsense")
        assert (await failure(watched(client))).reason == "Unreachable"


# --- credentials


def bearer(token: str) -> Answer:
    """Takes only this token."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        right = request.headers.get("authorization") == f"Bearer {token}"
        reply(writer, 200 if right else 401, POD if right else {"reason": "Unauthorized", "message": "no"})

    return answer


async def test_a_token_file_that_changes_is_read_again_at_the_first_401(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    async with connected(tmp_path, bearer("old"), tokenFile=str(token)) as (client, api):
        await client.get(PODS, "p", "n")
        token.write_text("new")
        api.answer = bearer("new")
        assert (await client.get(PODS, "p", "n"))["metadata"]["name"] == "p"
        sent = [request.headers["authorization"] for request in api.requests]
        assert sent == ["Bearer old", "Bearer old", "Bearer new"]
        await client.get(PODS, "p", "n")
        assert len(api.requests) == 4, "the new token is kept"


async def test_a_token_that_stays_wrong_is_401_after_one_more_try(tmp_path: Path) -> None:
    async with connected(tmp_path, bearer("right")) as (client, api):
        error = await failure(client.get(PODS, "p", "n"))
        assert (error.status, error.message) == (401, "no")
        assert len(api.requests) == 2


async def test_a_token_is_read_again_after_a_while_without_any_401(tmp_path: Path) -> None:
    env, clock = virtual_env(1)
    token = tmp_path / "token"
    token.write_text("old")
    async with RawApi(bearer("old")).listening() as api:
        path = kubeconfig(tmp_path, api.url, {"tokenFile": str(token)})
        async with await connect(path, env) as client:
            await client.get(PODS, "p", "n")
            token.write_text("new")
            api.answer = bearer("new")
            clock.time += 60
            await client.get(PODS, "p", "n")
            assert [r.headers["authorization"] for r in api.requests] == ["Bearer old", "Bearer new"]


async def test_a_token_file_that_goes_away_leaves_us_the_token_that_we_have(tmp_path: Path) -> None:
    env, clock = virtual_env(1)
    token = tmp_path / "token"
    token.write_text("old")
    async with RawApi(bearer("old")).listening() as api:
        path = kubeconfig(tmp_path, api.url, {"tokenFile": str(token)})
        async with await connect(path, env) as client:
            token.unlink()
            clock.time += 60
            assert (await client.get(PODS, "p", "n"))["metadata"]["name"] == "p"


# --- TLS


async def test_a_server_that_nobody_vouches_for_is_told_as_such(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        ca, certificate, key = (tmp_path / name / file for file in ("ca", "crt", "key"))
        ensure_certificates(ca, certificate, key, system_env().clock.now())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "ours" / "crt", tmp_path / "ours" / "key")
    async with RawApi(always(200, POD)).listening(context) as api:

        async def client_that_trusts(name: str) -> AiohttpClient:
            authority = {"certificate-authority": str(tmp_path / name / "ca")}
            return await connect(kubeconfig(tmp_path, api.url, **authority), system_env())

        async with await client_that_trusts("ours") as client:
            assert (await client.get(PODS, "p", "n"))["metadata"]["name"] == "p"
        async with await client_that_trusts("theirs") as client:
            for call in (client.get(PODS, "p", "n"), watched(client)):
                error = await failure(call)
                assert (error.status, error.reason) == (0, "Unreachable")
                assert "certificate verify failed" in error.message.lower()
        assert [request.headers["authorization"] for request in api.requests] == [f"Bearer {SECRET}"]


@pytest.mark.parametrize("content", ["", "just words", "clusters: 7", "a: [", f"users: {SECRET}"])
async def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    error = await failure(connect(str(path), system_env()))
    assert str(path) in error.message


async def test_an_authority_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("no certificate")
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", **{"certificate-authority": str(tmp_path / "ca")})
    error = await failure(connect(path, system_env()))
    assert "certificates cannot be loaded" in error.message


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = await failure(connect(str(tmp_path / "none"), system_env()))
    assert "none: no such file" in error.message
