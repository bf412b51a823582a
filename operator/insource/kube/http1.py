"""Many small HTTP/1.1 calls to one server, parsed by httptools: for less CPU than a general client takes.

Knows nothing of Kubernetes, redirects, cookies, compression or proxies. One call at a time on a connection; an answer
without end (`stream`) has a connection of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

_HELD_BYTES = 4 * 1024 * 1024
"""Of an answer without end; a reader that is further behind makes the server wait."""
_IDLE_S = 15.0
"""An idle connection is used again for so long: sooner than servers and balancers close them on their side."""


class Answer(NamedTuple):
    """A whole response; header names in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection, and the call that is on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._until_closed = False
        self.reusable = True
        self.idle_since = 0.0

    async def call(self, request: bytes, timeout_s: float) -> Answer:
        """Send a whole request and wait for the whole answer. `TimeoutError`, or `OSError` if the connection breaks."""
        assert self._transport is not None
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        # Note: not asyncio.timeout: this is all that is needed of it, for less.
        alarm = self._loop.call_later(timeout_s, self._fail, TimeoutError(f"no answer within {timeout_s:.0f} s"))
        try:
            self._transport.write(request)
            return await answer
        except BaseException:
            self.close()  # the answer may still come: nobody must take it for his
            raise
        finally:
            alarm.cancel()

    def close(self) -> None:
        """At once; never use it again."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP/1.1: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._until_closed and error is None:
            self._finish()
        self._fail(ConnectionError(str(error) if error else "the server closed the connection"))

    # httptools' side

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        chunked = b"chunked" in self._headers.get(b"transfer-encoding", b"").lower()
        self._until_closed = not chunked and b"content-length" not in self._headers

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:  # else more is to come
            self.reusable = self.reusable and self._parser.should_keep_alive()
            self._finish()

    def _finish(self) -> None:
        self._until_closed = False
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _fail(self, error: OSError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


@lru_cache(maxsize=32)
def _lines(headers: tuple[tuple[str, str], ...]) -> str:
    lines = [f"{name}: {value}" for name, value in headers]
    if any("\r" in line or "\n" in line for line in lines):
        raise ConnectionError("a header has a line break in it")
    return "".join(f"{line}\r\n" for line in lines)


class Stream(asyncio.Protocol):
    """One long answer, part by part. `close` it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, silence_s: float) -> None:
        self._loop = loop
        self._silence_s = silence_s
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._held = 0
        self._until_closed = False
        self._error: OSError | None = None
        self._ended = False
        self._news: asyncio.Future[None] | None = None
        self.status = 0
        """0 until the head of the answer is there."""

    async def begin(self, request: bytes) -> None:
        """Send the request and wait for the head of the answer. `TimeoutError` or `OSError`."""
        assert self._transport is not None
        self._transport.write(request)
        while not self.status:
            await self._more()

    async def parts(self) -> AsyncIterator[bytes]:
        """What comes, until the answer ends. `TimeoutError` after silence, `OSError` if the connection breaks."""
        while True:
            while self._parts:
                parts, self._parts, self._held = self._parts, [], 0
                self._resume()
                yield b"".join(parts)
            if self._ended:
                return
            await self._more()

    async def whole(self) -> Answer:
        """The rest of an answer that turned out to be short."""
        return Answer(self.status, self._headers, b"".join([part async for part in self.parts()]))

    def close(self) -> None:
        """At once, whatever may still come."""
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        news = self._news = self._loop.create_future()
        alarm = self._loop.call_later(self._silence_s, self._fail, TimeoutError(f"silent for {self._silence_s:.0f} s"))
        try:
            await news
        finally:
            alarm.cancel()
            self._news = None
        # Note: what came before the connection broke is told first.
        if self._error is not None and not self._parts:
            raise self._error

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _fail(self, error: OSError) -> None:
        if not self._ended and self._error is None:
            self._error = error
        self._wake()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP/1.1: {error}"))
            self.close()
            return
        if self._held > _HELD_BYTES and self._transport is not None and not self._ended:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if self._until_closed and error is None:
            self._ended = True
        self._fail(ConnectionError(str(error) if error else "the server closed the connection"))

    # httptools' side

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # more is to come
            self._headers = {}
            return
        chunked = b"chunked" in self._headers.get(b"transfer-encoding", b"").lower()
        self._until_closed = not chunked and b"content-length" not in self._headers
        self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._held += len(part)

    def on_message_complete(self) -> None:
        if self.status:
            self._ended = True


class Connections:
    """Connections to the server of one URL, made as needed and used again. `close` them."""

    def __init__(self, base_url: str, tls: ssl.SSLContext | None, server_name: str = "") -> None:
        parts = urlsplit(base_url)
        self._tls = tls
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if tls else 80)
        self._server_name = (server_name or self._host) if tls else None
        self._netloc = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._idle: deque[_Connection] = deque()

    async def call(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        timeout_s: float = 30.0,
        connect_s: float = 5.0,
    ) -> Answer:
        """One request and its whole answer. `target` is path and query below the base URL's own path.

        `TimeoutError` if connecting takes longer than `connect_s`, or the answer longer than `timeout_s`; `OSError`
        if there is no connection, or it breaks before the answer is whole: then nobody knows what the server did.
        """
        request = self._request(method, target, headers, body)
        connection = self._take()
        if connection is None:
            async with asyncio.timeout(connect_s):
                connection = await self._connect()
        answer = await connection.call(request, timeout_s)
        self._give_back(connection)
        return answer

    async def stream(
        self, target: str, headers: Mapping[str, str], *, silence_s: float, connect_s: float = 5.0
    ) -> Stream:
        """GET a long answer, on a connection of its own, from its head on. The caller closes it.

        `TimeoutError` if connecting takes longer than `connect_s`, or nothing comes for `silence_s`; `OSError` if
        there is no connection, or it breaks.
        """
        request = self._request("GET", target, headers, b"")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(connect_s):
            _, stream = await loop.create_connection(
                lambda: Stream(loop, silence_s),
                self._host,
                self._port,
                ssl=self._tls,
                server_hostname=self._server_name,
            )
        try:
            await stream.begin(request)
        except BaseException:
            stream.close()
            raise
        return stream

    def close(self) -> None:
        """Close the idle connections; one in use closes with its call."""
        while self._idle:
            self._idle.pop().close()

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        if "\r" in target or "\n" in target:
            raise ConnectionError("the path has a line break in it")
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        lines = _lines(tuple(headers.items()))
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\nHost: {self._netloc}\r\n{lines}{length}\r\n"
        return head.encode() + body

    def _take(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()  # the one that was used last: the others may grow old and go
            if connection.reusable and now - connection.idle_since < _IDLE_S:
                return connection
            connection.close()
        return None

    def _give_back(self, connection: _Connection) -> None:
        if not connection.reusable:
            connection.close()
            return
        now = connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        while now - self._idle[0].idle_since >= _IDLE_S:
            self._idle.popleft().close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(loop), self._host, self._port, ssl=self._tls, server_hostname=self._server_name
        )
        return connection
