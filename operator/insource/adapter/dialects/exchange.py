"""One POST to a backend in the adapter's terms: who asks, with which key, and how a failure ends in the outcome table.

The same for every wire format over HTTP; a vendor with its own header for the key says so. Errors are read in the
shapes that vendors have: OpenAI's, Azure's (`error` without `type`, or none around `code` and `message`), and text.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson

from insource.adapter.calls import Body, Calls, Reply
from insource.adapter.dialects.seam import Work
from insource.adapter.pod_http import Disconnected, Unreachable
from insource.adapter.refusals import (
    Refusal,
    client_error,
    refused_credentials,
    refused_proxy,
    server_failure,
    shed,
    timed_out,
)
from insource.env import Env
from insource.wire.headers import ATTEMPT_COUNT, HOP, REQUEST_ID
from insource.wire.records import attempt_id

ANSWER_MAX_BYTES = 64 << 20
PROXY_AUTHENTICATION = 407
_OUR_FAULT = frozenset(
    {"deploymentnotfound", "operationnotsupported", "unsupportedapiversion", "invalidmodel", "model_not_found"}
)
"""Codes (in lower case) of a 400 that means the deployment is set up wrongly: no client can mend that."""
_ERROR_MAX_BYTES = 64 * 1024
CLIENT_REQUEST_ID = "x-client-request-id"


def bearer(key: str) -> dict[str, str]:
    """The key as OpenAI and its likes want it."""
    return {"authorization": f"Bearer {key}"}


class Exchange:
    """Posts to one URL of one backend; retries nothing, because Envoy's ladder does."""

    def __init__(
        self,
        calls: Calls,
        env: Env,
        key: Callable[[], str] | None = None,
        key_headers: Callable[[str], Mapping[str, str]] = bearer,
    ) -> None:
        """`key` returns the present API key; None for a server that wants none."""
        self._calls = calls
        self._env = env
        self._key = key
        self._key_headers = key_headers

    @asynccontextmanager
    async def post(
        self, work: Work[Any], content_type: str, body: Body, more: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        """The backend's 200. Everything else is raised as a Refusal, also what goes wrong while the reply is read.

        `more` are headers of this request.
        """
        headers = identity_headers(work, vendor=self._key is not None)
        headers |= {"content-type": content_type, **(more or {})}
        key = self._key() if self._key else ""
        if key:
            headers.update(self._key_headers(key))
        try:
            async with self._calls.post(headers, body) as reply:
                if reply.status != 200:
                    raise self._refusal(reply.status, reply.headers, await _error_of(reply), work, key)
                yield reply
        except (aiohttp.ClientError, OSError) as problem:
            if isinstance(problem, TimeoutError):
                raise
            if isinstance(problem, aiohttp.ClientHttpProxyError) and problem.status == PROXY_AUTHENTICATION:
                raise _proxy_refusal() from problem
            raise server_failure(
                "The backend could not be reached or broke off.", reason=reason_of(problem)
            ) from problem

    def _refusal(
        self, status: int, headers: Mapping[str, str], error: Mapping[str, Any], work: Work[Any], key: str
    ) -> Refusal:
        if status == 429:
            wait = wait_s(headers, self._env)
            return shed(
                "The backend's rate limit is reached; try again later.",
                reason=str(error.get("code") or "backend_limit")[:100],
                retry_after_s=wait,
            )
        if status == PROXY_AUTHENTICATION and self._key:
            return _proxy_refusal()
        if status in (401, 403) and self._key:
            return refused_credentials("The vendor does not accept this deployment's credentials.")
        if status in (408, 504):
            return timed_out("The backend timed out.", reason=f"backend_{status}")
        ours = error.get("param") == "model" or str(error.get("code") or "").lower() in _OUR_FAULT
        if status in (400, 413, 415, 422) and not ours:
            message = str(error.get("message") or "The backend refuses this request.")[:1000]
            if key:
                message = message.replace(key, "[key]")
            param = error.get("param")
            code = error.get("code")
            return client_error(
                message.replace(work.model, work.shown_model),
                param=str(param)[:100] if param else None,
                code=str(code)[:100] if code else None,
                status=status,
            )
        return server_failure("The backend failed.", reason=f"backend_{status}")


def identity_headers(work: Work[Any], *, vendor: bool) -> dict[str, str]:
    """Which attempt this is, so that the backend's own count can be compared with ours line by line.

    A vendor gets the attempt's id in the header that OpenAI has for its callers' ids.
    """
    if not work.number:
        return {REQUEST_ID: work.request_id}
    if vendor:
        attempt = attempt_id(work.request_id, work.hop, work.number)
        return {REQUEST_ID: work.request_id, CLIENT_REQUEST_ID: attempt}
    return {REQUEST_ID: work.request_id, ATTEMPT_COUNT: str(work.number), **({HOP: work.hop} if work.hop else {})}


def wait_s(headers: Mapping[str, str], env: Env) -> int:
    """Seconds that a 429 asks for: of `retry-after-ms` where it is given (Azure OpenAI), else of `retry-after`."""
    try:
        return max(1, math.ceil(float(headers.get("retry-after-ms", "")) / 1000))
    except (ValueError, OverflowError):
        return retry_after_s(headers.get("retry-after", ""), env)


def retry_after_s(text: str, env: Env) -> int:
    """Seconds of a Retry-After header, a number or an HTTP date; 1 if it is absent or malformed."""
    try:
        return max(1, round(float(text)))
    except (ValueError, OverflowError):
        pass
    try:
        return max(1, round((parsedate_to_datetime(text) - env.clock.now()).total_seconds()))
    except (ValueError, TypeError):
        return 1


async def bounded(chunks: AsyncIterator[bytes], most: int = ANSWER_MAX_BYTES) -> bytes:
    """A whole answer. Raises a server failure above `most` bytes."""
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > most:
            raise server_failure(f"The backend's answer is larger than {most >> 20} MiB.", reason="invalid_answer")
    return bytes(content)


def object_of(content: bytes) -> dict[str, Any] | None:
    """The JSON object; None if it is none."""
    try:
        body = orjson.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


async def _error_of(reply: Reply) -> Mapping[str, Any]:
    content = bytearray()
    try:
        async for chunk in reply.chunks():
            content += chunk
            if len(content) > _ERROR_MAX_BYTES:
                break
    except (aiohttp.ClientError, Disconnected):
        return {}
    return error_in(bytes(content), reply.content_type)


def error_in(content: bytes, content_type: str) -> Mapping[str, Any]:
    """What an error's body says: `message`, `code` and `param`, as far as it does."""
    if content_type == "text/plain":
        text = content[:1000].decode(errors="replace").strip()
        return {"message": text} if text.isprintable() and "<" not in text else {}
    body = object_of(content) or {}
    error = body.get("error", body)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, Mapping) else {}


def _proxy_refusal() -> Refusal:
    return refused_proxy("The proxy on the way to the vendor does not accept this deployment's credentials.")


def reason_of(problem: Exception) -> str:
    """Why a call got no whole answer, in a word."""
    if isinstance(problem, aiohttp.ClientHttpProxyError):
        return f"proxy_{problem.status}"
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        return "certificate"
    if isinstance(problem, aiohttp.ClientConnectorError | Unreachable):
        return "unreachable"
    return "broken_off"
