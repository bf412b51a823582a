"""How a dialect calls its backend: one face for aiohttp's client and for the short way to the pod's own server."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from insource.adapter.pod_http import PodServer

Body = bytes | aiohttp.MultipartWriter


class Reply(Protocol):
    """A backend's answer."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """To be asked with names in lower case."""
        ...

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises OSError or aiohttp.ClientError if it breaks off."""
        ...


class Calls(Protocol):
    """Posts to one URL of one backend. Raises OSError (`pod_http`'s are some) or aiohttp.ClientError."""

    def post(self, headers: Mapping[str, str], body: Body) -> AbstractAsyncContextManager[Reply]:
        """One request; leaving before the answer is whole closes its connection. Follows no redirect."""
        ...


@dataclass(frozen=True)
class Way:
    """How a backend's address is reached."""

    proxy: str | None = None
    proxy_headers: Mapping[str, str] | None = field(default=None, repr=False)
    """For the proxy only; `Authorization` is sent to it as `Proxy-Authorization`."""
    tls: ssl.SSLContext | None = None
    """None: the system's authorities."""


DIRECT = Way()


class SessionCalls:
    """By aiohttp's client: any address, any body."""

    def __init__(self, url: str, session: aiohttp.ClientSession, way: Callable[[], Way] = lambda: DIRECT) -> None:
        """`way` says for each request how the URL is reached."""
        self._url = url
        self._session = session
        self._way = way

    @asynccontextmanager
    async def post(self, headers: Mapping[str, str], body: Body) -> AsyncIterator[Reply]:
        """See `Calls`."""
        way = self._way()
        async with self._session.post(
            self._url,
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy=way.proxy,
            proxy_headers=way.proxy_headers,
            ssl=way.tls or True,
        ) as response:
            yield _SessionReply(response)


class _SessionReply:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.content_type
        self._content = response.content

    def chunks(self) -> AsyncIterator[bytes]:
        return self._content.iter_any()


class PodCalls:
    """To the server in this pod: bodies in memory by the short way, streamed ones by aiohttp."""

    def __init__(self, server: PodServer, path: str, streamed: SessionCalls) -> None:
        self._server = server
        self._path = path
        self._streamed = streamed

    def post(self, headers: Mapping[str, str], body: Body) -> AbstractAsyncContextManager[Reply]:
        """See `Calls`."""
        if isinstance(body, bytes):
            return self._server.post(self._path, headers, body)
        return self._streamed.post(headers, body)
