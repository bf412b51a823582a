"""A disk that fails under the write-ahead log: nothing is promised that may be lost, and it heals without a restart."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from insource.adapter.wal import WriteAheadLog
from insource.env import system_env
from tests.unit.test_adapter_wal import ended, segments, ship, started


def fails(number: int) -> Callable[..., int]:
    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


def kinds(records: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(record["kind"], record["attempt_id"]) for record in records]


def takes_ten_bytes(really: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    return lambda descriptor, data: really(descriptor, data[:10])


@pytest.mark.parametrize("fault", ["short", "ENOSPC", "EIO"])
async def test_a_write_that_fails_stops_everything_until_the_disk_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    number = errno.EIO if fault == "EIO" else errno.ENOSPC
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", takes_ten_bytes(os.write) if fault == "short" else fails(number))
        with pytest.raises(OSError, match=os.strerror(number)):
            wal.append(started("b"))
    assert str(tmp_path) in wal.problem
    assert os.strerror(number) in wal.problem
    with pytest.raises(OSError, match="cannot be recorded"):  # writing would do again, but nobody has made sure of it
        wal.append(started("c"))
    with pytest.raises(OSError, match="cannot be recorded"):
        await wal.synced("a")
    await wal.mend()
    assert wal.problem == ""
    wal.append(started("d"))
    await wal.synced("a")
    await wal.synced("d")
    assert kinds(ship(wal)) == [("attempt", "a"), ("attempt", "d")]
    await wal.close()


async def test_a_line_that_cannot_be_cut_back_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", takes_ten_bytes(os.write))
        patched.setattr(os, "ftruncate", fails(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            wal.append(started("b"))
    await wal.mend()
    wal.append(started("c"))
    assert kinds(ship(wal)) == [("attempt", "a"), ("attempt", "c")]
    assert wal.unshipped == 0
    wal.append(ended("a"))
    wal.append(ended("c"))
    await wal.close()
    again = WriteAheadLog(tmp_path, system_env())
    assert kinds(ship(again)) == [("usage", "a"), ("usage", "c")]
    await again.close()


async def test_ends_of_attempts_in_flight_are_kept_until_the_disk_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    for name in ("a", "b"):
        wal.append(started(name))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fails(errno.ENOSPC))
        wal.conclude(ended("a"))
    wal.conclude(ended("b"))
    assert wal.unshipped == 4  # a process that drains waits for them
    assert kinds(ship(wal)) == [("attempt", "a"), ("attempt", "b")]
    assert wal.unshipped == 2
    await wal.mend()
    assert kinds(ship(wal)) == [("usage", "a"), ("usage", "b")]
    assert wal.unshipped == 0
    await wal.close()
    again = WriteAheadLog(tmp_path, system_env())
    assert ship(again) == []  # and nobody takes them for unknown
    await again.close()


async def test_ends_that_never_reached_the_disk_are_unknown_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fails(errno.ENOSPC))
        wal.conclude(ended("a"))
    again = WriteAheadLog(tmp_path, system_env())  # the first one never closed: as after kill -9
    assert [(one["attempt_id"], one.get("outcome")) for one in ship(again)] == [("a", None), ("a", "unknown")]
    await again.close()
    await wal.close()


async def test_after_a_failed_sync_nothing_of_that_segment_is_called_durable_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    for name in ("waits", "waits too", "uploads still"):
        wal.append(started(name))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails(errno.EIO))
        failures = await asyncio.gather(wal.synced("waits"), wal.synced("waits too"), return_exceptions=True)
        assert [type(failure) for failure in failures] == [OSError, OSError]
        assert "Input/output error" in wal.problem
        await wal.mend()
        assert wal.problem  # a disk that takes writes and fails to sync is not mended
    await wal.mend()
    assert wal.problem == ""
    synced: set[Path] = set()
    really = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    # The kernel would answer this one "synced" now, though its pages may be gone.
    with pytest.raises(OSError, match="when the disk failed"):
        await wal.synced("uploads still")
    wal.append(started("new"))
    await wal.synced("new")
    assert synced == {max(segments(tmp_path)), tmp_path}
    await wal.close()


async def test_those_who_come_while_a_sync_fails_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    loop, begun, release = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def slow(descriptor: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", slow)
    wal.append(started("first"))
    first = asyncio.ensure_future(wal.synced("first"))
    await begun.wait()
    wal.append(started("second"))  # written to the same segment: the failure may have taken it along
    second = asyncio.ensure_future(wal.synced("second"))
    await asyncio.sleep(0)
    release.set()
    failures = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(failure) for failure in failures] == [OSError, OSError]
    monkeypatch.undo()
    await wal.close()


async def test_a_segment_that_cannot_be_opened_refuses_the_record_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = WriteAheadLog(tmp_path, system_env(), segment_bytes=600)
    wal.append(started("a"))
    wal.append(ended("a"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fails(errno.ENOSPC))
        for _ in range(2):  # the second time must not close somebody else's descriptor
            with pytest.raises(OSError, match="No space"):
                wal.append(started("b"))
    await wal.mend()
    wal.append(started("b"))
    await wal.synced("b")
    assert [record["attempt_id"] for record in ship(wal)] == ["a", "a", "b"]
    await wal.close()


async def test_a_log_that_starts_on_a_full_disk_ships_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = WriteAheadLog(tmp_path, system_env())
    earlier.append(started("a"))
    earlier.append(started("lost"))
    earlier.append(ended("a"))
    really_open = os.open

    def no_new_segment(path: Path, *rest: int) -> int:
        if str(path).endswith(".jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_open(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", no_new_segment)
        wal = WriteAheadLog(tmp_path, system_env())
    assert "No space" in wal.problem
    assert wal.shipped < wal.end
    assert kinds(ship(wal)) == [("attempt", "a"), ("attempt", "lost"), ("usage", "a")]
    with pytest.raises(OSError, match="cannot be recorded"):
        wal.append(started("b"))
    await wal.mend()
    assert [(one["attempt_id"], one["outcome"]) for one in ship(wal)] == [("lost", "unknown")]
    await wal.close()
    await earlier.close()


async def test_a_checkpoint_that_cannot_be_written_only_sends_things_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    wal.append(ended("a"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails(errno.EIO))
        assert len(ship(wal)) == 2
    assert (wal.unshipped, wal.next_batch(), wal.problem) == (0, None, "")
    await wal.close()
    again = WriteAheadLog(tmp_path, system_env())
    assert len(ship(again)) == 2
    await again.close()


async def test_the_keeper_mends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    tried = asyncio.Event()
    keeper = asyncio.create_task(wal.keep_whole(0.001))
    mend = wal.mend

    async def noted() -> None:
        await mend()
        tried.set()

    monkeypatch.setattr(wal, "mend", noted)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fails(errno.ENOSPC))
        patched.setattr(os, "fsync", fails(errno.EIO))
        wal.conclude(ended("x"))
        await tried.wait()
        assert wal.problem
    while wal.problem:
        tried.clear()
        await tried.wait()
    wal.append(started("a"))
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    await wal.close()
