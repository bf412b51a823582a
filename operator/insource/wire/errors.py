"""OpenAI's error shape, which every HTTP answer of ours to a client uses."""

from __future__ import annotations

from typing import Any


def error_body(message: str, *, type: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`: what OpenAI's SDKs turn into exceptions."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}
