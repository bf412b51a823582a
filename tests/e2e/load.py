"""Requests at a fixed rate to one deployment; what each was answered is kept."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import httpx2 as httpx

from tests.e2e.installation import CLIPS, Installation

AUDIO = CLIPS[1].read_bytes()
WORKERS = 8


@dataclass(frozen=True)
class Answer:
    """One request's end. Times are of the monotonic clock, in seconds."""

    began: float
    ended: float
    status: int
    """0 if there was no answer."""
    request_id: str
    what: str
    """The error, or the body of one that is not 200."""


class Load:
    """As many threads as are needed for `rate_per_s`, while inside the context."""

    def __init__(self, installation: Installation, name: str, rate_per_s: float) -> None:
        self._url = installation.url(name) + "/audio/transcriptions"
        self._headers = {"Authorization": f"Bearer {installation.api_key}"}
        self._rate_per_s = rate_per_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: list[Answer] = []

    def __enter__(self) -> Load:
        for number in range(WORKERS):
            times = (WORKERS / self._rate_per_s, number / self._rate_per_s)
            self._threads.append(threading.Thread(target=self._work, args=times, daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=150)
        assert not any(thread.is_alive() for thread in self._threads), "a request never ended"

    def during(self, since: float, until: float) -> list[Answer]:
        """Those that were under way in this time."""
        return [each for each in list(self.answers) if each.ended >= since and each.began <= until]

    def _work(self, period_s: float, offset_s: float) -> None:
        due = time.monotonic() + offset_s
        with httpx.Client(timeout=120) as client:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += period_s
                self.answers.append(self._ask(client))

    def _ask(self, client: httpx.Client) -> Answer:
        began = time.monotonic()
        try:
            answer = client.post(
                self._url, headers=self._headers, files={"file": ("a.wav", AUDIO)}, data={"model": "m"}
            )
        except httpx.HTTPError as error:
            return Answer(began, time.monotonic(), 0, "", f"{type(error).__name__}: {error}")
        what = "" if answer.status_code == 200 else answer.text[:300]
        return Answer(began, time.monotonic(), answer.status_code, answer.headers.get("x-request-id", ""), what)
