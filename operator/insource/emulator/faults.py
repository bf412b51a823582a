"""Faults that a test switches on by `POST /emulator/faults`: bad days of vendors, and of the networks before them."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

HTML = b"<!DOCTYPE html><html><head><title>Just a moment</title></head><body><h1>Please wait</h1></body></html>\n"
"""A page of something between the caller and the vendor."""


class Faults(BaseModel):
    """Body of `POST /emulator/faults`, which replaces all of them; `{}` is a good day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = ""
    """Only requests whose path ends so suffer."""
    latency_ms: float = Field(default=0, ge=0)
    """Added before the work begins."""
    error_rate: float = Field(default=0, ge=0, le=1)
    """Share of requests answered with `status`; not billed."""
    status: int = Field(default=500, ge=400, le=599)
    """401 and 429 are said in the vendor's words for a bad key and for a limit."""
    hang: bool = False
    """Never answer, until this is switched off or the caller leaves; not billed."""
    reset: bool = False
    """Break the connection without an answer; not billed."""
    rate_limit_rpm: int | None = Field(default=None, ge=1)
    """Another limit than the one the emulator was started with; it counts every path."""
    retry_after: Literal["seconds", "date", "absent"] = "seconds"
    """How a 429 says when to come again."""
    retry_after_s: int = Field(default=1, ge=0)
    """What a 429 of `error_rate` says."""
    answer: Literal["whole", "empty", "truncated", "closed", "html", "error"] = "whole"
    """`empty`: 200 without a body. `truncated`: half of it, ended in order. `closed`: half of it, then the connection
    is broken. These three are billed. `html`: 200 with a page of a proxy; `error`: 200 with an error body; not
    billed."""
    byte_ms: float = Field(default=0, ge=0)
    """Send the answer byte by byte, and wait this long after each."""

    def on(self, path: str) -> Faults:
        """What befalls a request for `path`."""
        return self if path.endswith(self.path) else Faults(rate_limit_rpm=self.rate_limit_rpm)


def fault_message(status: int) -> str:
    """OpenAI's and Azure OpenAI's words for an error that is their own fault."""
    if status == 503:
        return "The engine is currently overloaded, please try again later."
    return "The server had an error while processing your request. Sorry about that!"


def half(chunks: list[bytes]) -> list[bytes]:
    """The first half of all bytes, in the same chunks."""
    left = sum(map(len, chunks)) // 2
    kept = []
    for chunk in chunks:
        kept.append(chunk[:left])
        left -= len(kept[-1])
    return [chunk for chunk in kept if chunk]


def retry_headers(headers: dict[str, str], faults: Faults, now: datetime) -> dict[str, Any]:
    """`headers` of a 429, with the time to come again in the form that `faults` wants."""
    kept = {name: value for name, value in headers.items() if name not in ("retry-after", "retry-after-ms")}
    match faults.retry_after:
        case "absent":
            return kept
        case "date":
            at = now + timedelta(seconds=float(headers.get("retry-after", faults.retry_after_s)))
            return {**kept, "retry-after": format_datetime(at, usegmt=True)}
        case _:
            return {"retry-after": str(faults.retry_after_s), **headers}
