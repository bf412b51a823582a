"""Faults that a test switches on by `POST /emulator/faults`: what vendors do on a bad day."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Faults(BaseModel):
    """Body of `POST /emulator/faults`, which replaces all of them; `{}` is a good day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: float = Field(default=0, ge=0)
    """Added before the work begins."""
    error_rate: float = Field(default=0, ge=0, le=1)
    """Share of requests answered with `status`; not billed."""
    status: int = Field(default=500, ge=400, le=599)
    hang: bool = False
    """Never answer, until this is switched off or the caller leaves; not billed."""
    reset: bool = False
    """Break the connection without an answer; not billed."""
    rate_limit_rpm: int | None = Field(default=None, ge=1)
    """Another limit than the one the emulator was started with."""


def fault_error(status: int) -> dict[str, Any]:
    """OpenAI's body for an error that is the vendor's own fault."""
    message = "The server had an error while processing your request. Sorry about that!"
    if status == 503:
        message = "The engine is currently overloaded, please try again later."
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
