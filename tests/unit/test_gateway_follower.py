"""The log's readers: order of lines, kills, rotation, checkpoints."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from insource.env import system_env
from insource.gateway.access_log import LogReader, Position, drop_read, log_files, rotate
from insource.gateway.follower import EvidenceFollower, SightingFollower
from insource.gateway.ledger_client import SightingFields
from insource.gateway.log_lines import parse_line
from insource.wire.records import Sighting


def attempt(request: str, **changes: Any) -> bytes:
    now = int(system_env().clock.now().timestamp() * 1000)
    line = {
        "k": "a", "boot": "b1", "id": request, "hop": None, "n": "1", "dep": "voice/dictation", "backend": "inhouse",
        "revision": "r1", "role": "serve", "kind": "inHouse", "vendor": None, "code": 200, "flags": "-",
        "outcome": "ok", "at": str(now), "ms": 12,
    }  # fmt: skip
    return json.dumps({**line, **changes}).encode() + b"\n"


def request(name: str, **changes: Any) -> bytes:
    line = {
        "k": "r",
        "boot": "b1",
        "id": name,
        "hop": None,
        "n": 1,
        "dep": "voice/dictation",
        "code": 200,
        "flags": "-",
    }
    return json.dumps({**line, **changes}).encode() + b"\n"


class Shelf:
    """A ledger that may refuse."""

    def __init__(self) -> None:
        self.got: list[Sighting] = []

    async def ship(self, batch: list[SightingFields]) -> bool:
        self.got += [Sighting.model_validate(each) for each in batch]
        return True


async def ship(log: Path, state: Path, shelf: Shelf) -> None:
    """One process's life: from the checkpoint to the end of the log."""
    with closing(SightingFollower(log, state, system_env(), shelf.ship)) as follower:
        await follower.step()


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


async def test_outcomes_wait_for_the_request_line_also_across_a_kill(tmp_path: Path) -> None:
    log, state = tmp_path / "access.log", tmp_path / "s.json"
    append(log, attempt("one", code=0, outcome=None), attempt("two"), request("two"))
    shelf = Shelf()
    await ship(log, state, shelf)
    assert [s.request_id for s in shelf.got] == ["two"]
    append(log, request("one", code=0, flags="DC"))
    # A new process, from the checkpoint.
    await ship(log, state, shelf)
    assert [(s.request_id, s.outcome.value) for s in shelf.got] == [("two", "ok"), ("one", "gone")]


async def test_a_late_attempt_line_is_decided_by_the_request_line_before_it(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one", code=0, flags="DC"), attempt("one", code=0, outcome=None))
    await ship(log, tmp_path / "s.json", shelf)
    assert [s.outcome.value for s in shelf.got] == ["gone"]


async def test_envoys_death_makes_its_open_attempts_unknown(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    # It died in the middle of a line; its successor continues on that line.
    append(log, attempt("one"), b'{"at":"17', attempt("two", boot="b2"), request("two", boot="b2"))
    await ship(log, tmp_path / "s.json", shelf)
    assert [(s.request_id, s.outcome.value) for s in shelf.got] == [("one", "unknown"), ("two", "ok")]


async def test_what_the_ledger_has_not_taken_is_sent_again_after_a_kill(tmp_path: Path) -> None:
    log, state, shelf = tmp_path / "access.log", tmp_path / "s.json", Shelf()
    append(log, attempt("one"), request("one"))
    follower = SightingFollower(log, state, system_env(), shelf.ship)
    follower._commit = lambda: None  # type: ignore[method-assign]  # killed before the checkpoint
    await follower.step()
    follower.close()
    await ship(log, state, shelf)
    assert [s.attempt_id for s in shelf.got] == ["one.0.1", "one.0.1"]
    assert shelf.got[0] == shelf.got[1]


def test_evidence_is_what_was_committed_and_survives_a_kill(tmp_path: Path) -> None:
    log, state = tmp_path / "access.log", tmp_path / "e.json"
    append(log, attempt("one"), request("one"))
    first = EvidenceFollower(log, state, system_env())
    first.step()
    assert [c.all for c in first.committed.evidence("p").counts] == [1]
    append(log, attempt("two", outcome="server", code=503), attempt("two", n="2", role="rescue"), request("two", n=2))
    first.step()  # counted, but perhaps not committed: then it is not shown either
    first.close()
    second = EvidenceFollower(log, state, system_env())
    second.step()
    second.commit()
    second.close()
    evidence = second.committed.evidence("p")
    assert evidence.epoch == first.committed.epoch
    assert {(c.role, c.outcome): (c.first, c.all) for c in evidence.counts} == {
        ("serve", "ok"): (1, 1),
        ("serve", "server"): (1, 1),
        ("rescue", "ok"): (0, 1),
    }
    (latency,) = evidence.latencies
    assert sum(latency.counts) == 1
    assert second.committed.finished() == {"voice/dictation": 2}


def test_hold_and_reentry_are_no_evidence(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, attempt("one", role="hold", kind=None), attempt("one", hop="hold"), request("one", hop="hold"))
    append(log, request("one"))
    follower = EvidenceFollower(log, tmp_path / "e.json", system_env())
    follower.step()
    follower.commit()
    follower.close()
    assert follower.committed.evidence("p").counts == ()
    assert follower.committed.finished() == {"voice/dictation": 1}


def test_rotation_keeps_every_line_and_old_files_go_when_read(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"1\n", b"2\n")
    with LogReader(log, None) as reader:
        assert reader.read() == [b"1", b"2"]
        old = rotate(log)
        append(old, b"3\n")  # Envoy has not reopened yet
        assert reader.read() == [b"3"]
        append(old, b"4\n")
        append(log, b"5\n")
        assert reader.read() == [b"4"]
        assert reader.read() == [b"5"]
        assert drop_read(log, [reader.position, None]) == []
        assert drop_read(log, [reader.position, Position(old.stat().st_ino, 0)]) == []
        assert drop_read(log, [reader.position, reader.position]) == [old]
    assert log_files(log) == [log]


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"1\n2")
    with LogReader(log, None) as reader:
        assert reader.read() == [b"1"]
        assert reader.read() == []
        append(log, b"2\n")
        assert reader.read() == [b"22"]


def test_nonsense_is_no_line() -> None:
    for raw in (b"", b"{", b"[]", b'{"k":"a"}', b'{"a":1}{"b"', b"null"):
        assert parse_line(raw) is None
