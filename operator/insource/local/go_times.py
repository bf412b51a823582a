"""Times as Go reads and writes them: RFC 3339, and in whose words one that cannot be read is refused. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_LAYOUT: tuple[tuple[str, str, str, int, int], ...] = (
    ("2006", r"\d{4}", "", 0, 0),
    ("-", "-", "", 0, 0),
    ("01", r"\d{2}", "month", 1, 12),
    ("-", "-", "", 0, 0),
    ("02", r"\d{2}", "", 0, 0),
    ("T", "T", "", 0, 0),
    ("15", r"\d{2}", "hour", 0, 23),
    (":", ":", "", 0, 0),
    ("04", r"\d{2}", "minute", 0, 59),
    (":", ":", "", 0, 0),
    ("05", r"\d{2}", "second", 0, 59),
)
"""(as the layout says it, what it must look like, what it is, the least and the most that it may be)."""
_ZONE = re.compile(r"Z|[+-]\d{2}:\d{2}")
SECONDS = "2006-01-02T15:04:05Z07:00"
MICROSECONDS = "2006-01-02T15:04:05.000000Z07:00"


class UnreadableTimeError(ValueError):
    """The text says why, as Go would."""


@lru_cache(maxsize=1024)
def rewritten(text: str, layout: str) -> str:
    """A time as Go writes it again: in UTC, in whole seconds or with six digits. Raises UnreadableTimeError."""
    moment = _parsed(text, layout).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S" + (".%fZ" if layout == MICROSECONDS else "Z"))


def _parsed(text: str, layout: str) -> datetime:
    rest = text
    for said, pattern, what, least, most in _LAYOUT:
        match = re.match(pattern, rest)
        if match is None:
            raise _unreadable(text, layout, rest, said)
        if what and not least <= int(match.group()) <= most:
            raise UnreadableTimeError(f'parsing time "{text}": {what} out of range')
        rest = rest[match.end() :]
    fraction = re.match(r"\.\d{6}" if layout == MICROSECONDS else r"[.,]\d+", rest)
    if layout == MICROSECONDS and fraction is None:
        raise _unreadable(text, layout, rest, ".000000")
    rest = rest[fraction.end() :] if fraction else rest
    zone = _ZONE.match(rest)
    if zone is None:
        raise _unreadable(text, layout, rest, "Z07:00")
    if rest != zone.group():
        raise UnreadableTimeError(f'parsing time "{text}": extra text: "{rest[zone.end() :]}"')
    digits = (fraction.group()[1:7] if fraction else "").ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{text[:19]}.{digits}{zone.group()}")
    except ValueError as error:
        raise UnreadableTimeError(f'parsing time "{text}": day out of range') from error


def _unreadable(text: str, layout: str, rest: str, wanted: str) -> UnreadableTimeError:
    return UnreadableTimeError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{wanted}"')
