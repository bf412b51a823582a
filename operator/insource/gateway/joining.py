"""Attempt lines meet their request line: only then is an attempt's outcome known. No I/O.

Envoy writes an attempt's line before its request's line, except where the client left: then the last one comes after
it. A request line that never comes belongs to an Envoy that died: a line of its successor (another `boot`), or age,
ends the waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from insource.gateway.log_lines import Attempt, Request
from insource.gateway.outcomes import decide_outcome

MOST_WAITING = 100_000
MOST_ENDED = 1000
"""Requests that ended with fewer attempt lines than attempts; the missing line is a few lines away, or never comes."""

Key = tuple[str, str]
"""(request id, hop)."""


class Decided(NamedTuple):
    """An attempt with its outcome."""

    attempt: Attempt
    outcome: str
    """Value of an `Outcome`."""


class Joiner:
    """Attempts that wait for their request line."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Attempt]] = {}
        self._ended: dict[Key, Request] = {}
        self._boot = ""

    def feed(self, lines: Iterable[Attempt | Request]) -> list[Decided]:
        """Take in the next lines; what is decided by them, in order."""
        decided: list[Decided] = []
        for line in lines:
            if line.boot != self._boot:
                boot = self._boot = line.boot
                self._ended.clear()
                self._give_up(lambda attempt, boot=boot: attempt.boot != boot, decided)  # type: ignore[misc]
            key = (line[0], line[1])
            if type(line) is Request:
                self._end(key, line, decided)
            elif key in self._ended:
                _decide([line], self._ended[key], decided)  # type: ignore[list-item]
            else:
                self._wait(key, line, decided)  # type: ignore[arg-type]
        return decided

    def expire(self, before_ms: int) -> list[Decided]:
        """Give up on requests whose first attempt began before this time (milliseconds since the epoch)."""
        decided: list[Decided] = []
        self._give_up(lambda attempt: attempt.at_ms < before_ms, decided)
        return decided

    def dump(self) -> dict[str, Any]:
        """Everything that waits, as JSON data."""
        waiting = [attempt._asdict() for attempts in self._waiting.values() for attempt in attempts]
        return {
            "boot": self._boot,
            "waiting": waiting,
            "ended": [request._asdict() for request in self._ended.values()],
        }

    @staticmethod
    def load(document: dict[str, Any]) -> Joiner:
        """The reverse of `dump`."""
        joiner = Joiner()
        joiner._boot = document["boot"]
        for each in document["waiting"]:
            attempt = Attempt(**each)
            joiner._waiting.setdefault((attempt.request_id, attempt.hop), []).append(attempt)
        for each in document["ended"]:
            request = Request(**each)
            joiner._ended[request.request_id, request.hop] = request
        return joiner

    def _end(self, key: Key, request: Request, decided: list[Decided]) -> None:
        attempts = self._waiting.pop(key, None) or []
        if len(attempts) < request.attempts:
            self._ended[key] = request
            if len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]
        if attempts:
            _decide(attempts, request, decided)

    def _wait(self, key: Key, attempt: Attempt, decided: list[Decided]) -> None:
        waiting = self._waiting
        if key in waiting:
            waiting[key].append(attempt)
            return
        waiting[key] = [attempt]
        if len(waiting) > MOST_WAITING:
            _decide(waiting.pop(next(iter(waiting))), None, decided)

    def _give_up(self, condition: Callable[[Attempt], bool], decided: list[Decided]) -> None:
        hopeless = [key for key, attempts in self._waiting.items() if condition(attempts[0])]
        for key in hopeless:
            _decide(self._waiting.pop(key), None, decided)


def _decide(attempts: list[Attempt], request: Request | None, decided: list[Decided]) -> None:
    final = max(attempt.number for attempt in attempts) if request is None else request.attempts
    ended = None if request is None else request.flags
    for attempt in attempts:
        outcome = decide_outcome(attempt.flags, attempt.word, attempt.number >= final, ended)
        decided.append(Decided(attempt, outcome))
