"""Reads requests: bodies and query parameters, with errors that name the record and the field.

Knows OpenAI's error shape, nothing of who calls or what happens next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from insource.ledger.prices import instant_ms
from insource.wire.errors import error_body
from insource.wire.records import AttemptEnded, RecordBatch

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_INTEGER = 10**13
"""Of any quantity or time: far beyond what is real, and safe to multiply by a price in 64 bits' neighbourhood."""

Message = TypeVar("Message", bound=BaseModel)


@dataclass  # not frozen: what raises an exception sets its traceback
class RefusalError(Exception):
    """An answer that refuses a request."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    retry_after_s: int | None = None

    def response(self) -> web.Response:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = error_body(self.message, type=self.type, param=self.param, code=self.code)
        return web.json_response(body, status=self.status, headers=headers)


async def read_message(request: web.Request, message: type[Message]) -> Message:
    """The body as `message`. Raises RefusalError 400 naming the field, or 413."""
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise _too_large()
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    try:
        parsed = message.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None
    _check_bounds(parsed.model_dump(mode="python"), "")
    if isinstance(parsed, RecordBatch):
        for index, record in enumerate(parsed.records):
            if isinstance(record, AttemptEnded):
                _check_quantities(index, record)
    return parsed


def read_time(query: Mapping[str, str], name: str) -> int | None:
    """A query parameter as ms since the epoch: RFC 3339, a date, or the milliseconds themselves."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        at_ms = int(text) if text.isdigit() else instant_ms(text)
    except (ValueError, OverflowError):
        at_ms = -1
    if not 0 <= at_ms <= MAX_INTEGER:
        raise RefusalError(
            400, f"{name} must be a time such as 2026-11-23T10:00:00Z or a date, not {text[:64]!r}", param=name
        )
    return at_ms


def read_limit(query: Mapping[str, str], *, default: int, most: int) -> int:
    """The query parameter `limit`."""
    text = query.get("limit", "") or str(default)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= most:
        raise RefusalError(400, f"limit must be a whole number from 1 to {most}, not {text[:64]!r}", param="limit")
    return int(text)


def only_parameters(query: Mapping[str, str], known: frozenset[str]) -> None:
    """Refuse a misspelt parameter: ignoring a filter would answer another question."""
    for name in query:
        if name not in known:
            raise RefusalError(
                400, f"unknown parameter {name[:64]!r}: known are {', '.join(sorted(known))}", param=name[:64]
            )


def _too_large() -> RefusalError:
    return RefusalError(
        413, f"the body is larger than {MAX_BODY_BYTES} bytes: send fewer records at once", code="body_too_large"
    )


def _invalid(error: ValidationError) -> RefusalError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = _path(first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return RefusalError(400, f"{where or 'body'}: {first['msg']}{more}", param=where or None, code="invalid_record")


def _path(location: tuple[Any, ...]) -> str:
    """`("records", 3, "usage", "status")` -> `records[3].status`; the discriminator's value is not a field."""
    path = ""
    previous: Any = None
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (isinstance(previous, int) and part in ("attempt", "usage")):
            path += f".{part}" if path else str(part)
        previous = part
    return path


def _check_bounds(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_bounds(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check_bounds(inner, f"{path}[{index}]")
    elif isinstance(value, int) and value > MAX_INTEGER:
        raise RefusalError(400, f"{path}: must be at most {MAX_INTEGER}", param=path, code="invalid_record")


def _check_quantities(index: int, record: AttemptEnded) -> None:
    counts = Counter((quantity.unit, quantity.source) for quantity in record.quantities)
    for (unit, source), count in counts.items():
        if count > 1:
            path = f"records[{index}].quantities"
            raise RefusalError(
                400, f"{path}: {unit} by {source} is there {count} times: send one", param=path, code="invalid_record"
            )
