"""Cumulative counters of attempts, by deployment, revision, role and outcome, with latencies. No I/O.

What judgements rest on: attempts of the activator's re-entry, and those at it, are left out. A request that was sent in
by its model's name is the client's own, but only in its first hop: a later one is the agent's second try.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from insource.gateway.joining import Decided
from insource.gateway.log_lines import Line, Request
from insource.gateway.view import HOLD, NAME
from insource.wire.gateway import Count, Evidence, LatencyHistogram
from insource.wire.vocabulary import Outcome, Role

BOUNDS_MS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 1.2e5, 3e5, 6e5)

Side = tuple[str, str, str, str]
"""(deployment, backend, revision, role)."""
FIRST_BY_NAME = f"{NAME}-1"
SPILL, OK = Role.SPILL.value, Outcome.OK.value


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, duration_ms: float) -> None:
        self.counts[bisect_left(BOUNDS_MS, duration_ms)] += 1
        self.sum_ms += duration_ms


class Counters:
    """Counts since `epoch`, which changes only if the state on disk is lost."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self._counts: dict[tuple[Side, str], list[int]] = {}
        """(side, outcome) -> attempts with number 1, attempts with any."""
        self._latencies: dict[Side, _Histogram] = {}
        self._finished: Counter[str] = Counter()
        self._spilled: Counter[str] = Counter()

    def count(self, decided: Iterable[Decided]) -> None:
        """Attempts more. Latencies are those of first attempts that ended ok."""
        for attempt, outcome in decided:
            role = attempt.role
            if role == SPILL:
                self._spilled[attempt.deployment] += 1
            if attempt.hop not in ("", FIRST_BY_NAME) or role == HOLD or not role:
                continue
            side: Side = attempt[3:7]
            counts = self._counts.get((side, outcome))
            if counts is None:
                counts = self._counts[side, outcome] = [0, 0]
            counts[1] += 1
            if attempt.number == 1:
                counts[0] += 1
                if outcome == OK:
                    self._latency(side).add(attempt.duration_ms)

    def finish(self, lines: Iterable[Line]) -> None:
        """Clients' requests that are over, those sent in by name among them: their own line names no deployment.

        Those that were refused before any attempt do not count as arrivals.
        """
        finished = self._finished
        for line in lines:
            if type(line) is Request:
                last = line.last
                if last.number and last.deployment and not last.hop.startswith(HOLD):
                    finished[last.deployment] = finished.get(last.deployment, 0) + 1

    def forget(self, deployment: str) -> None:
        """The deployment has gone: its counters would be kept for ever otherwise."""
        for key in [key for key in self._counts if key[0][0] == deployment]:
            del self._counts[key]
        for side in [side for side in self._latencies if side[0] == deployment]:
            del self._latencies[side]
        self._finished.pop(deployment, None)
        self._spilled.pop(deployment, None)

    def finished(self) -> dict[str, int]:
        """Finished requests by deployment."""
        return dict(self._finished)

    def spilled(self) -> dict[str, int]:
        """Attempts at the vendor in the role of spill, by deployment."""
        return dict(self._spilled)

    def _latency(self, side: Side) -> _Histogram:
        found = self._latencies.get(side)
        if found is None:
            found = self._latencies[side] = _Histogram()
        return found

    def evidence(self, pod: str) -> Evidence:
        """`GET /evidence`."""
        counts = tuple(
            Count(
                deployment=side[0],
                backend=side[1],
                revision=side[2],
                role=side[3],
                outcome=outcome,
                first=first,
                all=total,
            )
            for (side, outcome), (first, total) in sorted(self._counts.items())
        )
        latencies = tuple(
            LatencyHistogram(
                deployment=side[0],
                backend=side[1],
                revision=side[2],
                role=side[3],
                bounds_ms=BOUNDS_MS,
                counts=tuple(histogram.counts),
                sum_ms=histogram.sum_ms,
            )
            for side, histogram in sorted(self._latencies.items())
        )
        return Evidence(pod=pod, epoch=self.epoch, counts=counts, latencies=latencies)

    def copy(self) -> Counters:
        """As it is now, for readers; it does not change any more."""
        return Counters.load(self.dump())

    def dump(self) -> dict[str, Any]:
        """Everything as JSON data."""
        return {
            "epoch": self.epoch,
            "bounds_ms": BOUNDS_MS,
            "counts": [[*side, outcome, *counts] for (side, outcome), counts in self._counts.items()],
            "latencies": [[*side, each.counts, each.sum_ms] for side, each in self._latencies.items()],
            "finished": dict(self._finished),
            "spilled": dict(self._spilled),
        }

    @staticmethod
    def load(document: dict[str, Any]) -> Counters:
        """The reverse of `dump`. ValueError if the histograms had other bounds."""
        if tuple(document["bounds_ms"]) != BOUNDS_MS:
            raise ValueError("histograms of another version")
        counters = Counters(document["epoch"])
        for *side, outcome, first, total in document["counts"]:
            counters._counts[(side[0], side[1], side[2], side[3]), outcome] = [first, total]
        for *side, counts, sum_ms in document["latencies"]:
            counters._latencies[side[0], side[1], side[2], side[3]] = _Histogram(list(counts), sum_ms)
        counters._finished.update(document["finished"])
        counters._spilled.update(document["spilled"])
        return counters
