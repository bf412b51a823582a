"""HTTP/1.1 to the model server of the same pod: requests whose body lies in memory, on connections that are kept.

A general client costs 300 us of processor time per request for what one known server on a plain connection never
needs (proxies, TLS, cookies, redirects, name resolution). Parsing is httptools'. What goes to a vendor, or streams
from a file, takes aiohttp's client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import cast
from urllib.parse import urlsplit

import httptools

CONNECT_TIMEOUT_S = 5.0
IDLE_S = 2.0
"""How long a connection is kept unused: less than any common server's own patience (5 s and more)."""
_PAUSE_BYTES = 256 * 1024
"""What may wait here unread before the server's sending is held up."""
_HEAD_MAX_BYTES = 64 * 1024


class Unreachable(OSError):  # noqa: N818
    """No connection to the server could be made."""


class Disconnected(OSError):  # noqa: N818
    """The server closed the connection, or sent something else than HTTP."""


class PodServer:
    """The connections to one server. `post` as many at once as needed; `close` at the end."""

    def __init__(self, base_url: str) -> None:
        """`base_url` is `http://HOST:PORT/PREFIX`, without a slash at its end."""
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"the model server's address must be http://HOST:PORT, not {base_url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._prefix = parts.path
        self._host_line = f"host: {parts.netloc}\r\naccept: */*\r\naccept-encoding: identity\r\n"
        self._idle: list[_Connection] = []
        self._sweep: asyncio.TimerHandle | None = None

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Call:
        """`async with` it for the `Reply`. Leaving before the reply is whole closes the connection.

        Raises Unreachable, Disconnected, or TimeoutError if connecting takes longer than `CONNECT_TIMEOUT_S`.
        """
        lines = "".join(f"{name}: {_safe(value)}\r\n" for name, value in headers.items())
        head = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._host_line}{lines}content-length: {len(body)}\r\n\r\n"
        return Call(self, (head.encode("utf-8", "surrogateescape"), body))

    async def connection(self) -> _Connection:
        """One that is free, the most recently used first, or a new one."""
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and loop.time() - connection.idle_since < IDLE_S:
                return connection
            connection.abort()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except TimeoutError:
            raise
        except OSError as problem:
            raise Unreachable(f"no connection to {self._host}:{self._port}") from problem
        return connection

    def release(self, connection: _Connection) -> None:
        """Keep it for the next request, for a while."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        old = loop.time() - IDLE_S
        for connection in self._idle:
            if connection.idle_since <= old:
                connection.abort()
        self._idle = [each for each in self._idle if each.usable]
        self._sweep = loop.call_later(IDLE_S, self._close_idle) if self._idle else None

    def close(self) -> None:
        """Close what is idle; calls that are not over close their own."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in self._idle:
            connection.abort()
        self._idle.clear()


class Call:
    """One request: a context manager around its reply."""

    def __init__(self, server: PodServer, pieces: Iterable[bytes]) -> None:
        self._server = server
        self._pieces = pieces
        self._connection: _Connection | None = None

    async def __aenter__(self) -> Reply:
        connection = self._connection = await self._server.connection()
        try:
            return await connection.ask(self._pieces)
        except BaseException:
            connection.abort()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        assert connection is not None
        if connection.reusable:
            self._server.release(connection)
        else:
            connection.abort()


class Reply:
    """What the server answers: its head, and its body as it comes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case; of a repeated header the last."""
        self.complete = False
        self._transport = transport
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._problem: Disconnected | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece. Raises Disconnected if it ends early."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._waiting_bytes -= len(piece)
                if self._paused and self._waiting_bytes < _PAUSE_BYTES // 2:
                    self._paused = False
                    self._transport.resume_reading()
                yield piece
            if self.complete:
                return
            await self.progress()

    async def progress(self) -> None:
        """Wait until more of it is here. Raises Disconnected when nothing more will come."""
        if self._problem is not None:
            raise self._problem
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._problem is not None and not self._pieces:
            raise self._problem

    def take(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > _PAUSE_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self.wake()

    def fail(self, problem: Disconnected) -> None:
        """Nothing more will come."""
        if not self.complete and self._problem is None:
            self._problem = problem
            self.wake()

    def wake(self) -> None:
        """Something has changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time. The methods `on_...` are httptools' names."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._head_bytes = 0
        """Received of a head that is not whole."""
        self._named_bytes = 0
        self._head_done = False
        self._headers: dict[str, str] = {}
        self._keep = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    @property
    def usable(self) -> bool:
        """Still open."""
        return not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """The reply has come whole, and the server keeps the connection."""
        reply = self._reply
        return reply is not None and reply.complete and self._keep and self.usable

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    async def ask(self, pieces: Iterable[bytes]) -> Reply:
        """Send a request and wait for the head of its reply."""
        reply = self._reply = Reply(self._transport)
        self._head_done = False
        self._transport.writelines(pieces)
        while not self._head_done:
            await reply.progress()
        return reply

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None or reply.complete:  # nobody asked: whatever it is, it must not become the next answer
            self.abort()
            return
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if not self._head_done and self._head_bytes > _HEAD_MAX_BYTES:
                raise httptools.HttpParserError("the head is too long")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep = False
            reply.fail(Disconnected("the server sent something else than an HTTP answer"))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        reply = self._reply
        if reply is None or reply.complete:
            return
        headers = reply.headers
        if exc is None and self._head_done and "content-length" not in headers and "transfer-encoding" not in headers:
            reply.complete = True  # such a body ends where the connection does
            reply.wake()
            return
        reply.fail(Disconnected("the server closed the connection before its answer was whole"))

    def on_message_begin(self) -> None:
        self._headers = {}
        self._named_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._named_bytes += len(name) + len(value)
        if self._named_bytes > _HEAD_MAX_BYTES:
            raise ValueError("the head is too long")
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        reply, status = self._reply, self._parser.get_status_code()
        if reply is None or reply.complete or status < 200:  # 100 Continue and the like come before the answer
            return
        reply.status, reply.headers = status, self._headers
        self._head_done, self._head_bytes = True, 0
        reply.wake()

    def on_body(self, body: bytes) -> None:
        if self._reply is not None and not self._reply.complete:
            self._reply.take(body)

    def on_message_complete(self) -> None:
        reply = self._reply
        if reply is None or not self._head_done:
            return
        # Note: a second answer to one question says that the two sides are out of step.
        self._keep = not reply.complete and self._parser.should_keep_alive()
        reply.complete = True
        reply.wake()


def _safe(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError("a header's value holds a line break")
    return value
