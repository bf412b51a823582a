"""OpenAI's list of models, `GET /models`: which there are, and when OpenAI stops serving one. Read with distrust.

`shutdown_date` is a day or null: https://developers.openai.com/api/docs/deprecations. Those who took over OpenAI's API
have the list without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import orjson

MODELS = "/models"
"""Path below the base URL."""
_ID_LONGEST = 253
"""Characters of a model's id: those of `backends[].vendor.model`."""
_MOST = 10_000
"""Models; the largest of the public lists have some hundreds."""


@dataclass(frozen=True)
class Listing:
    """One answer."""

    days: Mapping[str, str]
    """Model id -> the day on which it is shut down, as `2027-02-26`; empty where none is named."""
    dated: tuple[str, ...]
    """Ids of those with a day, the soonest first."""
    whole: bool
    """False: it is the first page of more, so a model that is not in it may exist all the same."""
    problem: str = ""
    """What in it could not be read."""


def listing_of(content: bytes) -> Listing:
    """The list in an answer's body. ValueError if it is none; an entry that is no model is passed over.

    >>> listing_of(b'{"data": [{"id": "tts-1", "shutdown_date": "2027-01-06"}, {"id": "gpt-image-2"}]}').days
    {'tts-1': '2027-01-06', 'gpt-image-2': ''}
    """
    body = orjson.loads(content)
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no list of models")
    if len(entries) > _MOST:
        raise ValueError("too many models")
    days: dict[str, str] = {}
    unread = ""
    for entry in entries:
        name = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= _ID_LONGEST or not name.isprintable():
            continue
        told = entry.get("shutdown_date")
        days[name] = _day(told)
        if told is not None and not days[name]:
            unread = unread or name
    problem = f'names a shutdown_date of model "{unread}" that is no day' if unread else ""
    dated = sorted((name for name, day in days.items() if day), key=lambda name: (days[name], name))
    return Listing(days, tuple(dated), not body.get("has_more"), problem)


def _day(told: object) -> str:
    """The day, or empty. A time of day behind it, as some might add, is no part of it."""
    if not isinstance(told, str):
        return ""
    try:
        return date.fromisoformat(told[:10]).isoformat() if len(told) == 10 or told[10:11] == "T" else ""
    except ValueError:
        return ""
