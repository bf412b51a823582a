"""The short way to the pod's own server: answers of every shape, broken ones, connections kept and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from insource.adapter import pod_http
from insource.adapter.pod_http import Disconnected, PodServer, Unreachable
from tests.gateway.adapter_harness import until

pytestmark = pytest.mark.gateway
LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Peer"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
async def _ends_a_hang() -> AsyncIterator[None]:
    """uvloop does not let the signal of pytest-timeout through."""
    alarm = asyncio.get_running_loop().call_later(60, lambda: [task.cancel() for task in asyncio.all_tasks()])
    yield
    alarm.cancel()


class Peer:
    """A server that says exactly what a test wants, in raw bytes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self._answer(reader, writer, self)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def talking(answer: Answer) -> AsyncIterator[tuple[PodServer, Peer]]:
    peer = Peer(answer)
    listener = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    server = PodServer(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
    try:
        yield server, peer
    finally:
        server.close()
        listener.close()
        await until(lambda: peer.closed == peer.connections)


def says(*pieces: bytes) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Peer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


def says_and_closes(*pieces: bytes) -> Answer:
    speak = says(*pieces)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        await speak(reader, writer, peer)
        writer.close()

    return answer


async def ask(server: PodServer, body: bytes = b"hello") -> tuple[int, str, bytes]:
    async with server.post("/audio/transcriptions", {"x-request-id": "r1"}, body) as reply:
        return reply.status, reply.content_type, b"".join([chunk async for chunk in reply.chunks()])


async def test_the_request_and_one_connection_for_many() -> None:
    async with talking(says(OK)) as (server, peer):
        for _ in range(5):
            assert await ask(server) == (200, "application/json", b"{}")
        assert peer.connections == 1
        head, _, body = peer.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /v1/audio/transcriptions HTTP/1.1"
        assert lines[1].startswith("host: 127.0.0.1:")
        assert {"x-request-id: r1", "content-length: 5", "accept-encoding: identity"} <= set(lines)
        assert body == b"hello"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (says(*(OK[at : at + 1] for at in range(len(OK)))), 200, b"{}"),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n", OK), 200, b"{}"),
        (says(CHUNKED + b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"), 200, b"abcde"),
        (says(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"), 503, b""),
        (says_and_closes(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end"), 200, b"until the end"),
        (says_and_closes(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc"), 200, b"abc"),
    ],
    ids=["byte by byte", "100 first", "chunked", "empty", "ended by closing", "HTTP/1.0"],
)  # fmt: skip
async def test_answers(answer: Answer, status: int, body: bytes) -> None:
    async with talking(answer) as (server, _):
        for _ in range(2):  # the second shows that the first left nothing behind
            got, _, content = await ask(server)
            assert (got, content) == (status, body)


@pytest.mark.parametrize(
    "answer",
    [
        says_and_closes(b""),
        says_and_closes(b"HTTP/1.1 200 OK\r\ncontent-le"),
        says_and_closes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        says_and_closes(CHUNKED + b"3\r\nabc\r\n"),
        says(b"220 mail.example.org ESMTP\r\n"),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"),
        says(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
    ],
    ids=["nothing", "half a head", "short", "short chunks", "no HTTP", "no length", "huge head", "upgrade"],
)
async def test_broken_answers(answer: Answer) -> None:
    async with talking(answer) as (server, peer):
        with pytest.raises(Disconnected):
            await ask(server)
        await until(lambda: peer.closed == 1)


async def test_a_second_answer_nobody_asked_for_is_never_taken_for_the_next() -> None:
    async with talking(says(OK + OK.replace(b"{}", b"[]"))) as (server, peer):
        for _ in range(3):
            assert (await ask(server))[2] == b"{}"
        assert peer.connections == 3


async def test_leaving_early_closes_the_connection() -> None:
    async with talking(says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")) as (server, peer):
        async with server.post("/x", {}, b"") as reply:
            assert await anext(reply.chunks()) == b"abc"
        await until(lambda: peer.closed == 1)


async def test_a_cancelled_call_closes_the_connection() -> None:
    async with talking(says()) as (server, peer):
        asking = asyncio.create_task(ask(server))
        await until(lambda: len(peer.requests) == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: peer.closed == 1)


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async with talking(says_and_closes(OK)) as (server, peer):
        for number in range(1, 4):
            assert (await ask(server))[0] == 200
            await until(lambda number=number: peer.closed == number)  # type: ignore[misc]
        assert peer.connections == 3


async def test_idle_connections_are_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_http, "IDLE_S", 0.05)
    async with talking(says(OK)) as (server, peer):
        await asyncio.gather(*(ask(server) for _ in range(4)))
        await until(lambda: peer.closed == peer.connections == 4)


async def test_a_slow_reader_holds_the_server_up() -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Peer) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async with talking(endless) as (server, _), server.post("/x", {}, b"") as reply:
        chunks = reply.chunks()
        taken = len(await anext(chunks))
        before = -1
        while sent != before:  # until it stands still: what is under way is in buffers of the system, bounded
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32 << 20
        while taken <= before:  # and it goes on when read
            taken += len(await anext(chunks))


async def test_nobody_there() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(Unreachable):
        await ask(PodServer(f"http://127.0.0.1:{port}/v1"))


def test_a_header_cannot_end_early() -> None:
    with pytest.raises(ValueError, match="line break"):
        PodServer("http://127.0.0.1:1/v1").post("/x", {"x-request-id": "a\r\nx: y"}, b"")


@pytest.mark.parametrize("url", ["https://127.0.0.1:8000/v1", "127.0.0.1:8000", "http:///v1"])
def test_what_is_no_address_of_a_pod(url: str) -> None:
    with pytest.raises(ValueError, match="model server's address"):
        PodServer(url)
