"""How an attempt ended, from Envoy's two log lines: the gateway's half of the one outcome table. Pure.

The adapter's own word (`x-insource-outcome`) decides, unless it said `ok` and the body then broke off or the
client left. Without a word, Envoy's response flags decide. The status code alone never does.
"""

from __future__ import annotations

from collections.abc import Set

from insource.wire.vocabulary import Outcome

BROKEN = frozenset({"UC", "UF", "UR", "UPE", "UO", "LR"})
"""The backend's side failed: connection closed, not made, reset, protocol error, overflow."""
NOT_REACHED = frozenset({"UF", "UO", "UH", "NC"})
"""No connection to the adapter: nothing can have been consumed."""
LATE = frozenset({"UT", "SI", "DT", "UMSDR"})
LEFT = frozenset({"DC", "DPE", "DR"})
"""The client closed or broke its connection."""


def decide_outcome(flags: Set[str], word: str, *, last: bool, request_flags: Set[str] | None) -> Outcome:
    """The outcome of one attempt.

    `flags`: of the attempt's line. `word`: the outcome header, "" without one. `last`: no other attempt of this
    request followed. `request_flags`: of the request's line, None if it never came (Envoy died): then what only that
    line tells is unknown.
    """
    ended = (request_flags or frozenset()) if last else frozenset()
    said = _said(word)
    if said is not None and said is not Outcome.OK:
        return said
    if flags & BROKEN:
        return Outcome.SERVER
    if flags & LATE or ended & LATE:
        return Outcome.TIMEOUT
    if flags & LEFT or ended & LEFT:
        return Outcome.GONE
    if said is None or (last and request_flags is None):
        return Outcome.UNKNOWN
    return said


def was_reached(code: int, flags: Set[str]) -> bool:
    """False if no connection to the adapter was made."""
    return bool(code) or not flags & NOT_REACHED


def _said(word: str) -> Outcome | None:
    try:
        return Outcome(word)
    except ValueError:
        return None
