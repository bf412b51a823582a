"""The one table of outcomes (design/data-plane.md) as answers: every way an attempt can end other than well.

Pure: knows neither HTTP machinery nor the backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from insource.wire.errors import error_body
from insource.wire.vocabulary import Outcome

PROXY_CREDENTIALS = "proxy_credentials"
"""The reason that tells a proxy's refusal from the vendor's own."""
RETRY_AFTER_MAX_S = 120
"""OpenAI's SDK ignores a longer Retry-After, and so do we."""


@dataclass(eq=False)  # Note: not frozen, because Python itself sets an exception's traceback
class Refusal(Exception):  # noqa: N818
    """An attempt that ends without a result: its outcome, and what the client reads if Envoy finds no other backend."""

    outcome: Outcome
    status: int
    message: str
    type: str = "server_error"
    param: str | None = None
    code: str | None = None
    reason: str = ""
    """Short machine word for the ledger."""
    retry_after_s: int | None = None

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return error_body(self.message, type=self.type, param=self.param, code=self.code)


def client_error(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> Refusal:
    """The request is wrong; nobody else could serve it either."""
    return Refusal(
        Outcome.CLIENT, status, message, type="invalid_request_error", param=param, code=code, reason=code or ""
    )


def too_large(limit: int) -> Refusal:
    """413: the body is above `limit` bytes."""
    return client_error(
        f"The request body is larger than this deployment's limit of {limit} bytes; send shorter or compressed audio.",
        param="file",
        code="content_too_large",
        status=413,
    )


def too_slow(seconds: float, param: str | None = "file") -> Refusal:
    """408: the body did not come in time. Whoever waits for it elsewhere would wait as long."""
    return client_error(
        f"The request body did not arrive within {seconds:g} seconds.",
        param=param,
        code="upload_timeout",
        status=408,
    )


def unauthenticated() -> Refusal:
    """401: the request did not come through the gateway."""
    return Refusal(
        Outcome.CLIENT,
        401,
        "This address only takes requests from the Insource gateway; call the gateway's URL with your API key.",
        type="invalid_request_error",
        code="invalid_api_key",
    )


def shed(message: str, *, reason: str, retry_after_s: int = 1) -> Refusal:
    """429: full, or at the vendor's limit; another backend may have room."""
    return Refusal(
        Outcome.SHED,
        429,
        message,
        type="rate_limit_error",
        code="rate_limit_exceeded",
        reason=reason,
        retry_after_s=max(1, min(retry_after_s, RETRY_AFTER_MAX_S)),
    )


def refused_policy(message: str, *, reason: str) -> Refusal:
    """429: a rule of ours forbids this attempt (budget, allowed deployments)."""
    return Refusal(
        Outcome.REFUSED_POLICY, 429, message, type="insufficient_quota", code=reason, reason=reason, retry_after_s=60
    )


def refused_credentials(message: str) -> Refusal:
    """503: the vendor does not accept our key, or there is none."""
    return Refusal(Outcome.REFUSED_CREDENTIALS, 503, message, code="vendor_credentials", reason="credentials")


def refused_proxy(message: str) -> Refusal:
    """503: the proxy on the way to the vendor does not accept our credentials, or there are none."""
    return Refusal(Outcome.REFUSED_CREDENTIALS, 503, message, code="vendor_credentials", reason=PROXY_CREDENTIALS)


def cannot_serve(path: str) -> Refusal:
    """The deployment's backend has nothing at this path."""
    return client_error(f"This deployment's backend cannot serve {path}.", code="unknown_url", status=404)


def server_failure(message: str, *, reason: str) -> Refusal:
    """503: the backend failed, or answered something that is not an answer."""
    return Refusal(Outcome.SERVER, 503, message, code=reason, reason=reason)


def timed_out(message: str, *, reason: str = "deadline") -> Refusal:
    """503: no answer in time."""
    return Refusal(Outcome.TIMEOUT, 503, message, code="timeout", reason=reason)


def unrecorded() -> Refusal:
    """503: the log cannot take the attempt's record, so nothing may be consumed."""
    return server_failure("This attempt cannot be recorded, so it is not made.", reason="log_unavailable")
