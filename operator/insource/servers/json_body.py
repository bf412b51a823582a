"""Reading a JSON request: the body whole up to a limit, then each parameter by name, or an error that names it.

JSON null stands for a parameter that was left out, as at OpenAI.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from insource.servers.requests import RefusedRequestError

CHUNK_BYTES = 256 << 10
SHOWN = 80
"""Characters of a client's own value in a message to it."""


async def read_json(request: web.Request, limit_bytes: int) -> Body:
    """The object in the body. Raises `RefusedRequestError`: 413 above `limit_bytes`, 400 for what is no JSON object.

    Unpaired surrogates, NaN and nesting deeper than orjson reads are no JSON.
    """
    if request.content_type != "application/json":
        raise RefusedRequestError("The body must be JSON, with content-type application/json.", param=None)
    return parse_json(await read_body(request, limit_bytes))


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The body whole. Raises `RefusedRequestError` 413 above `limit_bytes`: unread, where its length is told."""
    received = bytearray()
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        received += chunk
        if len(received) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(received)


def _too_large(limit_bytes: int) -> RefusedRequestError:
    return RefusedRequestError(f"The body is larger than {limit_bytes} bytes.", param=None, status=413)


def parse_json(body: bytes | bytearray) -> Body:
    """As `read_json`, of the bytes alone."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as broken:
        raise RefusedRequestError(f"The body is not JSON: {shortened(broken)}", param=None) from broken
    if not isinstance(asked, dict):
        raise RefusedRequestError("The body must be a JSON object.", param=None)
    return Body(asked)


class Body:
    """Parameters of a request; each may be taken once, and what nobody took is refused by `finish`."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = {name: value for name, value in asked.items() if value is not None}

    def take(self, name: str, default: Any = None) -> Any:
        """The value, or `default` if it was not given."""
        return self._asked.pop(name, default)

    def text(self, name: str) -> str:
        """A string that must be given."""
        if name not in self._asked:
            raise RefusedRequestError(f"you must provide a {name} parameter", param=name)
        value = self.take(name)
        if not isinstance(value, str):
            raise RefusedRequestError(f"'{name}' must be a string, not {shortened(value)}.", param=name)
        return value

    def model(self, served: str) -> str:
        """The model asked for, which must be `served`; if that is empty, any."""
        model = self.text("model")
        if served and model != served:
            message = f"The model '{shortened(model)}' does not exist here; this server has '{served}'."
            raise RefusedRequestError(message, param="model", code="model_not_found", status=404)
        return model

    def boolean(self, name: str) -> bool:
        """True or false; false if it was not given."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise RefusedRequestError(f"{name} must be true or false, not {shortened(value)}.", param=name)
        return bool(value)

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """A number from `least` to `most`."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            message = f"{name} must be a number from {least:g} to {most:g}, not {shortened(value)}."
            raise RefusedRequestError(message, param=name)
        return float(value)

    def integer(self, name: str, *, least: int, most: int) -> int | None:
        """An integer from `least` to `most`; None if it was not given."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            message = f"{name} must be an integer from {least} to {most}, not {shortened(value)}."
            raise RefusedRequestError(message, param=name)
        return value

    def neutral(self, **values: Any) -> None:
        """Parameters that are not honoured, so that only the value with no effect is taken."""
        for name, no_effect in values.items():
            value = self.take(name)
            if value is not None and (isinstance(value, bool) != isinstance(no_effect, bool) or value != no_effect):
                message = f"'{name}' is not supported by this server; leave it out."
                raise RefusedRequestError(message, param=name, code="unsupported_parameter")

    def finish(self) -> None:
        """Refuse, by name, what is left."""
        for name in self._asked:
            message = f"'{shortened(name)}' is not supported by this server."
            raise RefusedRequestError(message, param=shortened(name), code="unsupported_parameter")


def shortened(value: Any) -> str:
    """A value for a message: an answer is no place for a megabyte."""
    text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
