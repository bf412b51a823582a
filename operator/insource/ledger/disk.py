"""What SQLite says of the disk under it, told so that somebody can act."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError

FULL = (
    "the ledger's volume is full: enlarge its claim (insource-ledger) or give it room; nothing was written, nothing is "
    "lost: adapters and gateways keep their records and send them again"
)
BROKEN = (
    "the ledger's volume cannot be written ({}): look at its claim (insource-ledger) and node; nothing was written, "
    "nothing is lost: adapters and gateways keep their records and send them again"
)
_PRIMARY: Final = 0xFF
"""The low byte of SQLite's extended result codes."""
_UNWRITABLE = {sqlite3.SQLITE_IOERR: "input/output error", sqlite3.SQLITE_READONLY: "read-only"}


def disk_trouble(error: BaseException | None) -> str:
    """The words for a client; empty if the disk has nothing to do with the error, nor with what it came from."""
    while error is not None:
        if words := _words(error.orig if isinstance(error, DBAPIError) else error):
            return words
        error = error.__cause__ or error.__context__
    return ""


def _words(error: BaseException | None) -> str:
    if not isinstance(error, sqlite3.Error) or not hasattr(error, "sqlite_errorcode"):
        return ""
    code = error.sqlite_errorcode & _PRIMARY
    if code == sqlite3.SQLITE_FULL:
        return FULL
    return BROKEN.format(_UNWRITABLE[code]) if code in _UNWRITABLE else ""
