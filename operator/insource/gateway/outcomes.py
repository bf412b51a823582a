"""How an attempt ended, from Envoy's two log lines: the gateway's half of the one outcome table. Pure.

The adapter's own word (`x-insource-outcome`) decides, unless it said `ok` and the body then broke off or the
client left. Without a word, Envoy's response flags decide. The status code alone never does.
"""

from __future__ import annotations

from functools import lru_cache

from insource.wire.vocabulary import Outcome

BROKEN = frozenset({"UC", "UF", "UR", "UPE", "UO", "LR"})
"""The backend's side failed: connection closed, not made, reset, protocol error, overflow."""
NOT_REACHED = frozenset({"UF", "UO", "UH", "NC"})
"""No connection to the adapter: nothing can have been consumed."""
LATE = frozenset({"UT", "SI", "DT", "UMSDR"})
LEFT = frozenset({"DC", "DPE", "DR"})
"""The client closed or broke its connection."""


@lru_cache(maxsize=4096)
def decide_outcome(flags: str, word: str, last: bool, ended: str | None) -> str:
    """The outcome (value of an `Outcome`) of one attempt. There are few combinations, so answers are kept.

    `flags`: of the attempt's line, comma-separated. `word`: the outcome header, "" without one. `last`: no other
    attempt of this request followed. `ended`: flags of the request's line, None if it never came (Envoy died): then
    what only that line tells is unknown.
    """
    return _decide(_set(flags), word, last, ended).value


def _decide(own: frozenset[str], word: str, last: bool, ended: str | None) -> Outcome:
    closing = _set(ended or "") if last else frozenset()
    said = _said(word)
    if said is not None and said is not Outcome.OK:
        return said
    if own & BROKEN:
        return Outcome.SERVER
    if own & LATE or closing & LATE:
        return Outcome.TIMEOUT
    if own & LEFT or closing & LEFT:
        return Outcome.GONE
    if said is None or (last and ended is None):
        return Outcome.UNKNOWN
    return said


@lru_cache(maxsize=1024)
def was_reached(code: int, flags: str) -> bool:
    """False if no connection to the adapter was made."""
    return bool(code) or not _set(flags) & NOT_REACHED


def _set(flags: str) -> frozenset[str]:
    return frozenset(filter(None, flags.split(",")))


def _said(word: str) -> Outcome | None:
    try:
        return Outcome(word)
    except ValueError:
        return None
