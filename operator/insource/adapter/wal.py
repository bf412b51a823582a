"""The write-ahead log: every attempt on disk before its upstream call, its end after it, until the ledger has them.

Segments `<number>.jsonl` of `wire.records` lines, written through at once (a killed process keeps its page cache);
`synced()` is one fsync for everyone who waits (a machine that dies keeps what it was promised). A segment goes when
the ledger has acknowledged it and each attempt begun in it has ended. There is no upper bound: work is not refused
because the ledger is away; `insource_ledger_wal_bytes` says how much lies here. If the disk itself is full, appending
raises OSError, and the attempt is refused before it costs anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from insource.env import Env
from insource.wire.records import AttemptEnded, AttemptStarted
from insource.wire.vocabulary import Outcome

SEGMENT_BYTES = 4 << 20
_CHECKPOINT = "checkpoint"
_SUFFIX = ".jsonl"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, order=True)
class Position:
    """A place in the log: just after what the ledger has."""

    segment: int
    offset: int


@dataclass(frozen=True)
class Batch:
    """Consecutive lines of one segment, exactly as they were written, and the position after them."""

    lines: tuple[bytes, ...]
    after: Position


class WriteAheadLog:
    """One writer, one shipper, one folder."""

    def __init__(self, folder: Path, env: Env, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open `folder`, mend a torn last line, and end attempts of an earlier process as `unknown`."""
        self._folder = folder
        self._env = env
        self._segment_bytes = segment_bytes
        self._open_attempts: dict[str, int] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._syncing: asyncio.Task[None] | None = None
        self._full_unsynced: list[int] = []
        self._folder_synced_at = -1
        self.written = asyncio.Event()
        """Set when there may be something to ship."""
        self.unshipped = 0
        """Records that the ledger has not acknowledged."""
        folder.mkdir(parents=True, exist_ok=True)
        self._shipped = self._read_checkpoint()
        self._checkpoint = os.open(folder / _CHECKPOINT, os.O_WRONLY | os.O_CREAT, 0o600)
        self._segments = sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())
        self._recover()
        # Note: a machine that died may have kept a checkpoint and lost the segment it names; what is written from now
        # on must come after both.
        self._start_segment(max([self._shipped.segment, *self._segments[-1:]]) + 1)
        for attempt in list(self._open_attempts):
            ended = int(env.clock.now().timestamp() * 1000)
            self.append(AttemptEnded(attempt_id=attempt, outcome=Outcome.UNKNOWN, status=0, ended_at_ms=ended))
        if self.unshipped:
            # An earlier process may have left ended attempts only, and no request may come for a long time.
            self.written.set()
        self._collect()

    def append(self, record: AttemptStarted | AttemptEnded) -> None:
        """Write one record; on return it survives the death of this process. Raises OSError if it is not written."""
        self.append_line(record.kind, record.attempt_id, record.model_dump_json().encode())

    def append_line(self, kind: str, attempt_id: str, content: bytes) -> None:
        """The same for a record that is encoded already, `content` being its JSON."""
        line = content + b"\n"
        if self._size + len(line) > self._segment_bytes:
            full, number = self._fd, self._segments[-1]
            self._start_segment(number + 1)
            self._full_unsynced.append(number)
            os.close(full)
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError("the write-ahead log's disk is full")
        self._size += written
        self._note(kind, attempt_id, self._segments[-1])
        self.unshipped += 1
        self.written.set()

    async def synced(self) -> None:
        """Return when everything appended before this call survives the death of the machine."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync_waiting())
        await waiter

    async def _sync_waiting(self) -> None:
        # Those who come while one fsync runs share the next one: the slower the disk, the larger the group.
        while self._waiting:
            group, self._waiting = self._waiting, []
            failure: OSError | None = None
            # What someone waits for may lie in a segment that was full before they came.
            newest, full = self._segments[-1], tuple(self._full_unsynced)
            others = [self._path(each) for each in full]
            if newest != self._folder_synced_at:
                others.append(self._folder)
            try:
                await asyncio.to_thread(_sync, os.dup(self._fd), others)
                self._full_unsynced = [each for each in self._full_unsynced if each not in full]
                self._folder_synced_at = newest
            except OSError as problem:
                failure = problem
            for waiter in group:
                if waiter.done():
                    continue
                if failure is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(failure)

    def next_batch(self, most: int = 1000) -> Batch | None:
        """The next lines to ship, or None if the ledger has everything."""
        for segment in self._segments:
            if segment < self._shipped.segment:
                continue
            offset = self._shipped.offset if segment == self._shipped.segment else 0
            lines: list[bytes] = []
            with self._path(segment).open("rb") as file:
                file.seek(offset)
                for line in file:
                    if len(lines) == most or not line.endswith(b"\n"):
                        break
                    lines.append(line[:-1])
                    offset += len(line)
            if lines:
                return Batch(tuple(lines), Position(segment, offset))
        return None

    @property
    def shipped(self) -> Position:
        """The place after the last record that the ledger has."""
        return self._shipped

    @property
    def end(self) -> Position:
        """The place after the last record."""
        return Position(self._segments[-1], self._size)

    def acknowledge(self, batch: Batch) -> None:
        """The ledger has this batch: never ship it again, and drop what nobody needs."""
        self._shipped = batch.after
        self.unshipped = max(0, self.unshipped - len(batch.lines))
        # In place, of one length and far below a sector: never torn. Renaming a new file over it makes ext4 write that
        # file to the disk first, while everything stands still. A checkpoint that is lost only sends things twice.
        os.pwrite(self._checkpoint, b"%08d %012d\n" % (batch.after.segment, batch.after.offset), 0)
        self._collect()

    def set_aside(self, line: bytes) -> None:
        """Keep a record that the ledger will never take, where a person can find it."""
        with (self._folder / "rejected.txt").open("ab") as file:
            file.write(line + b"\n")

    def size_bytes(self) -> int:
        """What the log's segments hold on disk."""
        return sum(self._path(segment).stat().st_size for segment in self._segments)

    async def close(self) -> None:
        """Finish the syncs that someone waits for, and close the file."""
        if self._syncing is not None:
            await self._syncing
        os.close(self._fd)
        os.close(self._checkpoint)

    def _collect(self) -> None:
        needed = min(self._open_attempts.values(), default=self._segments[-1])
        for segment in self._segments[:-1]:
            shipped = segment < self._shipped.segment or (
                segment == self._shipped.segment and self._shipped.offset >= self._path(segment).stat().st_size
            )
            if not shipped or segment >= needed:
                break
            self._path(segment).unlink()
            self._segments = self._segments[1:]
            self._full_unsynced = [each for each in self._full_unsynced if each != segment]

    def _recover(self) -> None:
        for segment in self._segments:
            path = self._path(segment)
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                log.warning("wal_torn_line_dropped", segment=segment, bytes=len(content) - whole)
                os.truncate(path, whole)
            offset = 0
            for line in content[:whole].splitlines(keepends=True):
                offset += len(line)
                if Position(segment, offset) > self._shipped:
                    self.unshipped += 1
                try:
                    record = orjson.loads(line)
                    self._note(record["kind"], record["attempt_id"], segment)
                except (ValueError, KeyError, TypeError):
                    log.warning("wal_line_unreadable", segment=segment, offset=offset)

    def _note(self, kind: str, attempt: str, segment: int) -> None:
        if kind == "attempt":
            self._open_attempts[attempt] = segment
        else:
            self._open_attempts.pop(attempt, None)

    def _start_segment(self, number: int) -> None:
        self._fd = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0
        self._segments.append(number)

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}{_SUFFIX}"

    def _read_checkpoint(self) -> Position:
        try:
            segment, offset = (self._folder / _CHECKPOINT).read_text().split()
            return Position(int(segment), int(offset))
        except (OSError, ValueError):
            return Position(0, 0)


def _sync(descriptor: int, others: Sequence[Path]) -> None:
    """Fsync and close a duplicate of the open segment, then what lies at `others`, if it still does."""
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    for path in others:
        with contextlib.suppress(FileNotFoundError):  # the ledger has this segment by now
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
