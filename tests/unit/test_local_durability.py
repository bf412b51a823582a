"""What a client was told is on disk, and what is not nobody was told: full disks, kills in mid-write, damage."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from insource.env import system_env
from insource.local.apiserver import create_app
from insource.local.auth import Tokens, User
from insource.local.controllers import controllers
from insource.local.persistence import JOURNAL, SNAPSHOT, DamagedDataError, Persistence
from insource.local.store import ApiError, Store
from tests.unit.local_widgets import CRDS, NAMESPACES, WIDGETS, refusal, widget, widget_crd

CONFIG_MAPS = ("", "configmaps")


class Disk:
    """Stands for `os.write`: has room for so many bytes, and none after that."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.refused = 0

    def write(self, handle: int, data: bytes | memoryview) -> int:
        if self.room is None:
            return os.write(handle, data)
        if not self.room:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(handle, bytes(data)[: self.room])
        self.room -= written
        return written


@contextlib.contextmanager
def kept(directory: Path, disk: Disk | None = None) -> Iterator[Store]:
    """A store with its files; leaving it is what a kill leaves, as nothing is written on leaving."""
    store = Store(system_env())
    persistence = Persistence(store, directory, (disk or Disk()).write)
    persistence.open()
    try:
        yield store
    finally:
        persistence.close()


def config(name: str, text: str = "x") -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"text": text}}


def names(store: Store) -> list[str]:
    return [obj["metadata"]["name"] for obj in store.list(CONFIG_MAPS, "ns").items]


def begin(store: Store) -> None:
    store.create(NAMESPACES, {"metadata": {"name": "ns"}})
    store.create(CONFIG_MAPS, config("a"), "ns")


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_full_disk_refuses_a_change_and_nobody_sees_it(tmp_path: Path, room: int) -> None:
    disk = Disk()
    with kept(tmp_path, disk) as store:
        begin(store)
        watch = store.watch(CONFIG_MAPS, resource_version=str(store.resource_version))
        heard: list[str] = []
        end = store.subscribe(lambda event, _kind, obj: heard.append(f"{event} {obj['metadata']['name']}"))
        before, size = store.resource_version, (tmp_path / JOURNAL).stat().st_size
        attempts = (
            lambda: store.create(CONFIG_MAPS, config("b"), "ns"),
            lambda: store.patch(CONFIG_MAPS, "ns", "a", {"data": {"text": "y"}}, "merge"),
            lambda: store.patch(CONFIG_MAPS, "ns", "c", {**config("c"), "apiVersion": "v1", "kind": "ConfigMap"},
                                "apply", field_manager="m"),
            lambda: store.delete(CONFIG_MAPS, "ns", "a"),
            lambda: store.delete(NAMESPACES, None, "ns"),
        )  # fmt: skip
        for attempt in attempts:
            disk.room = room
            error = refusal(attempt)
            assert (error.code, error.reason) == (500, "InternalError")
            assert str(tmp_path) in error.message
            assert "No space left on device" in error.message
            assert "make room" in error.message
        assert (names(store), store.resource_version) == (["a"], before)
        assert store.get(CONFIG_MAPS, "ns", "a")["data"] == {"text": "x"}
        assert store.get(NAMESPACES, None, "ns")["status"]["phase"] == "Active"
        assert (watch.drain(), heard) == ([], [])
        assert (tmp_path / JOURNAL).stat().st_size == size
        disk.room = None
        store.create(CONFIG_MAPS, config("b"), "ns")
        assert [event.object["metadata"]["name"] for event in watch.drain()] == ["b"]
        end()
    with kept(tmp_path) as again:
        assert names(again) == ["a", "b"]


def test_a_kill_at_any_byte_of_the_last_record(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with kept(first) as store:
        begin(store)
        size = (first / JOURNAL).stat().st_size
        store.create(CONFIG_MAPS, config("b"), "ns")
        full = (first / JOURNAL).stat().st_size
    for cut in range(size, full + 1):
        shutil.copytree(first, second)
        os.truncate(second / JOURNAL, cut)
        with kept(second) as store:
            assert names(store) == (["a", "b"] if cut == full else ["a"]), f"cut at {cut - size} of {full - size}"
            if cut in (size + 1, full - 1, full):
                store.create(CONFIG_MAPS, config("c"), "ns")
        if cut in (size + 1, full - 1, full):
            with kept(second) as store:
                assert "c" in names(store)
        shutil.rmtree(second)


def test_a_change_that_was_begun_is_gone_before_the_next_one(tmp_path: Path) -> None:
    """Else its first bytes would be the beginning of the next one's line."""
    disk = Disk()
    with kept(tmp_path, disk) as store:
        begin(store)
        disk.room = 10
        refusal(store.create, CONFIG_MAPS, config("b"), "ns")
        disk.room = None
        store.create(CONFIG_MAPS, config("c"), "ns")
    for line in (tmp_path / JOURNAL).read_bytes().splitlines():
        assert line.startswith(b'{"rv"')
        assert line.endswith(b"}")


@pytest.mark.parametrize("name", [JOURNAL, SNAPSHOT])
@pytest.mark.parametrize("damage", [b"nonsense\n", b'{"rv": 3, "ke\n', b"7\n", b'{"key": ["", "configmaps"]}\n'])
def test_damage_in_the_middle_is_told_and_nothing_is_touched(tmp_path: Path, name: str, damage: bytes) -> None:
    with kept(tmp_path) as store:
        begin(store)
    if name == SNAPSHOT:
        with kept(tmp_path):
            pass  # everything is in the snapshot now
    path = tmp_path / name
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"".join(rest))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(DamagedDataError) as told, kept(tmp_path):
        pass
    text = str(told.value)
    assert f"{path}, line 2 is damaged" in text
    assert f"head -n 1 {path}" in text
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    subprocess.run(["sh", "-c", text.split("`")[1]], check=True)
    with kept(tmp_path):
        pass


def test_a_snapshot_that_ends_in_mid_line_is_damage(tmp_path: Path) -> None:
    with kept(tmp_path) as store:
        begin(store)
    with kept(tmp_path):
        pass
    path = tmp_path / SNAPSHOT
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DamagedDataError, match=r"snapshot\.jsonl, line"), kept(tmp_path):
        pass


def test_no_room_for_a_snapshot_is_no_reason_not_to_start(tmp_path: Path) -> None:
    with kept(tmp_path) as store:
        begin(store)
    obstacle = tmp_path / f"{SNAPSHOT}.new"
    obstacle.mkdir()
    for name in ("b", "c"):
        with kept(tmp_path) as store:
            store.create(CONFIG_MAPS, config(name), "ns")
    obstacle.rmdir()
    with kept(tmp_path) as store:
        assert names(store) == ["a", "b", "c"]


@pytest.mark.parametrize("written", range(4))
def test_collection_that_could_not_be_written_is_made_up_for(tmp_path: Path, written: int) -> None:
    """The owner's deletion is on disk and acknowledged; its children follow when there is room again."""
    disk = Disk()
    with kept(tmp_path, disk) as store:
        begin(store)
        owner = store.get(CONFIG_MAPS, "ns", "a")
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": owner["metadata"]["uid"]}
        for name in ("child-1", "child-2", "child-3"):
            store.create(CONFIG_MAPS, {"metadata": {"name": name, "ownerReferences": [reference]}}, "ns")
        loop = controllers(store, system_env())
        loop.settle()
        deletion = len(b'{"rv":12,"key":["","configmaps","ns","a"]}\n')
        child = len(b'{"rv":12,"key":["","configmaps","ns","child-1"]}\n')
        disk.room = deletion + written * child
        assert store.delete(CONFIG_MAPS, "ns", "a") is None
        assert len(names(store)) == 3 - written
        assert store.unfinished is (written < 3)
        disk.room = None
        loop.settle()
        assert (names(store), store.unfinished) == ([], False)
        loop.close()
    with kept(tmp_path) as again:
        assert names(again) == []


def test_a_start_without_room_leaves_collection_for_later(tmp_path: Path) -> None:
    with kept(tmp_path) as store:
        begin(store)
        owner = store.get(CONFIG_MAPS, "ns", "a")
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": owner["metadata"]["uid"]}
        store.create(CONFIG_MAPS, {"metadata": {"name": "child", "ownerReferences": [reference]}}, "ns")
        store.state.remove((CONFIG_MAPS, "ns", "a"), owner)  # the kill: what follows from it is not written
    disk = Disk()
    disk.room = 0
    with kept(tmp_path, disk) as again:
        assert names(again) == ["child"]
        disk.room = None
        loop = controllers(again, system_env())
        loop.settle()
        assert names(again) == []
        loop.close()


async def test_the_client_is_told_what_to_do(tmp_path: Path) -> None:
    disk = Disk()
    with kept(tmp_path, disk) as store:
        begin(store)
        env = system_env()
        runner = web.AppRunner(
            create_app(store, Tokens(store, env, {"t": User("admin", groups=("system:masters",))}, b"k" * 32))
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        disk.room = 5
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/namespaces/ns/configmaps"
        headers = {"Authorization": "Bearer t"}
        async with ClientSession(headers=headers) as session, session.post(url, json=config("b")) as answer:
            status = await answer.json()
        assert (answer.status, status["kind"], status["reason"]) == (500, "Status", "InternalError")
        assert f"cannot write to {tmp_path} (No space left on device)" in status["message"]
        await runner.cleanup()


def test_what_json_cannot_say_is_refused(tmp_path: Path) -> None:
    with kept(tmp_path) as store:
        begin(store)
        store.create(CRDS, widget_crd())
        error = refusal(store.create, WIDGETS, widget("big", replicas=2, maxReplicas=2**70), "ns")
        assert error.code in (400, 422)
        assert store.find(WIDGETS, "ns", "big") is None
    with kept(tmp_path) as again:
        assert again.find(WIDGETS, "ns", "big") is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    acknowledged = []
    with kept(small_disk) as store:
        begin(store)
        error = None
        for number in range(1000):
            try:
                store.create(CONFIG_MAPS, config(f"n{number:04}", "x" * 3000), "ns")
            except ApiError as refused:
                error = refused
                break
            acknowledged.append(f"n{number:04}")
        assert error is not None
        assert (error.code, "No space left" in error.message) == (500, True)
        assert names(store) == ["a", *acknowledged]
    with kept(small_disk) as again:
        assert names(again) == ["a", *acknowledged]
        refusal(again.create, CONFIG_MAPS, config("more", "x" * 10_000), "ns")
    with kept(small_disk) as again:
        assert names(again) == ["a", *acknowledged]
