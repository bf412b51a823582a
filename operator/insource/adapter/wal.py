"""The write-ahead log: every attempt on disk before its upstream call, its end after it, until the ledger has them.

Segments `<number>.jsonl` of `wire.records` lines, written through at once (a killed process keeps its page cache);
`synced()` is one fsync for everyone who waits (a machine that dies keeps what it was promised). A segment goes when
the ledger has acknowledged it and each attempt begun in it has ended. There is no upper bound: work is not refused
because the ledger is away; `insource_ledger_wal_bytes` says how much lies here.

A write or sync that fails makes the log `problem`: from then on nothing is appended, so no attempt is made, until
`mend` has written and synced a file of its own and begun a new segment. What a failed sync was to save may be lost
although the kernel calls it clean ever after: an attempt begun in such a segment is never called durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from insource.env import Env
from insource.wire.records import AttemptEnded, AttemptStarted
from insource.wire.vocabulary import Outcome

STARTED, ENDED = "attempt", "usage"
"""Kinds of records."""
SEGMENT_BYTES = 4 << 20
_CHECKPOINT = "checkpoint"
_TRIAL = "trial"
_TRIAL_BYTES = 256 * 1024
"""A disk that takes this is worth beginning again on: it is several hundred records."""
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
        self._fd = -1
        self._size = 0
        self._untrusted_to = -1
        """The newest segment that a failed sync was for."""
        self._owed: dict[str, bytes] = {}
        self._broken = asyncio.Event()
        self.problem = ""
        """Why no attempt can be recorded at present, and where; empty if all is well."""
        self.written = asyncio.Event()
        """Set when there may be something to ship."""
        self._in_segments = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._shipped = self._read_checkpoint()
        self._checkpoint = os.open(folder / _CHECKPOINT, os.O_WRONLY | os.O_CREAT, 0o600)
        self._segments = sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())
        self._recover()
        # Note: a machine that died may have kept a checkpoint and lost the segment it names; what is written from now
        # on must come after both.
        self._next_segment = max([self._shipped.segment, *self._segments[-1:]]) + 1
        try:
            self._start_segment()
        except OSError as problem:
            self._fail(problem)  # what lies here can still be shipped, and that may be what makes room
        for attempt in list(self._open_attempts):
            ended = int(env.clock.now().timestamp() * 1000)
            self.conclude(AttemptEnded(attempt_id=attempt, outcome=Outcome.UNKNOWN, status=0, ended_at_ms=ended))
        if self.unshipped:
            # An earlier process may have left ended attempts only, and no request may come for a long time.
            self.written.set()
        self._collect()

    @property
    def unshipped(self) -> int:
        """Records that the ledger has not acknowledged."""
        return self._in_segments + len(self._owed)

    def append(self, record: AttemptStarted | AttemptEnded) -> None:
        """Write one record; on return it survives the death of this process. Raises OSError if it is not written."""
        self.append_line(record.kind, record.attempt_id, record.model_dump_json().encode())

    def append_line(self, kind: str, attempt_id: str, content: bytes) -> None:
        """The same for a record that is encoded already, `content` being its JSON."""
        if self.problem:
            raise OSError(self.problem)
        try:
            self._write(content + b"\n")
        except OSError as problem:
            self._fail(problem)
            raise
        self._note(kind, attempt_id, self._segments[-1])
        self._in_segments += 1
        self.written.set()

    def conclude(self, record: AttemptEnded) -> None:
        """Write an attempt's end, whatever happens."""
        self.conclude_line(record.attempt_id, record.model_dump_json().encode())

    def conclude_line(self, attempt_id: str, content: bytes) -> None:
        """The same for a record that is encoded already. What the disk does not take now is written by `mend`."""
        try:
            self.append_line(ENDED, attempt_id, content)
        except OSError:
            # There are never more of these than attempts were in flight: without a record none begins.
            self._owed[attempt_id] = content

    def _write(self, line: bytes) -> None:
        if self._size + len(line) > self._segment_bytes:
            self._start_segment()
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _fail(self, problem: OSError) -> None:
        reason = problem.strerror or type(problem).__name__
        before, self.problem = (
            self.problem,
            (f"attempts cannot be recorded in {self._folder} ({reason}); free space there or replace the disk"),
        )
        self._broken.set()
        if self.problem != before:  # and not at each try to mend it
            log.error("wal_broken", folder=str(self._folder), problem=reason)

    async def keep_whole(self, retry_s: float) -> None:
        """Mend the log whenever it is broken, trying every `retry_s` seconds, until cancelled."""
        while True:
            await self._broken.wait()
            await self._env.clock.sleep(retry_s)
            await self.mend()

    async def mend(self) -> None:
        """Go on in a new segment if the disk takes and syncs some data again; otherwise change nothing."""
        if not self.problem:
            return
        try:
            await asyncio.to_thread(_try_out, self._folder / _TRIAL)
            self._start_segment()
            for attempt, line in list(self._owed.items()):
                self._write(line + b"\n")
                self._note(ENDED, attempt, self._segments[-1])
                self._in_segments += 1
                del self._owed[attempt]
        except OSError as problem:
            self._fail(problem)
            return
        self.problem = ""
        self._broken.clear()
        self.written.set()
        log.info("wal_mended", folder=str(self._folder), segment=self._segments[-1])

    async def synced(self, attempt_id: str) -> None:
        """Return when this attempt's start, written before, survives the death of the machine.

        Raises OSError if that cannot be had; then the attempt must not be made, now or later.
        """
        if self.problem:
            raise OSError(self.problem)
        if self._open_attempts.get(attempt_id, self._segments[-1]) <= self._untrusted_to:
            raise OSError(f"the record of {attempt_id} was in {self._folder} when the disk failed")
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
                # Note: asking again would be answered "synced" about pages that the kernel has dropped.
                self._untrusted_to, self._full_unsynced = self._segments[-1], []
                self._fail(problem)
                group, self._waiting = group + self._waiting, []
            for waiter in group:
                if waiter.done():
                    continue
                if failure is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(OSError(self.problem))

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
        self._in_segments = 0  # a line that a failing disk cut short was counted, and never comes
        return None

    @property
    def shipped(self) -> Position:
        """The place after the last record that the ledger has."""
        return self._shipped

    @property
    def end(self) -> Position:
        """The place after the last record."""
        if self._fd < 0:
            return Position(self._next_segment, 0)
        return Position(self._segments[-1], self._size)

    def acknowledge(self, batch: Batch) -> None:
        """The ledger has this batch: never ship it again, and drop what nobody needs."""
        self._shipped = batch.after
        self._in_segments = max(0, self._in_segments - len(batch.lines))
        # In place, of one length and far below a sector: never torn. Renaming a new file over it makes ext4 write that
        # file to the disk first, while everything stands still. A checkpoint that is lost only sends things twice.
        try:
            os.pwrite(self._checkpoint, b"%08d %012d\n" % (batch.after.segment, batch.after.offset), 0)
        except OSError as problem:
            log.warning("wal_checkpoint_not_written", folder=str(self._folder), problem=problem.strerror)
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
        await self.mend()
        for descriptor in (self._fd, self._checkpoint):
            if descriptor >= 0:
                os.close(descriptor)

    def _collect(self) -> None:
        needed = min(self._open_attempts.values(), default=self._next_segment)
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
                    self._in_segments += 1
                try:
                    record = orjson.loads(line)
                    self._note(record["kind"], record["attempt_id"], segment)
                except (ValueError, KeyError, TypeError):
                    log.warning("wal_line_unreadable", segment=segment, offset=offset)

    def _note(self, kind: str, attempt: str, segment: int) -> None:
        if kind == STARTED:
            self._open_attempts[attempt] = segment
        else:
            self._open_attempts.pop(attempt, None)

    def _start_segment(self) -> None:
        number = self._next_segment
        fresh = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
            if self._segments[-1] > self._untrusted_to:
                self._full_unsynced.append(self._segments[-1])
        self._fd, self._size = fresh, 0
        self._next_segment = number + 1
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


def _try_out(path: Path) -> None:
    """Write and sync a file, and remove it. Raises OSError."""
    try:
        with path.open("wb", buffering=0) as file:
            if file.write(bytes(_TRIAL_BYTES)) != _TRIAL_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)
