"""The vendors' error answers: what a handler raises, the service sends."""

from __future__ import annotations

from typing import Any


class VendorError(Exception):
    """An answer that is no success: its status, its body (JSON, or text as it is) and its headers."""

    def __init__(
        self, message: str, *, status: int, body: dict[str, Any] | str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.headers = headers or {}


class OpenAIError(VendorError):
    """An answer in OpenAI's error shape."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        body = {"error": {"message": message, "type": type, "param": param, "code": code}}
        super().__init__(message, status=status, body=body, headers=headers)


class AzureError(VendorError):
    """An answer of Azure's own front: `{"error": {"code", "message"}}`."""

    def __init__(self, code: str, message: str, *, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, status=status, body={"error": {"code": code, "message": message}}, headers=headers)


class SpeechToTextError(VendorError):
    """An answer of Azure's speech-to-text service: `{"code", "message", "innerError"}`."""

    def __init__(self, message: str, *, status: int = 400, code: str = "InvalidRequest", inner: str = "") -> None:
        body: dict[str, Any] = {"code": code, "message": message}
        if inner:
            body["innerError"] = {"code": inner, "message": message}
        super().__init__(message, status=status, body=body)


class TextError(VendorError):
    """An answer of Azure's text-to-speech service: plain text, no JSON."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message, status=status, body=message)
