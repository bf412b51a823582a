"""An HTTPS server with files, that fails on demand: what models are downloaded from in tests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from insource.cli.certificates import ensure_certificates

BLOCK = 64 * 1024


@dataclass
class Fault:
    """What happens to requests of a path while it is set."""

    status: int = 0
    """Answered instead of the file."""
    location: str = ""
    """With a status of 302."""
    region: str = ""
    """Where S3 says that the bucket is."""
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
    revisions: dict[tuple[str, str], str] = field(default_factory=dict)
    """(repository, branch or tag) -> commit."""
    repositories: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    page_size: int = 1000
    """Entries of one page of a repository's tree."""
    with_etag: bool = True
    held: threading.Event = field(default_factory=threading.Event)
    """Set while a body is held."""
    go_on: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def hub(self, repository: str, commit: str, files: dict[str, bytes], *, large: tuple[str, ...] = ()) -> None:
        """A commit of a repository, as Hugging Face's Hub has it; `large` are in LFS. Branches: `revisions`."""
        for path, body in files.items():
            self.files[f"/{repository}/resolve/{commit}/{quote(path)}"] = body
        self.repositories[repository, commit] = [
            {
                "type": "file",
                "path": path,
                "size": len(body),
                "oid": hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest(),
                **({"lfs": {"oid": sha256(body), "size": len(body), "pointerSize": 134}} if path in large else {}),
            }
            for path, body in files.items()
        ] + [{"type": "directory", "path": "onnx", "oid": "0" * 40, "size": 0}]

    def ranges(self, path: str) -> list[str]:
        return [headers.get("range", "") for asked, headers in self.asked if asked == path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def serving_tls(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """What a source on this machine proves itself by, made in `folder`; and whom to trust for it."""
    ca, certificate, key = (folder / name for name in ("ca.crt", "tls.crt", "tls.key"))
    ensure_certificates(ca, certificate, key, datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return ca, context


@contextlib.contextmanager
def model_source(folder: Path) -> Iterator[Source]:
    """Serve until the block ends; certificates are made in `folder`."""
    ca, context = serving_tls(folder)
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
            told = {"Location": fault.location, "x-amz-bucket-region": fault.region}
            self._head(fault.status, 0, {name: value for name, value in told.items() if value})
            return
        if source.credentials and self.headers.get("Authorization") != source.credentials:
            self._head(401, 0, {})
            return
        if path.startswith("/api/models/"):
            self._hub(source, path.removeprefix("/api/models/"))
            return
        if path not in source.files:
            self._head(404, 0, {})
            return
        self._send(source, source.files[path], fault if active else Fault())

    def _hub(self, source: Source, path: str) -> None:
        """`<repository>/revision/<revision>` and `<repository>/tree/<revision>`, the latter in pages."""
        owner, name, kind, revision = path.split("/", 3)
        repository, revision = f"{owner}/{name}", unquote(revision)
        commit = source.revisions.get((repository, revision), revision)
        if (repository, commit) not in source.repositories:
            known = any(repository == each for each, _ in source.repositories)
            self._head(404, 0, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})
            return
        entries, headers = source.repositories[repository, commit], {}
        told: Any = {"id": repository, "sha": commit}
        if kind == "tree":
            query = parse_qs(self.path.partition("?")[2])
            assert query["recursive"] == ["true"]
            start = int(query.get("cursor", ["0"])[0])
            told = entries[start : start + source.page_size]
            if start + source.page_size < len(entries):
                # As mirrors do that pass on what they were told.
                at = f"https://huggingface.co/api/models/{path}?recursive=true&cursor={start + source.page_size}"
                headers["Link"] = f'<{at}>; rel="next"'
        body = json.dumps(told).encode()
        self._head(200, len(body), {"Content-Type": "application/json", **headers})
        self.wfile.write(body)

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
