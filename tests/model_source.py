"""An HTTPS server with files, that fails on demand: what models are downloaded from in tests."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from insource.cli.certificates import ensure_certificates

BLOCK = 64 * 1024


@dataclass
class Fault:
    """What happens to requests of a path while it is set."""

    status: int = 0
    """Answered instead of the file."""
    location: str = ""
    """With a status of 302."""
    cut_after: int | None = None
    """Bytes of the body, after which the connection ends."""
    hold_after: int | None = None
    """Bytes of the body, after which it goes on only when `go_on` is set."""
    times: int = 1_000_000
    """Requests that it happens to."""


@dataclass
class Source:
    """The server and what it was asked."""

    port: int
    ca: Path
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """(path, headers in lower case) of each request."""
    credentials: str = ""
    """The `Authorization` without which everything is 401; empty: none is needed."""
    with_etag: bool = True
    held: threading.Event = field(default_factory=threading.Event)
    """Set while a body is held."""
    go_on: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def ranges(self, path: str) -> list[str]:
        return [headers.get("range", "") for asked, headers in self.asked if asked == path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def model_source(folder: Path) -> Iterator[Source]:
    """Serve until the block ends; certificates are made in `folder`."""
    ca, certificate, key = (folder / name for name in ("ca.crt", "tls.crt", "tls.key"))
    ensure_certificates(ca, certificate, key, datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    source = Source(server.server_port, ca)
    server.source = source  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield source
    finally:
        source.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # whoever asked has gone, or did not trust us
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        source: Source = self.server.source  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        source.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
        fault = source.faults.get(path, Fault(times=0))
        active, fault.times = fault.times > 0, fault.times - 1
        if active and fault.status:
            self._head(fault.status, 0, {"Location": fault.location} if fault.location else {})
            return
        if source.credentials and self.headers.get("Authorization") != source.credentials:
            self._head(401, 0, {})
            return
        if path not in source.files:
            self._head(404, 0, {})
            return
        self._send(source, source.files[path], fault if active else Fault())

    def _send(self, source: Source, data: bytes, fault: Fault) -> None:
        etag = f'"{sha256(data)[:16]}"' if source.with_etag else ""
        headers = {"ETag": etag} if etag else {}
        wanted, start = self.headers.get("Range", ""), 0
        if wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self._head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._head(206 if start else 200, len(data) - start, headers)
        sent = 0
        for at in range(start, len(data), BLOCK):
            block = data[at : at + BLOCK]
            if fault.cut_after is not None and sent + len(block) > fault.cut_after:
                self.wfile.write(block[: fault.cut_after - sent])
                self.close_connection = True
                return
            if fault.hold_after is not None and sent >= fault.hold_after:
                source.held.set()
                source.go_on.wait()
            self.wfile.write(block)
            sent += len(block)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
