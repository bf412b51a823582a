"""What the API answers when it says no: one exception, and the wording that the real server uses.

Knows nothing of HTTP beyond the number in a Status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
"""One API object (or part of one) as plain JSON data."""


_ALWAYS_DETAILED = ("NotAcceptable", "Invalid", "Forbidden", "MethodNotAllowed")


@dataclass(frozen=True)
class Cause:
    """One field that is wrong: `reason` is a word such as FieldValueInvalid, `field` a path such as `spec.replicas`."""

    reason: str
    message: str
    field: str

    def text(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal with the code, reason, message and details of the Status that a client sees."""

    code: int
    reason: str
    message: str
    details: Object | None = field(default_factory=dict)
    metadata: Object = field(default_factory=dict)
    """The Status' own metadata: only an expired `continue` token fills it."""

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}"

    def status(self) -> Object:
        """The `v1 Status` object."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details or (self.details is not None and self.reason in _ALWAYS_DETAILED):
            status["details"] = self.details
        return {**status, "code": self.code}


class UndecodableError(Exception):
    """A built-in kind's object has a value that Go could not read; the text says why, as Go would."""


def _details(group: str, kind: str, name: str) -> Object:
    details: Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details


def qualified(plural: str, group: str) -> str:
    """`widgets.demo.insource.dev`, or just `pods` in the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(group, plural, name))


def already_exists(plural: str, group: str, name: str, *, terminating: bool = False) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    if terminating:
        message = f"object is being deleted: {message}"
    return ApiError(409, "AlreadyExists", message, _details(group, plural, name))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, group: str, name: str, why: str = STALE) -> ApiError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(group, plural, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(plural: str, group: str, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    details = _details(group, plural, name)
    if causes:
        details["causes"] = _causes(causes)
    what = f'{qualified(plural, group)} "{name}" is ' if name else f"{qualified(plural, group)} is "
    return ApiError(403, "Forbidden", f"{what if plural else ''}forbidden: {why}", details)


def unsupported(message: str) -> ApiError:
    """Something a real server does and this one does not."""
    return ApiError(501, "NotImplemented", f"the embedded API server does not implement {message}")


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks its schema. `kind` is the Kind, not the plural."""
    texts = list(dict.fromkeys(cause.text() for cause in causes))
    body = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(group, kind, name)
    details["causes"] = _causes(causes)
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {body}', details)


def _causes(causes: Sequence[Cause]) -> list[Object]:
    return [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
