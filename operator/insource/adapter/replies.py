"""Answers to the client: whole or as a stream, always with the outcome header and the request's id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable

import aiohttp
from aiohttp import web

from insource.adapter.attempts import Attempt
from insource.wire.headers import OUTCOME, REQUEST_ID
from insource.wire.vocabulary import Outcome

EVENT_STREAM = "text/event-stream"


class ClientGone(Exception):  # noqa: N818
    """The client closed its connection while we wrote to it."""


def whole(attempt: Attempt, content_type: str, body: bytes) -> web.Response:
    """An answer that lies here."""
    return web.Response(body=body, headers=_headers(attempt, content_type))


def head(attempt: Attempt, content_type: str) -> web.StreamResponse:
    """The head of an answer that is sent as it comes."""
    headers = _headers(attempt, content_type)
    if content_type == EVENT_STREAM:
        headers |= {"content-type": f"{EVENT_STREAM}; charset=utf-8", "cache-control": "no-cache"}
    return web.StreamResponse(headers=headers)


async def stream(
    request: web.BaseRequest, attempt: Attempt, content_type: str, pieces: AsyncGenerator[bytes]
) -> web.StreamResponse:
    """Send the pieces as they come; the caller writes the end. `pieces` yields at least one, or raises a Refusal.

    Nothing goes out before the first piece: until then Envoy can still try elsewhere.
    """
    try:
        piece = await anext(pieces)
        response = head(attempt, content_type)
        await to_client(response.prepare(request))
        await to_client(response.write(piece))
        async for piece in pieces:
            await to_client(response.write(piece))
    finally:
        await pieces.aclose()
    return response


async def to_client(step: Awaitable[object]) -> None:
    """Do this step of writing. Raises ClientGone."""
    try:
        await step
    except (ConnectionError, aiohttp.ClientError) as problem:
        raise ClientGone from problem


def _headers(attempt: Attempt, content_type: str) -> dict[str, str]:
    return {
        "content-type": content_type,
        OUTCOME: Outcome.OK.value,
        REQUEST_ID: attempt.identity.request_id,
    }
