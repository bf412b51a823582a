"""The one thread that writes: takes whatever waits, runs it in one transaction, and answers after the commit.

It knows nothing of records. A job is a function of the connection; each runs in its own savepoint, so that one that
fails takes nothing else with it. Jobs run one after the other, which is what makes reservations exact.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

T = TypeVar("T")

MAX_JOBS_PER_COMMIT = 64
MAX_WAITING_JOBS = 1024


class LedgerBusyError(Exception):
    """More writes wait than the queue holds, or the ledger is closing; try again later."""


@dataclass(frozen=True)
class _Job:
    work: Callable[[Connection], Any]
    answer: Future[Any]


class Writer:
    """Start it with `start`, end it with `close`; `write` may be called from any thread or event loop."""

    def __init__(self, engine: Engine, on_rollback: Callable[[], None]) -> None:
        self._engine = engine
        self._on_rollback = on_rollback
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING_JOBS)
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._closing = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then end the thread. Later writes are refused."""
        if self._closing:
            return
        self._closing = True
        self._jobs.put(None)
        self._thread.join()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue `work`; the future resolves once its effects are durable. Raises LedgerBusyError if too much waits."""
        answer: Future[T] = Future()
        if self._closing:
            raise LedgerBusyError("the ledger is shutting down: send the records again to its successor")
        try:
            self._jobs.put_nowait(_Job(work, answer))
        except queue.Full:
            raise LedgerBusyError(f"{MAX_WAITING_JOBS} writes wait already: send the records again later") from None
        return answer

    async def write(self, work: Callable[[Connection], T]) -> T:
        """`submit`, awaited without blocking the event loop."""
        return await asyncio.wrap_future(self.submit(work))

    def _run(self) -> None:
        with self._engine.connect() as connection:
            while (first := self._jobs.get()) is not None:
                jobs, last = self._gather(first)
                self._commit(connection, jobs)
                if last:
                    return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        jobs = [first]
        while len(jobs) < MAX_JOBS_PER_COMMIT:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        """Note: a job whose caller went away still runs; a sender that timed out will send the same again."""
        results: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            with connection.begin():
                results = [(job, *self._attempt(connection, job)) for job in jobs]
        except BaseException as error:  # the commit failed: nothing of this round is durable
            self._on_rollback()
            results = [(job, None, error) for job in jobs]
        for job, value, failure in results:
            if not job.answer.set_running_or_notify_cancel():
                continue
            if failure is not None:
                job.answer.set_exception(failure)
            else:
                job.answer.set_result(value)

    def _attempt(self, connection: Connection, job: _Job) -> tuple[Any, BaseException | None]:
        savepoint = connection.begin_nested()
        try:
            value = job.work(connection)
            savepoint.commit()
        except Exception as error:
            self._on_rollback()
            # Note: SQLite may have undone the whole transaction (disk full), and with it the jobs before this one. Then
            # there is no such savepoint, this raises, and the round has failed for all of them.
            savepoint.rollback()
            return None, error
        return value, None
