"""The write-ahead log: torn lines, crashes between records, acknowledgement, and one fsync for many."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from insource.adapter.wal import WriteAheadLog
from insource.env import system_env
from insource.wire.records import AttemptEnded, AttemptStarted
from insource.wire.vocabulary import BackendKind, Modality, Outcome, Role


def started(name: str) -> AttemptStarted:
    return AttemptStarted(
        attempt_id=name, request_id=name, number=1, deployment="dictation", backend="inhouse",
        backend_kind=BackendKind.IN_HOUSE, model="m", modality=Modality.TRANSCRIPTION, role=Role.SERVE, started_at_ms=1,
    )  # fmt: skip


def ended(name: str) -> AttemptEnded:
    return AttemptEnded(attempt_id=name, outcome=Outcome.OK, status=200, ended_at_ms=2)


def segments(folder: Path) -> list[Path]:
    return list(folder.glob("*.jsonl"))


def ship(wal: WriteAheadLog) -> list[dict[str, object]]:
    records = []
    while batch := wal.next_batch():
        records += [json.loads(line) for line in batch.lines]
        wal.acknowledge(batch)
    return records


async def test_everything_is_shipped_once_and_then_gone(tmp_path: Path) -> None:
    wal = WriteAheadLog(tmp_path, system_env(), segment_bytes=1000)
    for number in range(50):
        wal.append(started(f"a{number}"))
        wal.append(ended(f"a{number}"))
    assert wal.unshipped == 100
    assert [record["attempt_id"] for record in ship(wal)] == [f"a{n // 2}" for n in range(100)]
    assert (wal.unshipped, wal.next_batch()) == (0, None)
    assert len(segments(tmp_path)) == 1
    await wal.close()


async def test_after_a_crash_what_was_not_acknowledged_comes_again_byte_for_byte(tmp_path: Path) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    for name in ("a", "b"):
        wal.append(started(name))
        wal.append(ended(name))
    before = wal.next_batch()
    assert before is not None
    again = WriteAheadLog(tmp_path, system_env())  # the first one never closed: as after kill -9
    batch = again.next_batch()
    assert batch is not None
    assert batch.lines == before.lines
    assert again.unshipped == 4
    await wal.close()
    await again.close()


async def test_what_an_earlier_process_left_is_shipped_though_nothing_new_comes(tmp_path: Path) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    assert not wal.written.is_set()
    wal.append(started("a"))
    wal.append(ended("a"))
    again = WriteAheadLog(tmp_path, system_env())
    assert again.written.is_set()
    ship(again)
    third = WriteAheadLog(tmp_path, system_env())
    assert not third.written.is_set()
    for one in (wal, again, third):
        await one.close()


async def test_an_attempt_without_an_end_becomes_unknown_once(tmp_path: Path) -> None:
    wal = WriteAheadLog(tmp_path, system_env(), segment_bytes=600)
    wal.append(started("lost"))
    for number in range(10):
        wal.append(started(f"a{number}"))
        wal.append(ended(f"a{number}"))
    ship(wal)  # all acknowledged, but `lost` has not ended: its segment must stay
    again = WriteAheadLog(tmp_path, system_env(), segment_bytes=600)
    assert [(r["attempt_id"], r["outcome"], r["status"]) for r in ship(again)] == [("lost", "unknown", 0)]
    third = WriteAheadLog(tmp_path, system_env(), segment_bytes=600)
    assert ship(third) == []
    assert len(segments(tmp_path)) == 1
    for one in (wal, again, third):
        await one.close()


@pytest.mark.parametrize("cut", [1, 10, 100])
async def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    wal.append(ended("a"))
    wal.append(started("b"))
    await wal.close()
    (segment,) = segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - cut)
    again = WriteAheadLog(tmp_path, system_env())
    again.append(started("c"))
    assert [(r["kind"], r["attempt_id"]) for r in ship(again)] == [("attempt", "a"), ("usage", "a"), ("attempt", "c")]
    await again.close()


async def test_a_lost_or_broken_checkpoint_sends_all_again(tmp_path: Path) -> None:
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    wal.append(ended("a"))
    ship(wal)
    (tmp_path / "checkpoint").write_text("nonsense")
    again = WriteAheadLog(tmp_path, system_env())
    assert len(ship(again)) == 2
    await wal.close()
    await again.close()


async def test_many_waiters_share_few_fsyncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadLog(tmp_path, system_env(), segment_bytes=3000)
    fsync, calls, durable = os.fsync, [], []

    def counted(descriptor: int) -> None:
        durable.append(sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("*.jsonl")))
        calls.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)

    async def one(number: int) -> None:
        wal.append(started(f"a{number}"))
        await wal.synced(f"a{number}")

    await asyncio.gather(*(one(number) for number in range(100)))
    assert 1 <= len(calls) < 40
    assert durable[-1] == 100
    await wal.close()


async def test_a_checkpoint_that_outlived_its_segment_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("7 500\n")  # the machine died: the segments after 3 never reached the disk
    (tmp_path / "00000003.jsonl").write_bytes(b"")
    wal = WriteAheadLog(tmp_path, system_env())
    wal.append(started("a"))
    assert [record["attempt_id"] for record in ship(wal)] == ["a"]
    await wal.close()


async def test_syncing_covers_segments_that_filled_up_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadLog(tmp_path, system_env(), segment_bytes=600)
    for name in ("slow upload", "b", "c", "d"):
        wal.append(started(name))
    fsync, synced = os.fsync, set()

    def noted(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert len(segments(tmp_path)) > 1
    await wal.synced("slow upload")
    assert synced == {*segments(tmp_path), tmp_path}  # the folder too: the segments' names must survive
    synced.clear()
    await wal.synced("d")
    assert synced == {max(segments(tmp_path))}
    await wal.close()
