"""The adapter's way to the ledger: ship records, ask for spill reservations. Sends the projected token, read anew."""

from __future__ import annotations

import asyncio

import aiohttp
import structlog
from pydantic import ValidationError

from insource.adapter.settings import Patience
from insource.adapter.wal import Batch, WriteAheadLog
from insource.adapter.watched_file import WatchedFile
from insource.env import Env
from insource.wire.records import IngestResult, ReservationAnswer, ReservationRequest

log = structlog.get_logger(__name__)


class LedgerAway(Exception):  # noqa: N818
    """The ledger did not answer as it should; try again later."""


class RecordRejected(Exception):  # noqa: N818
    """The ledger understood, and will never take this body."""


class LedgerClient:
    """HTTP calls to the ledger."""

    def __init__(self, url: str, token: WatchedFile[str], session: aiohttp.ClientSession) -> None:
        self._url = url
        self._token = token
        self._session = session

    async def send(self, lines: tuple[bytes, ...]) -> IngestResult:
        """Post records, byte for byte as they were logged. Raises LedgerAway or RecordRejected."""
        body = b'{"records":[' + b",".join(lines) + b"]}"
        return IngestResult.model_validate_json(await self._post("/v1/records", body, timeout_s=30))

    async def reserve(self, request: ReservationRequest, timeout_s: float) -> ReservationAnswer:
        """Ask whether a spill attempt may be made. Raises LedgerAway or RecordRejected."""
        body = request.model_dump_json().encode()
        return ReservationAnswer.model_validate_json(await self._post("/v1/reservations", body, timeout_s=timeout_s))

    async def _post(self, path: str, body: bytes, timeout_s: float) -> bytes:
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._token.value()}"}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(self._url + path, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise LedgerAway(type(problem).__name__) from problem
        if answer.status in (400, 413, 422):
            raise RecordRejected(f"status {answer.status}")
        if answer.status != 200:
            raise LedgerAway(f"status {answer.status}")
        return content


class Shipper:
    """Carries the write-ahead log to the ledger, at least once, for as long as it takes."""

    def __init__(self, wal: WriteAheadLog, ledger: LedgerClient, env: Env, patience: Patience) -> None:
        self._wal = wal
        self._ledger = ledger
        self._env = env
        self._patience = patience
        self.conflicts = 0
        """Records the ledger already had with another content: a fault of ours, never expected."""
        self._suspects = 0
        self.rejected = 0
        """Records the ledger refused for good; kept in `rejected.txt`."""

    async def run(self) -> None:
        """Ship until cancelled."""
        while True:
            await self._wal.written.wait()
            # Note: one record and a hundred cost the same to send, so they are left to gather for a moment.
            await self._env.clock.sleep(self._patience.ship_gather_s)
            self._wal.written.clear()
            await self.ship_present()

    async def ship_present(self) -> None:
        """Ship until the ledger has what is in the log now, waiting (with jitter) while it is away."""
        delay = self._patience.ship_backoff_s
        until = self._wal.end
        while self._wal.shipped < until:
            try:
                batch = self._wal.next_batch(1 if self._suspects else 1000)
                if batch is None:
                    return
                await self._ship(batch)
                delay = self._patience.ship_backoff_s
                continue
            except (LedgerAway, ValidationError) as problem:
                log.warning("ledger_away", problem=str(problem)[:200], unshipped=self._wal.unshipped)
            except OSError as problem:  # a disk that fails must not end the shipping of what can still be read
                log.error("wal_not_shipped", problem=str(problem)[:200], unshipped=self._wal.unshipped)
            await self._env.clock.sleep(delay * self._env.rng.uniform(0.5, 1.5))
            delay = min(delay * 2, self._patience.ship_backoff_max_s)

    async def _ship(self, batch: Batch) -> None:
        try:
            self._report(batch.lines, await self._ledger.send(batch.lines))
        except RecordRejected:
            if len(batch.lines) > 1:
                # One that is no JSON spoils the body for all, so each goes alone.
                self._suspects = len(batch.lines)
                return
            self._set_aside(batch.lines[0], "the ledger refused it alone")
        self._suspects = max(0, self._suspects - 1)
        self._wal.acknowledge(batch)

    def _report(self, lines: tuple[bytes, ...], result: IngestResult) -> None:
        if result.conflicts:
            self.conflicts += len(result.conflicts)
            log.error("ledger_conflicts", identities=result.conflicts[:10])
        for each in result.rejected:
            if each.index < len(lines):
                self._set_aside(lines[each.index], each.reason)

    def _set_aside(self, line: bytes, reason: str) -> None:
        self._wal.set_aside(line)
        self.rejected += 1
        log.error("ledger_rejected_record", kept_in="rejected.txt", reason=reason)
