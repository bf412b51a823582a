"""The agent's way back into Envoy: a request goes in again by `reentry.sock`, and its answer comes out as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from insource.gateway.view import DeploymentKey
from insource.wire import headers

NOT_FORWARDED = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "keep-alive", "x-envoy-attempt-count", "expect"}
    | {"x-forwarded-for", "x-forwarded-proto", "x-envoy-internal", headers.HOP, headers.TOKEN}
)
NOT_RETURNED = frozenset(
    {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}
    # Note: it would be counted as the agent's own.
    | {headers.OUTCOME}
)


class _HeadWithBody(web.StreamResponse):
    """Its head goes out with the first bytes of the body, in one piece: a StreamResponse sends it by itself."""

    _send_headers_immediately = False


class Reentry:
    """Requests into the listener that only the agent can reach."""

    def __init__(self, socket: Path) -> None:
        self._session = aiohttp.ClientSession(
            "http://reentry",
            connector=aiohttp.UnixConnector(str(socket), limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._session.close()

    async def send(
        self,
        request: web.Request,
        key: DeploymentKey,
        hop: str,
        body: AsyncIterator[bytes] | None,
        size: int,
        more: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send `request` to the deployment's own path, with `size` bytes of `body`.

        Raises aiohttp.ClientError or OSError if Envoy cannot be asked. Note: re-entry asks for no key and for no
        permission; whoever calls this has made sure of both.
        """
        outgoing = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
        outgoing.update(more or {})
        outgoing[headers.HOP] = hop
        outgoing["content-length"] = str(size)
        return await self._session.request(
            request.method,
            URL(f"/{key}{request.raw_path}", encoded=True),
            data=body,
            headers=outgoing,
            allow_redirects=False,
        )


async def relay(
    request: web.Request, answer: aiohttp.ClientResponse, more: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """The answer, as it comes, with some headers `more`."""
    kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in NOT_RETURNED]
    kind = _HeadWithBody if answer.content_length else web.StreamResponse
    response = kind(status=answer.status, reason=answer.reason, headers=CIMultiDict(kept))
    if answer.content_length is not None:
        response.content_length = answer.content_length
    response.headers.update(more or {})
    try:
        # Of a body whose length is known, the head goes out with the first bytes: should this process be killed
        # between the two, Envoy could not try again. A stream's head goes out at once.
        first = await answer.content.readany() if answer.content_length else b""
        await response.prepare(request)
        if first:
            await response.write(first)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except aiohttp.ClientError:
        # The body broke off: break ours off too, so that the client does not take half of it for the whole.
        if not response.prepared:
            # Envoy must see the head: without one it would try all of it again, and each try may be billed.
            response._send_headers_immediately = True
            await response.prepare(request)
        if request.transport is not None:
            request.transport.close()
        return response
    finally:
        answer.close()
    await response.write_eof()
    return response
