"""Requests per minute as OpenAI enforces and reports them: a bucket that refills evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """May the request be served, and what the headers say."""

    admitted: bool
    limit: int
    remaining: int
    reset_s: float
    """Until the bucket is full again."""
    retry_after_s: float
    """Until one request would be admitted."""

    def headers(self) -> dict[str, str]:
        """`x-ratelimit-*`."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": duration_text(self.reset_s),
        }

    def retry_headers(self) -> dict[str, str]:
        """Of a refusal: `retry-after` in whole seconds, and `retry-after-ms`."""
        return {
            "retry-after": str(max(1, math.ceil(self.retry_after_s))),
            "retry-after-ms": str(math.ceil(self.retry_after_s * 1000)),
        }


class RequestBucket:
    """At most `per_minute` requests at once, refilled at that rate; times are monotonic seconds."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._tokens = float(per_minute)
        self._at = now

    def take(self, now: float) -> Verdict:
        """Count one request, if it is admitted."""
        rate = self._per_minute / 60
        self._tokens = min(float(self._per_minute), self._tokens + (now - self._at) * rate)
        self._at = now
        admitted = self._tokens >= 1
        if admitted:
            self._tokens -= 1
        return Verdict(
            admitted=admitted,
            limit=self._per_minute,
            remaining=int(self._tokens),
            reset_s=(self._per_minute - self._tokens) / rate,
            retry_after_s=0.0 if admitted else (1 - self._tokens) / rate,
        )


def duration_text(seconds: float) -> str:
    """A duration as OpenAI writes it: `120ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"
