"""A disk that is full or broken under a serving adapter: nothing unrecorded is done, everyone is told, and it heals."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from insource.adapter.folder_lock import FolderInUse
from insource.adapter.server import Adapter, CannotStart, run_adapter
from insource.adapter.warmup import tone_wav
from insource.env import system_env
from tests.gateway.adapter_answers import VERBOSE
from tests.gateway.adapter_harness import World, until, world

pytestmark = pytest.mark.gateway


@contextmanager
def broken(folder: Path, name: str, number: int) -> Iterator[None]:
    """While this lasts, the call `os.<name>` fails for every file below `folder`."""
    really: Callable[..., int] = getattr(os, name)

    def call(descriptor: int, *rest: object) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder):
            raise OSError(number, os.strerror(number))
        return really(descriptor, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, name, call)
        yield


async def says_why(here: World, reason: str) -> None:
    """Not ready, with the folder and the reason; alive, because no restart would help."""
    async with here.session.get(here.url("/readyz", "admin")) as response:
        text = await response.text()
        assert response.status == 503
    assert str(here.folder / "wal" / "log") in text
    assert reason in text
    async with here.session.get(here.url("/state", "admin")) as response:
        state = await response.json()
    assert (state["ready"], state["message"]) == (False, text.rstrip("\n"))
    async with here.session.get(here.url("/healthz", "admin")) as response:
        assert response.status == 200


@pytest.mark.parametrize(("side", "number"), [("inHouse", errno.ENOSPC), ("vendor", errno.EIO)])
async def test_without_a_record_nothing_is_called(tmp_path: Path, side: str, number: int) -> None:
    async with world(tmp_path, side=side, patience={"mend_every_s": 0.01}) as here:
        with broken(tmp_path, "write", number), broken(tmp_path, "fsync", number):
            for _ in range(3):
                reply = await here.post()
                assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", "log_unavailable")
            assert here.server.calls == []
            await says_why(here, os.strerror(number))
        await until(lambda: here.adapter.state().ready)
        assert (await here.post()).status == 200
        assert (await here.ended("req-4"))["outcome"] == "ok"
        assert list(here.ledger.starts()) == ["req-4.0.1"]


async def test_what_is_in_flight_is_answered_and_metered_once_the_disk_is_back(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response(VERBOSE)

    async with world(tmp_path, patience={"mend_every_s": 0.01}) as here:
        here.server.answer = waits
        inside = asyncio.create_task(here.post())
        await until(lambda: len(here.server.calls) == 1)
        with broken(tmp_path, "write", errno.ENOSPC), broken(tmp_path, "fsync", errno.ENOSPC):
            release.set()
            assert (await inside).status == 200  # it has cost what it cost
            await says_why(here, "No space left")
            await until(lambda: "req-1.0.1" in here.ledger.starts())
            assert here.ledger.ends() == {}
        end = await here.ended("req-1")
        assert (end["outcome"], end["quantities"][0]["quantity"]) == ("ok", 1000)
        await until(lambda: here.adapter.state().ready)


async def test_a_vendor_is_not_called_when_the_record_is_not_synced(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor", patience={"mend_every_s": 0.01}) as here:
        assert (await here.post()).status == 200
        with broken(tmp_path, "fsync", errno.EIO):
            reply = await here.post()
            assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", "log_unavailable")
            await says_why(here, "Input/output error")
        await until(lambda: here.adapter.state().ready)
        assert (await here.post()).status == 200
        assert [call["request_id"] for call in here.server.calls] == ["req-1", "req-3"]
        end = await here.ended("req-2")
        assert (end["outcome"], end["reason"], end["quantities"]) == ("server", "log_unavailable", [])


async def test_an_attempt_that_uploads_while_a_sync_fails_is_not_made_later(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor", patience={"mend_every_s": 0.01}) as here:
        half_sent = asyncio.Event()

        async def body():  # type: ignore[no-untyped-def]
            yield b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nw\r\n'
            await half_sent.wait()
            yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            yield tone_wav()
            yield b"\r\n--b--\r\n"

        async def upload() -> int:
            headers = here.identity() | {"content-type": "multipart/form-data; boundary=b"}
            async with here.session.post(here.url(), data=body(), headers=headers) as response:
                return response.status

        uploading = asyncio.create_task(upload())
        await until(lambda: here.adapter.entrance.in_flight == 1)
        with broken(tmp_path, "fsync", errno.EIO):
            assert (await here.post()).status == 503
        await until(lambda: here.adapter.state().ready)
        half_sent.set()
        assert await uploading == 503  # its record lies where the kernel may have dropped it
        assert here.server.calls == []
        assert (await here.post()).status == 200


async def test_a_second_adapter_on_the_same_folder_does_not_start(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        uploads = tmp_path / "wal" / "spool" / "upload-of-the-first"
        uploads.write_bytes(b"x")
        with pytest.raises(FolderInUse):
            await Adapter(here.settings, system_env()).start()
        with pytest.raises(CannotStart, match="in use by pod-1") as refused:
            await run_adapter(here.settings)
        assert str(tmp_path / "wal") in str(refused.value)
        assert uploads.exists()
        uploads.unlink()
        assert (await here.post()).status == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB at `wal`, where this machine lets us make one."""
    place = tmp_path / "wal"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


async def test_a_full_file_system(tmp_path: Path, small_disk: Path) -> None:
    async with world(tmp_path, patience={"mend_every_s": 0.01}) as here:
        here.ledger.away = True
        assert (await here.post()).status == 200
        reply = await here.post(audio=bytes(3 << 20))  # larger than the disk: another backend may have room
        assert (reply.status, reply.outcome, reply.error["code"]) == (503, "server", "spool_unavailable")
        assert list((small_disk / "spool").iterdir()) == []
        with (small_disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                try:
                    if not ballast.write(bytes(4096)):
                        break
                except OSError:
                    break
        while (reply := await here.post()).status == 200:  # until the log's last page is full
            pass
        assert (reply.outcome, reply.error["code"]) == ("server", "log_unavailable")
        await says_why(here, "No space left")
        answered = len(here.server.calls)
        assert (await here.post()).status == 503
        assert len(here.server.calls) == answered
        (small_disk / "ballast").unlink()
        await until(lambda: here.adapter.state().ready)
        assert (await here.post()).status == 200
        here.ledger.away = False
        await until(lambda: here.adapter.state().unshipped == 0)
        ends = here.ledger.ends()
        assert {call["request_id"] + ".0.1" for call in here.server.calls} <= ends.keys()
        assert here.ledger.starts().keys() == ends.keys()
        assert {end["outcome"] for end in ends.values()} == {"ok", "server"}
        assert [end["reason"] for end in ends.values() if end["outcome"] == "server"] == ["spool_unavailable"]
