"""Attempt lines meet their request line: only then is an attempt's outcome known. No I/O.

Envoy writes an attempt's line before its request's line, except where the client left: then the last one comes after
it. A request line that never comes belongs to an Envoy that died: a line of its successor (another `boot`), or age,
ends the waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from insource.gateway.log_lines import Attempt, Request
from insource.gateway.outcomes import decide_outcome
from insource.wire.vocabulary import Outcome

MOST_WAITING = 100_000
MOST_ENDED = 1000
"""Requests that ended with fewer attempt lines than attempts; the missing line is a few lines away, or never comes."""

Key = tuple[str, str]
"""(request id, hop)."""


@dataclass(frozen=True)
class Decided:
    """An attempt with its outcome."""

    attempt: Attempt
    outcome: Outcome


class Joiner:
    """Attempts that wait for their request line."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Attempt]] = {}
        self._ended: dict[Key, Request] = {}
        self._boot = ""

    def feed(self, line: Attempt | Request) -> Iterator[Decided]:
        """Take in the next line; yields what is decided by it."""
        if line.boot != self._boot:
            self._boot = line.boot
            self._ended.clear()
            yield from self._give_up(lambda attempt: attempt.boot != line.boot)
        key = (line.request_id, line.hop)
        if isinstance(line, Request):
            attempts = self._waiting.pop(key, [])
            if len(attempts) < line.attempts:
                self._ended[key] = line
                if len(self._ended) > MOST_ENDED:
                    del self._ended[next(iter(self._ended))]
            yield from _decide(attempts, line)
            return
        if key in self._ended:
            yield from _decide([line], self._ended[key])
            return
        self._waiting.setdefault(key, []).append(line)
        if len(self._waiting) > MOST_WAITING:
            yield from _decide(self._waiting.pop(next(iter(self._waiting))), None)

    def expire(self, before_ms: int) -> Iterator[Decided]:
        """Give up on requests whose first attempt began before this time (milliseconds since the epoch)."""
        yield from self._give_up(lambda attempt: attempt.at_ms < before_ms)

    def dump(self) -> dict[str, Any]:
        """Everything that waits, as JSON data."""
        waiting = [
            {**asdict(attempt), "flags": sorted(attempt.flags)}
            for attempts in self._waiting.values()
            for attempt in attempts
        ]
        ended = [{**asdict(request), "flags": sorted(request.flags)} for request in self._ended.values()]
        return {"boot": self._boot, "waiting": waiting, "ended": ended}

    @staticmethod
    def load(document: dict[str, Any]) -> Joiner:
        """The reverse of `dump`."""
        joiner = Joiner()
        joiner._boot = document["boot"]
        for each in document["waiting"]:
            attempt = Attempt(**{**each, "flags": frozenset(each["flags"])})
            joiner._waiting.setdefault((attempt.request_id, attempt.hop), []).append(attempt)
        for each in document["ended"]:
            request = Request(**{**each, "flags": frozenset(each["flags"])})
            joiner._ended[request.request_id, request.hop] = request
        return joiner

    def _give_up(self, condition: Callable[[Attempt], bool]) -> Iterator[Decided]:
        hopeless = [key for key, attempts in self._waiting.items() if condition(attempts[0])]
        for key in hopeless:
            yield from _decide(self._waiting.pop(key), None)


def _decide(attempts: list[Attempt], request: Request | None) -> Iterator[Decided]:
    final = max((attempt.number for attempt in attempts), default=0) if request is None else request.attempts
    for attempt in attempts:
        outcome = decide_outcome(
            attempt.flags,
            attempt.word,
            last=attempt.number >= final,
            request_flags=None if request is None else request.flags,
        )
        yield Decided(attempt, outcome)
