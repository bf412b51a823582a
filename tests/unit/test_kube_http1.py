"""Calls over our own HTTP/1.1 connections: framings, reuse, and what is said when server or network misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from insource.kube.http1 import Connections

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Script = Callable[[int, asyncio.StreamWriter], None]


class Server:
    """Answers each request as the script says; `connections` and `requests` count."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(
                        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
                        0,
                    )
                    self.requests.append(head + await reader.readexactly(length))
                    self.asked.set()
                    self.script(len(self.requests), writer)
        finally:
            writer.close()


@asynccontextmanager
async def serving(script: Script, path: str = "") -> AsyncIterator[tuple[Server, Connections]]:
    server = Server(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    connections = Connections(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}{path}", None)
    try:
        yield server, connections
    finally:
        connections.close()
        listener.close()
        await listener.wait_closed()


async def test_a_connection_is_used_again() -> None:
    async with serving(lambda _, writer: writer.write(PLAIN), "/prefix/") as (server, connections):
        for _ in range(3):
            answer = await connections.call("PATCH", "/x?a=b", {"Accept": "application/json"}, b"body")
            assert (answer.status, answer.body) == (200, b"{}")
    assert server.connections == 1
    assert server.requests[0].startswith(b"PATCH /prefix/x?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.requests[0].endswith(b"\r\nContent-Length: 4\r\n\r\nbody")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 409 Conflict\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 409 Conflict\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["chunked", "after an interim answer"],
)
async def test_framings(answer: bytes) -> None:
    async with serving(lambda _, writer: writer.write(answer)) as (_, connections):
        for _ in range(2):
            got = await connections.call("GET", "/", {})
            assert (got.status, got.headers[b"retry-after"], got.body) == (409, b"7", b"abc")


async def test_a_body_that_ends_with_the_connection() -> None:
    def script(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
        writer.close()

    async with serving(script) as (server, connections):
        for _ in range(2):
            assert (await connections.call("GET", "/", {})).body == b"abc"
    assert server.connections == 2


async def test_many_calls_at_once_each_get_their_own_answer() -> None:
    def script(count: int, writer: asyncio.StreamWriter) -> None:
        body = b"%d" % count
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with serving(script) as (_, connections):
        answers = await asyncio.gather(*(connections.call("GET", "/", {}) for _ in range(20)))
    assert {answer.body for answer in answers} == {b"%d" % count for count in range(1, 21)}


@pytest.mark.parametrize("told", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"nonsense\r\n\r\n"])
async def test_a_broken_answer_is_an_error_and_the_next_call_is_well(told: bytes) -> None:
    def script(count: int, writer: asyncio.StreamWriter) -> None:
        writer.write(told if count == 1 else PLAIN)
        if count == 1:
            writer.close()

    async with serving(script) as (_, connections):
        with pytest.raises(OSError):  # noqa: PT011
            await connections.call("GET", "/", {})
        assert (await connections.call("GET", "/", {})).status == 200


async def test_a_late_answer_is_nobodys() -> None:
    held: list[asyncio.StreamWriter] = []

    def script(count: int, writer: asyncio.StreamWriter) -> None:
        if count == 1:
            held.append(writer)
        else:
            writer.write(PLAIN)

    async with serving(script) as (server, connections):
        with pytest.raises(TimeoutError):
            await connections.call("GET", "/", {}, timeout_s=0.05)
        held[0].write(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
        assert (await connections.call("GET", "/", {})).status == 200
    assert server.connections == 2


async def test_a_cancelled_call_leaves_no_connection_to_use_again() -> None:
    async with serving(lambda count, writer: None if count == 1 else writer.write(PLAIN)) as (server, connections):
        call = asyncio.ensure_future(connections.call("GET", "/", {}))
        async with asyncio.timeout(60):
            await server.asked.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await connections.call("GET", "/", {})).status == 200
    assert server.connections == 2


@pytest.mark.parametrize(("target", "headers"), [("/\r\nX: y", {}), ("/", {"Authorization": "Bearer a\nX: y"})])
async def test_a_line_break_is_never_sent(target: str, headers: dict[str, str]) -> None:
    async with serving(lambda _, writer: writer.write(PLAIN)) as (server, connections):
        with pytest.raises(ConnectionError, match="line break"):
            await connections.call("GET", target, headers)
    assert server.connections == 0
