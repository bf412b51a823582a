"""From lines to decided attempts: only when a request is over is the outcome of its attempts known. No I/O.

An ordinary request has one line, which tells its one attempt. Attempts with lines of their own come before their
request's line, except where the client left: then the last one comes after it. A request line that never comes belongs
to an Envoy that died: a line of its successor (another `boot`), or age, ends the waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from insource.gateway.log_lines import Attempt, Line, Request
from insource.gateway.outcomes import decide_outcome

MOST_WAITING = 100_000
MOST_ENDED = 1000
"""Requests that ended and of which a line may still come; it is a few lines away, or never comes."""

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
        self._ended: dict[Key, tuple[Attempt, bool]] = {}
        """The request's line, and whether it has told its attempt already."""
        self._boot = ""

    def feed(self, lines: Iterable[Line]) -> list[Decided]:
        """Take in the next lines; what is decided by them, in order."""
        decided: list[Decided] = []
        for line in lines:
            attempt = line.last if isinstance(line, Request) else line
            if attempt.boot != self._boot:
                self._rebooted(attempt.boot, decided)
            if not attempt.deployment:
                continue  # at the agent, on its way to be sent in again by name
            if attempt is line:
                self._attempt(attempt, decided)
            else:
                self._end(attempt, decided)
        return decided

    def expire(self, before_ms: int) -> list[Decided]:
        """Give up on requests whose first attempt began before this time (milliseconds since the epoch)."""
        decided: list[Decided] = []
        self._give_up(lambda attempt: attempt.at_ms < before_ms, decided)
        return decided

    def dump(self) -> dict[str, Any]:
        """Everything that waits, as JSON data."""
        return {
            "boot": self._boot,
            "waiting": [list(attempt) for attempts in self._waiting.values() for attempt in attempts],
            "ended": [[list(request), told] for request, told in self._ended.values()],
        }

    @staticmethod
    def load(document: dict[str, Any]) -> Joiner:
        """The reverse of `dump`."""
        joiner = Joiner()
        joiner._boot = document["boot"]
        for each in document["waiting"]:
            attempt = Attempt(*each)
            joiner._waiting.setdefault((attempt.request_id, attempt.hop), []).append(attempt)
        for each, told in document["ended"]:
            request = Attempt(*each)
            joiner._ended[request.request_id, request.hop] = (request, told)
        return joiner

    def _attempt(self, attempt: Attempt, decided: list[Decided]) -> None:
        key = (attempt.request_id, attempt.hop)
        request, told = self._ended.get(key, (None, False))
        if request is None:
            self._wait(key, attempt, decided)
        elif not told:
            _decide([attempt], request, decided)

    def _end(self, request: Attempt, decided: list[Decided]) -> None:
        key = (request.request_id, request.hop)
        attempts = self._waiting.pop(key, None)
        if attempts:
            if len(attempts) < request.number:
                self._remember(key, request, told=False)
            _decide(attempts, request, decided)
        elif request.number == 1 and request.role:
            if request.flags:
                self._remember(key, request, told=True)
            _decide([request], request, decided)
        elif request.number:
            self._remember(key, request, told=False)

    def _remember(self, key: Key, request: Attempt, *, told: bool) -> None:
        self._ended[key] = (request, told)
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _wait(self, key: Key, attempt: Attempt, decided: list[Decided]) -> None:
        waiting = self._waiting
        if key in waiting:
            waiting[key].append(attempt)
            return
        waiting[key] = [attempt]
        if len(waiting) > MOST_WAITING:
            _decide(waiting.pop(next(iter(waiting))), None, decided)

    def _rebooted(self, boot: str, decided: list[Decided]) -> None:
        self._boot = boot
        self._ended.clear()
        self._give_up(lambda attempt: attempt.boot != boot, decided)

    def _give_up(self, condition: Callable[[Attempt], bool], decided: list[Decided]) -> None:
        hopeless = [key for key, attempts in self._waiting.items() if condition(attempts[0])]
        for key in hopeless:
            _decide(self._waiting.pop(key), None, decided)


def _decide(attempts: list[Attempt], request: Attempt | None, decided: list[Decided]) -> None:
    final = max(attempt.number for attempt in attempts) if request is None else request.number
    ended = None if request is None else request.flags
    for attempt in attempts:
        outcome = decide_outcome(attempt.flags, attempt.word, attempt.number >= final, ended)
        decided.append(Decided(attempt, outcome))
