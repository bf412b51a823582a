"""A JSON request body: read within a limit, parsed strictly, or refused with what is wrong.

Refused are: anything but one JSON object in UTF-8, a key that comes twice (two readers would see two requests), NaN
and Infinity, NUL and unpaired surrogates (no text of anybody), and nesting without end.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from aiohttp import web

from insource.adapter.refusals import Refusal, client_error
from insource.adapter.upload import refuse_packed

MAX_DEPTH = 64
MAX_CONTAINERS = 250_000
"""Objects and arrays, counted by their opening brackets, wherever those stand: what a bomb is made of."""


async def read_json(request: web.BaseRequest, limit_bytes: int) -> dict[str, Any]:
    """The request's JSON object. Raises 400, 413 (above `limit_bytes`) or 415 (packed)."""
    if request.content_type != "application/json":
        raise client_error(
            "The body must be JSON, with the header content-type: application/json.", code="invalid_content_type"
        )
    refuse_packed(request)
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    try:
        while piece := await request.content.readany():
            body += piece
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
    except (Refusal, OSError):
        raise
    except Exception as problem:  # aiohttp has many for a body that is malformed or ends early
        raise client_error(
            f"The body is malformed or ends early ({type(problem).__name__}).", code="truncated_body"
        ) from problem
    return parse_object(bytes(body))


def parse_object(body: bytes) -> dict[str, Any]:
    """The object that `body` holds. Raises 400."""
    openers = body.count(b"{") + body.count(b"[")
    if openers > MAX_CONTAINERS:
        raise _malformed(f"it holds more than {MAX_CONTAINERS} objects and arrays")
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8 text") from None
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except ValueError as problem:
        raise _malformed(str(problem)) from None
    if not isinstance(value, dict):
        raise _malformed("it is no JSON object")
    escapes = "\\u" in text
    if escapes or openers > MAX_DEPTH:  # nothing else can hide what is looked for there
        _check(value, texts=escapes)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                shown = name[:60].encode("utf-8", "replace").decode()
                raise client_error(f"The key '{shown}' was given twice.", param=shown, code="duplicate_parameter")
            seen.add(name)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check(value: dict[str, Any], *, texts: bool) -> None:
    """Raise 400 for nesting beyond `MAX_DEPTH` and, where `texts`, for characters that no text has."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            inner = each.values() if isinstance(each, dict) else each
            if texts:
                if isinstance(each, dict):
                    _check_texts(each)
                _check_texts(inner)
            below += [item for item in inner if isinstance(item, dict | list)]
        if not below:
            return
        level = below
    raise _malformed(f"it is nested more than {MAX_DEPTH} levels deep")


def _check_texts(values: Any) -> None:
    for text in values:
        if not isinstance(text, str):
            continue
        if "\0" in text:
            raise _malformed("it holds a NUL character")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _malformed("it holds half of a surrogate pair, which is no character") from None


def _malformed(why: str) -> Refusal:
    return client_error(f"The body cannot be read as JSON: {why}.", code="invalid_json")


def _too_large(limit: int) -> Refusal:
    return client_error(
        f"The request body is larger than {limit} bytes, the limit of this path.", code="content_too_large", status=413
    )
