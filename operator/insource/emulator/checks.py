"""JSON requests of the OpenAI dialect against a model of them, with OpenAI's words for what is wrong."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from insource.emulator.errors import OpenAIError

MAX_JSON_BYTES = 20 << 20
UNPARSABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)
Body = TypeVar("Body", bound=BaseModel)


class Strict(BaseModel):
    """Base of request models: nothing unknown, nothing converted; a null is as if it were left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


async def read_json(request: web.Request) -> dict[str, Any]:
    """A JSON object. Raises `OpenAIError`."""
    if request.content_type != "application/json":
        message = f"Unsupported content type: '{request.content_type}'. This API method only accepts 'application/json'"
        raise OpenAIError(f"{message} requests.", status=415, code="unsupported_content_type")
    content = bytearray()
    async for chunk in request.content.iter_chunked(1 << 16):
        content += chunk
        if len(content) > MAX_JSON_BYTES:
            raise OpenAIError("Request body is too large.", status=413, code="request_too_large")
    try:
        text = content.decode()
        found = json.loads(text, parse_constant=_refuse)
        # An unpaired surrogate can be written in JSON, and in no answer.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OpenAIError(UNPARSABLE) from error
    if not isinstance(found, dict):
        raise OpenAIError(UNPARSABLE)
    return {name: value for name, value in found.items() if value is not None}


def check(model: type[Body], found: dict[str, Any]) -> Body:
    """`found` as `model`. Raises `OpenAIError` that names the first parameter that is wrong."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    where = _path(first["loc"])
    match first["type"]:
        case "missing":
            raise OpenAIError(f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter")
        case "extra_forbidden":
            raise OpenAIError(f"Unknown parameter: '{where}'.", param=where, code="unknown_parameter")
        case "literal_error":
            message = f"Invalid value: {first['input']!r}. Supported values are: {first['ctx']['expected']}."
            raise OpenAIError(message, param=where, code="invalid_value")
        case kind if kind.endswith("_type"):
            raise OpenAIError(f"Invalid type for '{where}': {first['msg']}.", param=where, code="invalid_type")
        case _:
            raise OpenAIError(f"Invalid '{where}': {first['msg']}.", param=where, code="invalid_value")


def unsupported(param: str, model: str) -> OpenAIError:
    """A parameter that exists, but not for this model."""
    message = f"Unsupported parameter: '{param}' is not supported with this model ({model})."
    return OpenAIError(message, param=param, code="unsupported_parameter")


def invalid(param: str, message: str) -> OpenAIError:
    """A value that the parameter cannot have."""
    return OpenAIError(f"Invalid '{param}': {message}", param=param, code="invalid_value")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _path(location: tuple[int | str, ...]) -> str:
    # pydantic names the branches of a union, which are no part of the request: `str`, `list[...]`, `Stop`.
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.islower() and step.replace("_", "").isalnum() and step not in ("str", "int", "float", "bool"):
            text += f".{step}" if text else step
    return text or str(location[0])
