"""The two API servers that tests ask: the embedded one, and a real kube-apiserver with its controllers.

Both are asked only as any client would: over TLS, with a bearer token. `ApiServer` knows which one it is for messages
and for what cannot be done from outside (a compaction, a kill); no expectation may depend on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from aiohttp import web

from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.apiserver_audit import AuditLog as ApiServersAuditLog
from insource.local.auth import Tokens, User
from insource.local.cluster import apply_at_start
from insource.local.controllers import controllers
from insource.local.store import Store
from tests.cluster.audit import AuditLog
from tests.cluster.control_plane import ControlPlane
from tests.cluster.credentials import COMPONENTS, Credentials
from tests.loops import loop_in_thread

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Answer:
    """`body` is parsed if it is JSON, else text; `headers` as sent, names in lower case may repeat."""

    status: int
    body: Any
    headers: http.client.HTTPMessage

    @property
    def warnings(self) -> list[str]:
        return self.headers.get_all("Warning") or []


@dataclass
class ApiServer:
    """One of the two. `tokens`: caller's name -> bearer token; `admin` may do everything."""

    kind: Literal["embedded", "real"]
    url: str
    credentials: Credentials
    audit_log: Path | None = None
    """Where it says who asked for what."""

    def __str__(self) -> str:
        return self.kind

    @property
    def tokens(self) -> Mapping[str, str]:
        return self.credentials.tokens

    @property
    def audit(self) -> AuditLog:
        assert self.audit_log is not None
        return AuditLog(self.audit_log)

    def kubeconfig(self, name: str = "admin", namespace: str = "default") -> Path:
        return self.credentials.kubeconfig(name, self.url, namespace)

    def is_ready(self) -> bool:
        """Whether it answers, and says that it is."""
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.credentials.ca)

    def connection(self, timeout: float = 30.0) -> http.client.HTTPSConnection:
        where = urlsplit(self.url)
        assert where.hostname is not None
        return http.client.HTTPSConnection(where.hostname, where.port, context=self.trust(), timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        *,
        accept: str = "application/json",
        user: str = "admin",
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own. A `str` or `bytes` body is sent as it is, anything else as JSON."""
        sent = {"Authorization": f"Bearer {self.tokens[user]}", "Accept": accept}
        if body is not None and content_type:
            sent["Content-Type"] = content_type
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        raw = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        return self.send(method, path, raw, list(sent.items()))

    def send(self, method: str, path: str, body: str | bytes | None, headers: Sequence[tuple[str, str]]) -> Answer:
        """One request as it is; a header may repeat."""
        raw = body.encode() if isinstance(body, str) else body
        connection = self.connection()
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if raw is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(raw or b"")))
            connection.endheaders(raw)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text.decode("utf-8", "replace")
        return Answer(response.status, parsed, response.headers)

    def ok(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **more: Any) -> Any:
        """The body of a request that must succeed."""
        answer = self.request(method, path, body, content_type, **more)
        assert answer.status < 300, f"{self.kind}: {method} {path}: {answer.status} {answer.body}"
        return answer.body

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """A namespace with its default ServiceAccount, deleted afterwards (nobody waits for its end)."""
        self.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            yield name
        finally:
            self.request("DELETE", f"/api/v1/namespaces/{name}")


@contextmanager
def real_server(plane: ControlPlane) -> Iterator[ApiServer]:
    yield ApiServer("real", plane.url, plane.credentials, plane.audit_log)


@contextmanager
def embedded_server(folder: Path, users: Sequence[str] = (), history: int = 10_000) -> Iterator[ApiServer]:
    """The embedded one with its controllers and no node, on a loop in a thread of its own."""
    credentials = Credentials(folder, users)
    credentials.write()
    with loop_in_thread("embedded-api") as run:
        server = _Embedded(credentials, history, folder / "audit.log")
        url = run(server.start())
        try:
            yield ApiServer("embedded", url, credentials, folder / "audit.log")
        finally:
            run(server.stop())


class _Embedded:
    def __init__(self, credentials: Credentials, history: int, audit_log: Path) -> None:
        env = system_env()
        self._audit = ApiServersAuditLog(audit_log, env)
        self._credentials = credentials
        self._store = Store(env, history)
        apply_at_start(self._store, None)
        users = {token: _user(name) for name, token in credentials.tokens.items()}
        tokens = Tokens(self._store, env, users, b"k" * 32)
        self._runner = web.AppRunner(create_app(self._store, tokens, audit=self._audit), shutdown_timeout=1)
        self._work = controllers(self._store, env)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        await self._runner.setup()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._credentials.certificate, self._credentials.key)
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self._task = asyncio.ensure_future(self._work.run())
        return f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._work.close()
        await self._runner.cleanup()
        self._audit.close()


def _user(name: str) -> User:
    user, *groups = COMPONENTS.get(name, (name,))
    return User(user, name, (*groups, "system:authenticated"))
