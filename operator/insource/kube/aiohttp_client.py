"""`Client` over HTTP; host, TLS and rotating credentials are given to it (`kubeconfig`).

Everything goes through `http1`, but through an aiohttp session where there is a proxy. It never logs or repeats a
credential.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypedDict, cast
from urllib.parse import urlencode

import aiohttp
import orjson
from aiohttp.client_exceptions import ClientError
from yarl import URL

from insource.env import Clock
from insource.kube.client import FIELD_CONFLICT, ApiError, EventType, ObjectList, WatchEvent
from insource.kube.http1 import Answer, Connections
from insource.kube.resources import SERVICE_ACCOUNTS, TOKEN_REVIEWS, Object, Resource, key_of
from insource.kube.shapes import WHOLE, NotAnObjectError, Shape, decode

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE_PATCH = "application/merge-patch+json"
_CALL_S, _CONNECT_S = 30.0, 5.0
_CALL = aiohttp.ClientTimeout(total=_CALL_S, sock_connect=_CONNECT_S)
_ALWAYS = {"Accept": _JSON, "User-Agent": "insource"}
_WATCH_SILENCE_S = 75.0
"""API servers send a bookmark about every minute; a watch that is silent for longer is dead."""
_OF_OBJECTS = (b'{"type":"ADDED"', b'{"type":"MODIFIED"')
_RESOURCE_VERSION = re.compile(rb'"resourceVersion":"([0-9]+)"')
_REFRESH_S = 30.0
"""How often credentials are asked for anew; a 401 asks at once."""


class AiohttpClient:
    """See `kubeconfig.connect`. Close it, or use it as an asynchronous context manager."""

    def __init__(self, configuration: Any, refresh: Callable[[], Awaitable[None]], clock: Clock) -> None:
        self._configuration = configuration
        self._refresh = refresh
        self._clock = clock
        self._refresh_due = clock.monotonic() + _REFRESH_S
        self._base = str(configuration.host).rstrip("/")
        tls = _tls(configuration)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=100, ssl=tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_CALL,
            headers=_ALWAYS,
            skip_auto_headers=("Accept-Encoding",),
        )
        self._options: dict[str, Any] = {"allow_redirects": False}
        self._connections: Connections | None = None
        if configuration.proxy:
            self._options["proxy"] = configuration.proxy
        else:
            self._connections = Connections(self._base, tls, configuration.tls_server_name or "")
        if configuration.tls_server_name:
            self._options["server_hostname"] = configuration.tls_server_name

    @property
    def base_url(self) -> str:
        """Scheme, host and port of the API."""
        return self._base

    def open_session(self, on_answer: Callable[[str], None] = lambda _: None) -> aiohttp.ClientSession:
        """Another session with the same TLS and always the present credentials, for a library that makes its own
        requests (kopf). `on_answer` hears the path of each request that is answered 200. The caller closes it.
        """
        trace = aiohttp.TraceConfig()

        async def authorize(_: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
            await self._fresh_credentials()
            request.headers.update(self._headers())

        async def hear(_: object, __: object, answer: aiohttp.TraceRequestEndParams) -> None:
            if answer.response.status == 200:
                on_answer(answer.url.path)

        trace.on_request_start.append(authorize)
        trace.on_request_end.append(hear)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_tls(self._configuration) or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
        )

    def authorization(self) -> str:
        """The current `Authorization` header, "" if the configuration has no token. Never log it."""
        return str(self._configuration.api_key.get("BearerToken", ""))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._connections is not None:
            self._connections.close()
        await self._session.close()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        return await self._call("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        limit: int = 0,
        continue_token: str = "",
        shape: Shape = WHOLE,
    ) -> ObjectList:
        query: dict[str, str | int] = {}
        if labels:
            query["labelSelector"] = labels
        if limit:
            query["limit"] = limit
        if continue_token:
            query["continue"] = continue_token
        page = await self._call("GET", resource.path(namespace), query, shape=_page(shape))
        metadata = page["metadata"]
        return ObjectList(page.get("items") or [], metadata["resourceVersion"], metadata.get("continue") or "")

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        timeout_s: int = 300,
        known: Callable[[str], bool] = lambda _: False,
        shape: Shape = WHOLE,
    ) -> AsyncGenerator[WatchEvent, None]:
        query: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": timeout_s,
        }
        if labels:
            query["labelSelector"] = labels
        silence = min(_WATCH_SILENCE_S, timeout_s + 5.0)
        target = f"{resource.path(namespace)}?{urlencode(query)}"
        await self._fresh_credentials()
        try:
            async with self._streamed(target, silence) as (refusal, chunks):
                if refusal is not None:
                    raise _error(refusal, f"watch of {resource.plural}")
                rest = b""
                async for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line and not _is_known(line, known):
                            yield _event(line, shape)
        except TimeoutError as error:
            raise ApiError(0, "Timeout", f"watch of {resource.plural}: silent for {silence:.0f} s") from error
        except (ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", f"watch of {resource.plural}: {error}") from error

    async def apply(
        self,
        resource: Resource,
        obj: Object,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str = "",
        shape: Shape = WHOLE,
    ) -> Object:
        key = key_of(obj)
        query: dict[str, str | int] = {"fieldManager": field_manager}
        if force:
            query["force"] = "true"
        path = resource.path(key.namespace, key.name, subresource)
        return await self._call("PATCH", path, query, obj, _APPLY, shape)

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Object,
        *,
        subresource: str = "",
        shape: Shape = WHOLE,
    ) -> Object:
        return await self._call("PATCH", resource.path(namespace, name, subresource), {}, patch, _MERGE_PATCH, shape)

    async def create(self, resource: Resource, obj: Object) -> Object:
        return await self._call("POST", resource.path(obj["metadata"].get("namespace") or ""), {}, obj)

    async def delete(self, resource: Resource, name: str, namespace: str = "", *, uid: str = "") -> None:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", resource.path(namespace, name), {}, options)
        except ApiError as error:
            if error.status != 404:
                raise

    async def token_review(self, token: str, audiences: Sequence[str]) -> Object:
        review = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": list(audiences)},
        }
        answer = await self._call("POST", TOKEN_REVIEWS.path(), {}, review)
        return cast(Object, answer["status"])

    async def token_request(
        self, namespace: str, service_account: str, audiences: Sequence[str], expiration_s: int
    ) -> Object:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": list(audiences), "expirationSeconds": expiration_s},
        }
        answer = await self._call("POST", SERVICE_ACCOUNTS.path(namespace, service_account, "token"), {}, request)
        return cast(Object, answer["status"])

    async def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str | int] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
        shape: Shape = WHOLE,
    ) -> Object:
        await self._fresh_credentials()
        answer = await self._send(method, path, query, body, content_type)
        if answer.status == 401:
            # The token may have rotated between two refreshes: ask once more before we give up.
            await self._refresh_now()
            answer = await self._send(method, path, query, body, content_type)
        if answer.status >= 300:
            raise _error(answer, f"{method} {path}")
        try:
            return cast(Object, decode(answer.body, shape))
        except NotAnObjectError as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: the answer is not JSON of an object: {error}") from None

    async def _send(
        self, method: str, path: str, query: dict[str, str | int] | None, body: Object | None, content_type: str
    ) -> Answer:
        data = b"" if body is None else orjson.dumps(body)
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = content_type
        target = f"{path}?{_encoded(tuple(query.items()))}" if query else path
        try:
            if self._connections is None:
                return await self._send_by_session(method, target, headers, data)
            return await self._connections.call(
                method, target, {**_ALWAYS, **headers}, data, timeout_s=_CALL_S, connect_s=_CONNECT_S
            )
        except TimeoutError as error:
            raise ApiError(0, "Timeout", f"{method} {path}: no answer within {_CALL_S:.0f} s") from error
        except (ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {error}") from error

    async def _send_by_session(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        async with self._session.request(
            method, self._url(target), data=body or None, headers=headers, **self._options
        ) as response:
            return await _answer(response)

    @asynccontextmanager
    async def _streamed(
        self, target: str, silence_s: float
    ) -> AsyncIterator[tuple[Answer | None, AsyncIterator[bytes]]]:
        """The refusal (None at a 200) and the parts of a long answer. `TimeoutError` after `silence_s` of silence."""
        if self._connections is not None:
            stream = await self._connections.stream(
                target, {**_ALWAYS, **self._headers()}, silence_s=silence_s, connect_s=_CONNECT_S
            )
            try:
                refusal = None if stream.status == 200 else await stream.whole()
                yield refusal, stream.parts()
            finally:
                stream.close()
            return
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silence_s)
        async with self._session.get(
            self._url(target), headers=self._headers(), timeout=timeout, **self._options
        ) as response:
            refusal = None if response.status == 200 else await _answer(response)
            yield refusal, response.content.iter_any()

    def _url(self, target: str) -> URL:
        return URL(f"{self._base}{target}", encoded=True)

    def _headers(self) -> dict[str, str]:
        authorization = self.authorization()
        return {"Authorization": authorization} if authorization else {}

    async def _fresh_credentials(self) -> None:
        if self._clock.monotonic() >= self._refresh_due:
            await self._refresh_now()

    async def _refresh_now(self) -> None:
        self._refresh_due = self._clock.monotonic() + _REFRESH_S
        try:
            await self._refresh()
        except Exception as error:
            # A broken kubeconfig or plugin must not stop us while the credentials that we have still work.
            if not self.authorization():
                raise ApiError(0, "Unreachable", f"credentials: {type(error).__name__}") from error


def _tls(configuration: Any) -> ssl.SSLContext | None:
    if not str(configuration.host).startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_known(line: bytes, known: Callable[[str], bool]) -> bool:
    if not line.startswith(_OF_OBJECTS):
        return False
    versions = _RESOURCE_VERSION.findall(line)
    # Note: more than one where an object carries another's; then only a parser knows which is its own.
    return len(versions) == 1 and known(versions[0].decode())


def _event(line: bytes, shape: Shape) -> WatchEvent:
    try:
        event = decode(line, _change(shape) if line.startswith(_OF_OBJECTS) else _change(WHOLE))
    except NotAnObjectError as error:
        raise ApiError(0, "Unreachable", f"watch: a line is not JSON of an object: {error}") from None
    if event["type"] == "ERROR":
        status = event["object"]
        raise ApiError(int(status.get("code") or 500), status.get("reason") or "", status.get("message") or "")
    return WatchEvent(cast(EventType, event["type"]), event["object"])


@lru_cache(maxsize=64)
def _change(shape: Shape) -> Shape:
    """The shape of a line of a watch."""
    return TypedDict("_Change", {"type": str, "object": shape})  # type: ignore[operator]


@lru_cache(maxsize=64)
def _page(shape: Shape) -> Shape:
    """The shape of a list."""
    fields = {"metadata": dict[str, Any], "items": list[shape] | None}
    return TypedDict("_Page", fields, total=False)  # type: ignore[operator]


@lru_cache(maxsize=64)
def _encoded(query: tuple[tuple[str, str | int], ...]) -> str:
    return urlencode(query)


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    headers = {name.lower().encode(): value.encode() for name, value in response.headers.items()}
    return Answer(response.status, headers, await response.read())


def _error(answer: Answer, what: str) -> ApiError:
    try:
        status = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = {}
    if not isinstance(status, dict):
        status = {}
    seconds = answer.headers.get(b"retry-after", b"")
    message = status.get("message") or f"{what}: HTTP {answer.status}"
    retry_after = float(seconds) if seconds.isdigit() else None
    causes = (status.get("details") or {}).get("causes") or ()
    conflicts = tuple(str(cause.get("field")) for cause in causes if cause.get("reason") == FIELD_CONFLICT)
    return ApiError(answer.status, status.get("reason") or "", message, retry_after, conflicts)
