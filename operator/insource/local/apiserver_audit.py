"""The API server's audit log: a line for each answered request, written before its client sees the answer's end.

What cannot be written is lost, and said once: nobody's request fails for it. The entries are `audit`'s.
"""

from __future__ import annotations

import json
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
from insource.local.journal import Journal, WriteTo
from insource.local.rbac import Decision
from insource.local.store_errors import Object

SENDER = web.RequestKey("sender", User)
ACTING = web.RequestKey("acting", User)
DECISION = web.RequestKey("decision", Decision)
STATUS = web.RequestKey("status", dict)
SENT = web.RequestKey("sent", object)
"""What the server learns of a request while it answers it."""
_BLOCK_BYTES = 64 * 1024
_log = structlog.get_logger("audit")


class AuditLog:
    """One file, which only grows. Raises OSError if it cannot be opened."""

    def __init__(self, path: Path, env: Env, write: WriteTo = os.write) -> None:
        """`write`: what the file is written with (`os.write`)."""
        self._journal = Journal(path, write)
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
        sender = request.get(SENDER)
        if sender is None:
            return  # as a real server at this stage: of whom nobody knows, nothing is told
        target = parse_path(request.path)
        answered = Answered(
            uri=request.path_qs,
            asked=request_of(request.method, request.path, request.query),
            version=target.version if target is not None else "",
            code=code,
            received=received,
            answered=self._env.clock.now(),
            sender=sender,
            acting=request.get(ACTING),
            decision=request.get(DECISION),
            status=request.get(STATUS),
            sent=request.get(SENT),
            address=request.remote or "",
            agent=request.headers.get("User-Agent", ""),
        )
        try:
            self._journal.append(_line(entry(answered, self._env.ids.uuid())))
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


def _line(told: Object) -> bytes:
    try:
        return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # A header may be no UTF-8; the standard library writes such text with escapes.
        return json.dumps(told).encode() + b"\n"


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
