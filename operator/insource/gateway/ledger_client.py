"""Sightings to the ledger. What it does not acknowledge is sent again: by the caller, for as long as it takes."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import orjson
import structlog

from insource.wire.records import IngestResult

TIMEOUT_S = 15.0
SightingFields = dict[str, str | int | bool]
"""The fields of one `wire.records.Sighting`, not validated here: that would cost more than all the rest of it."""
_log = structlog.get_logger(__name__)


class LedgerClient:
    """`POST /v1/sightings` with a projected ServiceAccount token, re-read for each batch."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._url = url.rstrip("/") + "/v1/sightings"
        self._token_file = token_file
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        self.failures_total = 0
        self.conflicts_total = 0

    async def close(self) -> None:
        """Let go of the connections."""
        await self._session.close()

    async def ship(self, sightings: list[SightingFields]) -> bool:
        """True once the ledger has them durably."""
        try:
            token = self._token_file.read_text().strip()
            body = orjson.dumps({"sightings": sightings})
            request_headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            async with self._session.post(self._url, data=body, headers=request_headers) as answer:
                if answer.status != 200:
                    raise aiohttp.ClientError(f"the ledger answered {answer.status}")
                result = IngestResult.model_validate_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.failures_total += 1
            _log.warning("sightings_not_shipped", count=len(sightings), error=f"{type(error).__name__}: {error}")
            return False
        if result.conflicts:
            self.conflicts_total += len(result.conflicts)
            _log.error("sightings_conflict", attempts=result.conflicts[:10])
        return True
