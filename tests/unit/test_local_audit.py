"""The audit log's file: what a kill or a full disk leaves of it, and that no request fails for it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from structlog.testing import capture_logs

from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.apiserver_audit import AuditLog
from insource.local.auth import Tokens, User
from tests.unit.local_widgets import widget_store

PODS = "/api/v1/namespaces/ns/pods"


class Disk:
    """Takes what is written, but for a while only `room` bytes more."""

    def __init__(self) -> None:
        self.room: int | None = None

    def write(self, handle: int, data: bytes | memoryview) -> int:
        if self.room is None:
            return os.write(handle, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(handle, data[: self.room])
        self.room -= written
        return written


@asynccontextmanager
async def serving(path: Path, disk: Disk | None = None) -> AsyncIterator[ClientSession]:
    store, env = widget_store(), system_env()
    tokens = Tokens(store, env, {"t": User("admin", groups=("system:masters",))}, b"k" * 32)
    log = AuditLog(path, env, (disk or Disk()).write)
    runner = web.AppRunner(create_app(store, tokens, audit=log))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with ClientSession(url, headers={"Authorization": "Bearer t"}) as session:
        yield session
    await runner.cleanup()
    log.close()


async def ask(session: ClientSession, path: str = PODS, **headers: str) -> int:
    async with session.get(path, headers=headers) as answer:
        await answer.read()
        return answer.status


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_an_entry_is_there_before_the_answer_has_ended_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with serving(path) as session:
        assert await ask(session) == 200
        (entry,) = entries(path)
        assert (entry["verb"], entry["objectRef"]["resource"]) == ("list", "pods")
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", ["", '{"kind": "Ev', "x" * 200_000])
async def test_what_a_kill_has_left_of_an_entry_goes(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"auditID": "1"}\n{"auditID": "2"}\n' + torn)
    async with serving(path) as session:
        assert await ask(session) == 200
    first, second, entry = entries(path)
    assert (first["auditID"], second["auditID"], entry["verb"]) == ("1", "2", "list")


async def test_on_a_full_disk_requests_are_answered_and_entries_are_lost_whole(tmp_path: Path) -> None:
    path, disk = tmp_path / "audit.log", Disk()
    async with serving(path, disk) as session:
        assert await ask(session) == 200
        disk.room = 50
        with capture_logs() as logged:
            assert [await ask(session), await ask(session)] == [200, 200]
        assert [line["log_level"] for line in logged] == ["error"], "said once"
        assert "No space left" in logged[0]["error"]
        disk.room = None
        assert await ask(session, f"{PODS}/nope") == 404
    assert [entry["responseStatus"]["code"] for entry in entries(path)] == [200, 404]


async def test_words_that_are_no_text_are_told_with_escapes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with serving(path) as session:
        assert session._base_url is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", session._base_url.port)
        head = f"GET {PODS} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\nConnection: close\r\nUser-Agent: "
        writer.write(head.encode() + b"caf\xe9\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
    (entry,) = entries(path)
    assert entry["userAgent"] == "caf\udce9"
