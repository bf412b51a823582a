"""One request for a file's bytes from an offset on: redirects, ranges, who may see the credentials. Writes no file."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from insource.delivery.access import Access, Refused
from insource.delivery.connection import CheckedConnection, Reach
from insource.delivery.problems import AGAIN, DeliveryError, TransientError

MOST_REDIRECTS = 8
_LONGEST_WAIT_S = 60.0
_LONGEST_REFUSAL = 65_536
_WORD = re.compile(r"[A-Za-z0-9]{1,60}")
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")
_REGION = re.compile(rb"<Region>([a-z0-9-]{1,40})</Region>")


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
def opened(source: str, offset: int, validator: str, access: Access, reach: Reach, query: str = "") -> Iterator[Answer]:
    """Ask for the bytes from `offset` on. Raises `DeliveryError` or `TransientError`; so may the body's reader."""
    url, seen = access.address(source, query), 0
    home = _origin(url)
    while True:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise DeliveryError(f"{shown(url)}: only https is fetched")
        where = url if source.startswith("https:") else source
        headers = {"User-Agent": "insource-fetch", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            headers |= {"If-Range": validator} if validator else {}
        # Whoever we are sent to has no business with the credentials.
        if _origin(url) == home:
            headers |= access.headers(url)
        connection = CheckedConnection(parts.hostname, parts.port or 443, reach)
        try:
            with transient(url):
                connection.request("GET", target_of(url), headers=headers)
                response = connection.getresponse()
            location = response.headers.get("Location", "")
            if response.status in (301, 302, 303, 307, 308) and location:
                seen += 1
                _count(seen, url)
                url = _redirected(url, location)
                continue
            if response.status >= 300 and response.status != 416:
                with transient(url):
                    refused = _refused(response)
                seen += 1
                if access.moved(refused):
                    _count(seen, url)
                    url = access.address(source, query)
                    home = _origin(url)
                    continue
                raise _refusal(where, response, refused, access)
            yield _judged(where, response, offset)
            return
        finally:
            connection.close()


def read_all(source: str, access: Access, reach: Reach, query: str = "", *, limit: int) -> tuple[bytes, str]:
    """A whole answer of at most `limit` bytes, and its `Link` header. Raises as `opened` does."""
    with opened(source, 0, "", access, reach, query) as answer:
        with transient(source):
            body = answer.body.read(limit + 1)
        if len(body) > limit:
            raise DeliveryError(f"{shown(source)}: it answers with more than {limit} bytes")
        if answer.size is not None and len(body) < answer.size:
            raise TransientError(f"{shown(source)}: the connection ended too early")
        return body, answer.body.headers.get("Link", "")


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
    if not url.startswith("https:"):
        return url  # of a bucket or a repository: it has neither
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def target_of(url: str) -> str:
    """What stands in a request's first line for a URL."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def host_of(url: str) -> str:
    """The `Host` header, as `http.client` writes it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if parts.port in (None, 443) else f"{host}:{parts.port}"


def _count(seen: int, url: str) -> None:
    if seen > MOST_REDIRECTS:
        raise DeliveryError(f"{shown(url)}: more than {MOST_REDIRECTS} redirects")


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


def _refused(response: http.client.HTTPResponse) -> Refused:
    """What a source says: the XML of S3, or the header of Hugging Face. Only plain words are taken from it."""
    code = response.headers.get("X-Error-Code", "")
    region = response.headers.get("x-amz-bucket-region", "")
    body = b""
    if not code and "xml" in response.headers.get("Content-Type", ""):
        body = response.read(_LONGEST_REFUSAL)
    found, at = _CODE.search(body), _REGION.search(body)
    return Refused(
        status=response.status,
        reason=response.reason,
        region=region or (at.group(1).decode() if at else ""),
        code=found.group(1).decode() if found else code if _WORD.fullmatch(code) else "",
    )


def _refusal(where: str, response: http.client.HTTPResponse, refused: Refused, access: Access) -> Exception:
    said = f"{shown(where)}: {refused}"
    if refused.status in AGAIN:
        wait_s = float(_integer(response.headers.get("Retry-After")) or 0)
        return TransientError(said, min(wait_s, _LONGEST_WAIT_S))
    what_to_do = access.advice(refused) or "correct the CatalogModel's source"
    return DeliveryError(
        f"{said}: not allowed; {what_to_do}" if refused.status in (401, 403) else f"{said}; {what_to_do}"
    )


def _judged(where: str, response: http.client.HTTPResponse, offset: int) -> Answer:
    status, headers = response.status, response.headers
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else ""
    if status == 200:
        return Answer(0, _integer(headers.get("Content-Length")), validator, response)
    if status == 416:
        # Nothing is there from this offset on: the file is shorter than what we have, or all of it.
        return Answer(offset, _content_range(headers.get("Content-Range", ""))[1], "", response)
    if status != 206:
        raise DeliveryError(f"{shown(where)}: HTTP {status} {response.reason}; correct the CatalogModel's source")
    start, size = _content_range(headers.get("Content-Range", ""))
    length = _integer(headers.get("Content-Length"))
    if size is None and length is not None:
        size = start + length
    if start != offset:
        raise TransientError(f"{shown(where)}: asked for bytes from {offset}, was sent those from {start}")
    return Answer(start, size, validator, response)


def _content_range(text: str) -> tuple[int, int | None]:
    """`bytes 5-9/10` -> (5, 10); `bytes */10` -> (-1, 10)."""
    extent, _, size = text.removeprefix("bytes").strip().partition("/")
    start = _integer(extent.partition("-")[0])
    return -1 if start is None else start, _integer(size)


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
