"""Reads requests: bodies and query parameters, with errors that name the record and the field.

Knows OpenAI's error shape, nothing of who calls or what happens next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from insource.ledger.prices import instant_ms
from insource.wire.errors import error_body
from insource.wire.records import AttemptEnded, Rejection

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_INTEGER = 10**13
"""Of any quantity or time: far beyond what is real, and safe to multiply by a price in 64 bits' neighbourhood."""
MOST_REASON = 200
"""Characters of what is said about one record that was set aside."""

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


@dataclass(frozen=True)
class ReadBatch(Generic[Message]):
    """A batch of which the invalid records were left out."""

    message: Message
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True)
class _Problem:
    """What is wrong with one record."""

    path: str
    words: str

    @property
    def text(self) -> str:
        return f"{self.path}: {self.words}"

    def refusal(self) -> RefusalError:
        return RefusalError(400, self.text, param=self.path, code="invalid_record")


async def read_message(request: web.Request, message: type[Message]) -> Message:
    """The body as `message`. Raises RefusalError 400 naming the field, or 413."""
    body = await _body(request)
    try:
        parsed = message.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None
    problem = _beyond_bounds(parsed.model_dump(mode="python"), "")
    if problem is not None:
        raise problem.refusal()
    return parsed


async def read_batch(request: web.Request, message: type[Message], field: str) -> ReadBatch[Message]:
    """The body as `message`, whose only field `field` is a list of records; each is judged for itself.

    Raises RefusalError 400 if the body is no such list, or if there are records and none is valid; or 413.
    """
    body = await _body(request)
    problems: dict[int, _Problem] = {}
    try:
        parsed = message.model_validate_json(body)
        indices = list(range(len(getattr(parsed, field))))
    except ValidationError as error:
        problems = _by_record(error, field)
        items = from_json(body)[field] if problems else []
        indices = [index for index in range(len(items)) if index not in problems]
        if not indices:
            raise _invalid(error) from None
        parsed = message.model_validate({field: [items[index] for index in indices]})
    records = getattr(parsed, field)
    valid = []
    for index, record in zip(indices, records, strict=True):
        problem = _problem_of(record, f"{field}[{index}]")
        if problem is None:
            valid.append(record)
        else:
            problems[index] = problem
    if problems and not valid:
        raise problems[min(problems)].refusal()
    if not problems:
        return ReadBatch(parsed, ())
    sent = from_json(body)[field]
    rejected = tuple(
        Rejection(index=index, attempt_id=_identity(sent[index]), reason=problem.text[:MOST_REASON])
        for index, problem in sorted(problems.items())
    )
    return ReadBatch(parsed.model_copy(update={field: tuple(valid)}), rejected)


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


async def _body(request: web.Request) -> bytes:
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise _too_large()
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None


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


def _by_record(error: ValidationError, field: str) -> dict[int, _Problem]:
    """The first problem of each record that has one; empty if something else is wrong with the body, too."""
    problems: dict[int, _Problem] = {}
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        location = each["loc"]
        if len(location) < 2 or location[0] != field or not isinstance(location[1], int):
            return {}
        # Note: of a tag or field that we do not know, pydantic's words or location repeat what was sent.
        if each["type"] == "union_tag_invalid":
            problem = _Problem(_path(location), "is of no kind that is known")
        elif each["type"] == "extra_forbidden":
            problem = _Problem(_path(location[:-1]), "has a field that is not known")
        else:
            problem = _Problem(_path(location), each["msg"])
        problems.setdefault(location[1], problem)
    return problems


def _identity(record: Any) -> str:
    identity = record.get("attempt_id") if isinstance(record, dict) else None
    return identity[:MOST_REASON] if isinstance(identity, str) else ""


def _problem_of(record: Any, path: str) -> _Problem | None:
    problem = _beyond_bounds(record.model_dump(mode="python"), path)
    if problem is None and isinstance(record, AttemptEnded):
        return _told_twice(record, f"{path}.quantities")
    return problem


def _beyond_bounds(value: Any, path: str) -> _Problem | None:
    if isinstance(value, dict):
        inner = ((each, f"{path}.{name}" if path else name) for name, each in value.items())
    elif isinstance(value, (list, tuple)):
        inner = ((each, f"{path}[{index}]") for index, each in enumerate(value))
    else:
        too_large = isinstance(value, int) and value > MAX_INTEGER
        return _Problem(path, f"must be at most {MAX_INTEGER}") if too_large else None
    return next((problem for each in inner if (problem := _beyond_bounds(*each)) is not None), None)


def _told_twice(record: AttemptEnded, path: str) -> _Problem | None:
    counts = Counter((quantity.unit, quantity.source) for quantity in record.quantities)
    for (unit, source), count in counts.items():
        if count > 1:
            return _Problem(path, f"{unit} by {source} is there {count} times: send one")
    return None
