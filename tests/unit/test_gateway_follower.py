"""The log's readers: order of lines, kills, rotation, checkpoints."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from insource.env import system_env
from insource.gateway.access_log import LogReader, Position, drop_read, log_files, rotate
from insource.gateway.follower import Follower
from insource.gateway.log_lines import parse_lines
from insource.gateway.shipping import Shipper
from insource.wire.records import Sighting

FIELDS = (
    "id", "hop", "n", "dep", "backend", "revision", "role", "kind", "vendor", "code", "flags", "outcome", "at", "ms",
    "boot",
)  # fmt: skip


def attempt(request: str, key: str = "a", **changes: Any) -> bytes:
    now = int(system_env().clock.now().timestamp() * 1000)
    fields = {
        "id": request, "hop": None, "n": "1", "dep": "voice/dictation", "backend": "inhouse", "revision": "r1",
        "role": "serve", "kind": "inHouse", "vendor": None, "code": 200, "flags": "-", "outcome": "ok",
        "at": str(now), "ms": 12, "boot": "b1", **changes,
    }  # fmt: skip
    return json.dumps({key: [fields[name] for name in FIELDS]}).encode() + b"\n"


def request(name: str, **changes: Any) -> bytes:
    return attempt(name, "r", **{"n": 1, **changes})


class Shelf:
    """A ledger."""

    def __init__(self) -> None:
        self.got: list[Sighting] = []

    async def ship(self, batch: list[bytes]) -> bool:
        self.got += [Sighting.model_validate_json(each) for each in batch]
        return True


def follower(folder: Path) -> Follower:
    return Follower(folder / "access.log", folder / "evidence.json", folder / "outbox", system_env())


async def ship(folder: Path, shelf: Shelf) -> None:
    """One process's life: from the checkpoint to the end of the log."""
    with closing(follower(folder)) as one:
        while one.step():
            pass
        one.commit()
        shipper = Shipper(one, folder / "shipped.json", system_env(), shelf.ship)
        while await shipper.step():
            pass


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


async def test_an_ordinary_request_needs_one_line(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one"), request("two", code=500, outcome="client"), request("three", n=0, role=None, code=401))
    await ship(tmp_path, shelf)
    assert [(s.attempt_id, s.outcome.value, s.status) for s in shelf.got] == [
        ("one.0.1", "ok", 200),
        ("two.0.1", "client", 500),
    ]


async def test_attempts_with_lines_of_their_own_wait_for_the_request_also_across_a_kill(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, attempt("one", code=0, outcome=None), request("two"))
    await ship(tmp_path, shelf)
    assert [s.request_id for s in shelf.got] == ["two"]
    append(log, request("one", code=0, flags="DC", outcome=None))
    # A new process, from the checkpoint.
    await ship(tmp_path, shelf)
    assert [(s.request_id, s.outcome.value) for s in shelf.got] == [("two", "ok"), ("one", "gone")]


async def test_retries_have_lines_of_their_own(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, attempt("one", code=503, outcome="server"), attempt("one", n="2", role="rescue"))
    append(log, request("one", n=2, role="rescue"))
    await ship(tmp_path, shelf)
    assert [(s.number, s.role.value, s.outcome.value) for s in shelf.got] == [
        (1, "serve", "server"),
        (2, "rescue", "ok"),
    ]


async def test_a_late_attempt_line_is_not_told_twice(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one", code=0, flags="DC", outcome=None))
    await ship(tmp_path, shelf)
    append(log, attempt("one", code=0, outcome=None))
    await ship(tmp_path, shelf)
    assert [s.outcome.value for s in shelf.got] == ["gone"]


async def test_a_late_attempt_line_is_decided_by_the_request_line_before_it(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, attempt("one", code=503, outcome="server"), request("one", n=2, code=0, flags="DC", outcome=None))
    append(log, attempt("one", n="2", code=0, outcome=None))
    # And where the listener did not know where the attempt went.
    append(log, request("two", code=0, flags="DC", role=None, outcome=None), attempt("two", code=0, outcome=None))
    await ship(tmp_path, shelf)
    assert [(s.request_id, s.number, s.outcome.value) for s in shelf.got] == [
        ("one", 1, "server"),
        ("one", 2, "gone"),
        ("two", 1, "gone"),
    ]


async def test_envoys_death_makes_its_open_attempts_unknown(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    # It died in the middle of a line; its successor continues on that line.
    append(log, attempt("one", n="2"), b'{"r":["17', request("two", boot="b2"))
    # And once between a line and its end.
    append(log, request("three", boot="b2")[:-1], request("four", boot="b3"))
    await ship(tmp_path, shelf)
    told = [("one", "unknown"), ("two", "ok"), ("three", "ok"), ("four", "ok")]
    assert [(s.request_id, s.outcome.value) for s in shelf.got] == told


async def test_what_the_ledger_has_not_taken_is_sent_again_after_a_kill(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one"))
    await ship(tmp_path, shelf)
    (tmp_path / "shipped.json").unlink()  # killed before it was written
    await ship(tmp_path, shelf)
    assert [s.attempt_id for s in shelf.got] == ["one.0.1", "one.0.1"]
    assert shelf.got[0] == shelf.got[1]


async def test_what_was_not_committed_is_made_again_and_shipped_once(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one"))
    await ship(tmp_path, shelf)
    append(log, request("two"))
    with closing(follower(tmp_path)) as killed:
        killed._due = float("inf")
        killed.step()
        assert killed.outbox.end > killed.mark
        shipper = Shipper(killed, tmp_path / "shipped.json", system_env(), shelf.ship)
        await shipper.step()
        assert [s.request_id for s in shelf.got] == ["one"], "what may be made again is not shipped"
    append(log, request("three"))
    await ship(tmp_path, shelf)
    assert [s.request_id for s in shelf.got] == ["one", "two", "three"]


async def test_a_lost_checkpoint_ships_everything_that_is_still_there(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one"))
    await ship(tmp_path, shelf)
    (tmp_path / "evidence.json").write_text("{")
    append(log, request("two"))
    await ship(tmp_path, shelf)
    assert [s.request_id for s in shelf.got] == ["one", "one", "two"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hop": "hold-4-1", "n": "3", "role": "spill", "kind": "vendor", "vendor": "openai", "revision": None},
        {"id": 'odd "id"\\ \u00e9', "code": 0, "flags": "UF,URX", "outcome": None},
        {"dep": "voice/a.b", "outcome": "shed", "code": 429, "ms": None},
    ],
)
async def test_a_sighting_says_what_the_line_said(tmp_path: Path, changes: dict[str, Any]) -> None:
    shelf = Shelf()
    append(tmp_path / "access.log", attempt("one", **{"n": "2", "at": "1700000000123", **changes}))
    name, number = changes.get("id", "one"), int(changes.get("n", "2"))
    hop = changes.get("hop")
    append(tmp_path / "access.log", request(name, hop=hop, n=number))
    await ship(tmp_path, shelf)
    (one,) = shelf.got
    assert one == Sighting(
        attempt_id=f"{name}.{hop or 0}.{number}",
        request_id=name,
        hop=hop or "",
        number=number,
        namespace="voice",
        deployment=changes.get("dep", "voice/dictation").partition("/")[2],
        backend="inhouse",
        backend_kind=changes.get("kind", "inHouse"),
        revision="" if "revision" in changes else "r1",
        vendor=changes.get("vendor", ""),
        role=changes.get("role", "serve"),
        outcome={None: "server"}.get(changes.get("outcome", "ok"), changes.get("outcome", "ok")),
        status=changes.get("code", 200),
        flags=changes.get("flags", ""),
        reached="UF" not in changes.get("flags", ""),
        started_at_ms=1700000000123,
        duration_ms=0 if "ms" in changes else 12,
    )


def test_evidence_is_what_was_committed_and_survives_a_kill(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, request("one"))
    first = follower(tmp_path)
    first.step()
    assert [c.all for c in first.committed.evidence("p").counts] == [1]
    append(log, attempt("two", outcome="server", code=503), attempt("two", n="2", role="rescue"))
    append(log, request("two", n=2, role="rescue"))
    first.step()  # counted, but perhaps not committed: then it is not shown either
    first.close()
    second = follower(tmp_path)
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
    append(tmp_path / "access.log", request("one", hop="hold-1-1"), request("one", role="hold", kind=None))
    one = follower(tmp_path)
    one.step()
    one.commit()
    one.close()
    assert one.committed.evidence("p").counts == ()
    assert one.committed.finished() == {"voice/dictation": 1}


def test_by_name_the_first_hop_is_evidence(tmp_path: Path) -> None:
    append(tmp_path / "access.log", request("one", hop="name-1"), request("one", hop="name-2"))
    one = follower(tmp_path)
    one.step()
    one.commit()
    one.close()
    (count,) = one.committed.evidence("p").counts
    assert (count.first, count.all) == (1, 1)


def test_rotation_keeps_every_line_and_old_files_go_when_read(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"1\n", b"2\n")
    with LogReader(log, None) as reader:
        assert reader.read() == b"1\n2\n"
        old = rotate(log)
        append(old, b"3\n")  # Envoy has not reopened yet
        assert reader.read() == b"3\n"
        append(old, b"4\n")
        append(log, b"5\n")
        assert reader.read() == b"4\n"
        before = Position(old.stat().st_ino, 0)
        assert reader.read() == b"5\n"
        assert drop_read(log, None) == []
        assert drop_read(log, before) == []
        assert drop_read(log, reader.position) == [old]
    assert log_files(log) == [log]


def test_a_reader_whose_file_was_dropped_goes_on_with_the_next(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"1\n")
    with LogReader(log, None) as reader:
        assert reader.read() == b"1\n"
        first = rotate(log)
        append(log, b"2\n")
        second = rotate(log)
        append(log, b"3\n")
        first.unlink()
        assert reader.read() == b"2\n"
        second.unlink()
        assert reader.read() == b"3\n"
        assert reader.read() == b""


def test_an_inode_that_was_given_to_a_shorter_file_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"1\n")
    with LogReader(log, Position(log.stat().st_ino, 1000)) as reader:
        assert reader.read() == b"1\n"


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, b"1\n2")
    with LogReader(log, None) as reader:
        assert reader.read() == b"1\n"
        assert reader.read() == b""
        append(log, b"2\n")
        assert reader.read() == b"22\n"


def test_nonsense_is_no_line_and_harms_no_other() -> None:
    for raw in (b"", b"{", b"[]", b'{"a":1}', b'{"a":[]}', b"null", b'{"r":[1,2,3]}', b'{"a":1}{"b"'):
        lines, unreadable = parse_lines(request("before") + raw + b"\n" + request("after"))
        assert [line.last.request_id for line in lines] == ["before", "after"]  # type: ignore[union-attr]
        assert unreadable >= 1, raw


async def test_when_envoy_has_gone_nothing_waits_any_longer(tmp_path: Path) -> None:
    log, shelf = tmp_path / "access.log", Shelf()
    append(log, request("one"), attempt("two", code=0, outcome=None))
    with closing(follower(tmp_path)) as one:
        await one.finish()
        shipper = Shipper(one, tmp_path / "shipped.json", system_env(), shelf.ship)
        assert shipper.unshipped
        while await shipper.step():
            pass
        assert not shipper.unshipped
    assert [(each.request_id, each.outcome.value) for each in shelf.got] == [("one", "ok"), ("two", "unknown")]
    # Committed: the next process does not tell it again.
    again = Shelf()
    await ship(tmp_path, again)
    assert again.got == []
