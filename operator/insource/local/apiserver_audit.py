"""The API server's audit log: a line for each answered request, written before its client sees the answer's end.

What cannot be written is lost, and said once: nobody's request fails for it. The entries are `audit`'s.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from insource.env import Env
from insource.local.apiserver_authorization import request_of
from insource.local.apiserver_requests import parse_path
from insource.local.audit import Answered, entry
from insource.local.auth import User
from insource.local.journal import Journal
from insource.local.store_errors import ApiError

SENDER = web.RequestKey("sender", User)
ACTING = web.RequestKey("acting", User)
REFUSAL = web.RequestKey("refusal", ApiError)
SENT = web.RequestKey("sent", object)
"""What the server learns of a request while it answers it."""
_BLOCK_BYTES = 64 * 1024
_log = structlog.get_logger("audit")


class AuditLog:
    """One file, which only grows. Raises OSError if it cannot be opened."""

    def __init__(self, path: Path, env: Env) -> None:
        self._journal = Journal(path)
        self._env = env
        self._failing = False
        self._journal.cut(_whole_bytes(path))

    def close(self) -> None:
        self._journal.close()

    def middleware(self) -> Middleware:
        """What an application needs so that its requests are told."""

        @web.middleware
        async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
            received = self._env.clock.now()
            try:
                response = await handler(request)
            except web.HTTPException as refused:
                self._tell(request, refused.status, received)
                raise
            self._tell(request, response.status, received)
            return response

        return audited

    def _tell(self, request: web.Request, code: int, received: datetime) -> None:
        target = parse_path(request.path)
        answered = Answered(
            uri=request.path_qs,
            asked=request_of(request.method, request.path, request.query),
            version=target.version if target is not None else "",
            code=code,
            received=received,
            answered=self._env.clock.now(),
            sender=request.get(SENDER),
            acting=request.get(ACTING),
            refusal=request.get(REFUSAL),
            sent=request.get(SENT),
            address=request.remote or "",
            agent=request.headers.get("User-Agent", ""),
        )
        line = orjson.dumps(entry(answered, self._env.ids.uuid()), option=orjson.OPT_APPEND_NEWLINE)
        try:
            self._journal.append(line)
        except OSError as error:
            if not self._failing:
                _log.error(
                    "entries are lost until the audit log can be written",
                    path=str(self._journal.path),
                    error=str(error),
                )
            self._failing = True
        else:
            self._failing = False


def _whole_bytes(path: Path) -> int:
    """How much of the file is whole lines: a kill may have left the beginning of one more."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - _BLOCK_BYTES)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0
