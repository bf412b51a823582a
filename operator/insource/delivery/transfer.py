"""One request for a file's bytes from an offset on: redirects, ranges, who may see the credentials. Writes no file."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from insource.delivery.connection import CheckedConnection, Reach
from insource.delivery.problems import DeliveryError, TransientError

MOST_REDIRECTS = 8
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Credentials:
    """What is shown at the source, and only there."""

    secret: str = ""
    """The Secret's name, for messages."""
    token: str = ""
    username: str = ""
    password: str = ""

    @property
    def header(self) -> str:
        """The `Authorization` header; empty: none."""
        if self.token:
            return f"Bearer {self.token}"
        if self.username:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return ""


@dataclass(frozen=True)
class Answer:
    """The head of an answer, and its body still to be read."""

    start: int
    """Offset of the body's first byte in the file: what was asked for, or 0 if the source sends all of it."""
    size: int | None
    """Of the whole file, if the source says it."""
    validator: str
    """A strong ETag; empty if there is none, so that a later part could be of another file."""
    body: http.client.HTTPResponse


@contextmanager
def opened(url: str, offset: int, validator: str, credentials: Credentials, reach: Reach) -> Iterator[Answer]:
    """Ask for the bytes from `offset` on. Raises `DeliveryError` or `TransientError`; so may the body's reader."""
    home, seen = _origin(url), 0
    while True:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise DeliveryError(f"{shown(url)}: only https is fetched")
        headers = {"User-Agent": "insource-fetch", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            headers |= {"If-Range": validator} if validator else {}
        # Whoever we are sent to has no business with the credentials.
        if credentials.header and _origin(url) == home:
            headers["Authorization"] = credentials.header
        connection = CheckedConnection(parts.hostname, parts.port or 443, reach)
        try:
            with transient(url):
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers=headers)
                response = connection.getresponse()
            if response.status in (301, 302, 303, 307, 308):
                seen += 1
                if seen > MOST_REDIRECTS:
                    raise DeliveryError(f"{shown(url)}: more than {MOST_REDIRECTS} redirects")
                url = _redirected(url, response.headers.get("Location", ""))
                continue
            yield _judged(url, response, offset, credentials)
            return
        finally:
            connection.close()


@contextmanager
def transient(url: str) -> Iterator[None]:
    """What a network does wrong, as `TransientError`; a certificate that is not trusted is no such thing."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise DeliveryError(
            f"{shown(url)}: its certificate is not trusted: {error.verify_message}; "
            "name the CA's ConfigMap in the operator's --download-ca-config-map"
        ) from error
    except TimeoutError as error:
        raise TransientError(f"{shown(url)}: nothing was heard in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{shown(url)}: {str(error) or type(error).__name__}") from error


def shown(url: str) -> str:
    """A URL for people: without query (which may be signed) and user."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _redirected(url: str, location: str) -> str:
    try:
        joined = urljoin(url, location)
        _ = urlsplit(joined).port
    except ValueError as error:
        raise DeliveryError(f"{shown(url)}: redirects to what is no URL") from error
    return joined


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or 443


def _judged(url: str, response: http.client.HTTPResponse, offset: int, credentials: Credentials) -> Answer:
    status, headers = response.status, response.headers
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else ""
    if status == 200:
        return Answer(0, _integer(headers.get("Content-Length")), validator, response)
    if status == 206:
        start, size = _content_range(headers.get("Content-Range", ""))
        length = _integer(headers.get("Content-Length"))
        if size is None and length is not None:
            size = start + length
        if start != offset:
            raise TransientError(f"{shown(url)}: asked for bytes from {offset}, was sent those from {start}")
        return Answer(start, size, validator, response)
    if status == 416:
        # Nothing is there from this offset on: the file is shorter than what we have, or all of it.
        return Answer(offset, _content_range(headers.get("Content-Range", ""))[1], "", response)
    if status in _AGAIN:
        wait_s = float(_integer(headers.get("Retry-After")) or 0)
        raise TransientError(f"{shown(url)}: HTTP {status} {response.reason}", min(wait_s, _LONGEST_WAIT_S))
    if status in (401, 403):
        how = f'check Secret "{credentials.secret}"' if credentials.secret else "give the backend sourceCredentials"
        raise DeliveryError(f"{shown(url)}: HTTP {status} {response.reason}: not allowed; {how}")
    raise DeliveryError(f"{shown(url)}: HTTP {status} {response.reason}; correct the CatalogModel's source")


def _content_range(text: str) -> tuple[int, int | None]:
    """`bytes 5-9/10` -> (5, 10); `bytes */10` -> (-1, 10)."""
    extent, _, size = text.removeprefix("bytes").strip().partition("/")
    start = _integer(extent.partition("-")[0])
    return -1 if start is None else start, _integer(size)


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
