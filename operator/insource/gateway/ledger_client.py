"""Sightings to the ledger. What it does not acknowledge is sent again: by the caller, for as long as it takes."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import orjson
import structlog

from insource.wire.records import IngestResult

TIMEOUT_S = 15.0
REFUSALS = frozenset({400, 413, 422})
"""Statuses of a ledger that understood and will not take this body, however often it is sent."""
_log = structlog.get_logger(__name__)


class _Refused(Exception):  # noqa: N818 it is an answer, not a fault
    """The body was refused for good."""


class LedgerClient:
    """`POST /v1/sightings` with a projected ServiceAccount token, re-read for each batch."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._url = url.rstrip("/") + "/v1/sightings"
        self._token_file = token_file
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        self.failures_total = 0
        self.conflicts_total = 0
        self.rejected_total = 0
        """Sightings that the ledger will never take."""

    async def close(self) -> None:
        """Let go of the connections."""
        await self._session.close()

    async def ship(self, sightings: list[bytes]) -> bool:
        """Send sightings, each a line of JSON.

        True once the ledger has them durably, or will never take them: these are counted and told.
        """
        try:
            result = await self._send(sightings)
        except _Refused as refusal:
            if len(sightings) > 1:
                # Whichever it is, the others must not wait for it.
                half = len(sightings) // 2
                return await self.ship(sightings[:half]) and await self.ship(sightings[half:])
            self._set_aside(sightings[0], str(refusal))
            return True
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.failures_total += 1
            _log.warning("sightings_not_shipped", count=len(sightings), error=f"{type(error).__name__}: {error}")
            return False
        if result.conflicts:
            self.conflicts_total += len(result.conflicts)
            _log.error("sightings_conflict", attempts=result.conflicts[:10])
        for each in result.rejected:
            if each.index < len(sightings):
                self._set_aside(sightings[each.index], each.reason)
        return True

    async def _send(self, sightings: list[bytes]) -> IngestResult:
        token = self._token_file.read_text().strip()
        body = b'{"sightings":[%b]}' % b",".join(sightings)
        request_headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        async with self._session.post(self._url, data=body, headers=request_headers) as answer:
            if answer.status in REFUSALS:
                raise _Refused(f"the ledger answered {answer.status}")
            if answer.status != 200:
                raise aiohttp.ClientError(f"the ledger answered {answer.status}")
            return IngestResult.model_validate_json(await answer.read())

    def _set_aside(self, refused: bytes, reason: str) -> None:
        self.rejected_total += 1
        try:
            attempt = orjson.loads(refused)["attempt_id"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            attempt = ""
        _log.error("sighting_rejected", attempt=attempt, reason=reason)
