"""A server's own count of its requests, kept apart from the ledger so that the two can be compared.

With a file, every event is one line, appended by one write: it survives the process being killed (though not the
machine), and several servers may share the file.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from insource.wire import headers

Event = Literal["begun", "completed", "failed", "cancelled"]


@dataclass(frozen=True)
class Identity:
    """How a request named itself; all empty for one that did not come through the gateway, such as a warm-up."""

    request_id: str = ""
    hop: str = ""
    attempt: str = ""

    @classmethod
    def of(cls, request_headers: Any) -> Identity:
        """From any mapping of HTTP headers."""
        return cls(
            request_id=request_headers.get(headers.REQUEST_ID, ""),
            hop=request_headers.get(headers.HOP, ""),
            attempt=request_headers.get(headers.ATTEMPT_COUNT, ""),
        )


class Counts:
    """Counts since the start of this process, and the durable lines."""

    def __init__(self, file: Path | None) -> None:
        self._events: Counter[str] = Counter()
        self._anonymous: Counter[str] = Counter()
        self._fd: int | None = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, event: Event, identity: Identity) -> None:
        """Count `event`; with a file, it is written before this returns."""
        self._events[event] += 1
        if not identity.request_id:
            self._anonymous[event] += 1
        if self._fd is not None:
            line = {
                "event": event,
                "request_id": identity.request_id,
                "hop": identity.hop,
                "attempt": identity.attempt,
                "pid": os.getpid(),
            }
            os.write(self._fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def report(self) -> dict[str, Any]:
        """Body of `GET /count`."""
        names: tuple[Event, ...] = ("begun", "completed", "failed", "cancelled")
        return {
            **{name: self._events[name] for name in names},
            "without_request_id": {name: self._anonymous[name] for name in names},
        }

    def metrics(self) -> str:
        """The same in Prometheus' text format."""
        lines = ["# TYPE insource_server_requests_total counter"]
        lines += [
            f'insource_server_requests_total{{event="{name}"}} {self._events[name]}'
            for name in ("begun", "completed", "failed", "cancelled")
        ]
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def read_counts(file: Path) -> list[dict[str, str]]:
    """The lines of a count file; a last line that was cut off by a crash of the machine is left out."""
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]
