"""MAI-Image in Azure AI Foundry: one PNG per request, drawn by width and height, or an edited picture.

Source: https://learn.microsoft.com/azure/foundry/foundry-models/how-to/use-foundry-models-mai, read 2026-11-29. The
answer is put together anew: it lacks `created`, and says its usage in words of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from insource.adapter.calls import Calls, Reply
from insource.adapter.dialects.azure_openai import api_key
from insource.adapter.dialects.exchange import Exchange, bounded, object_of
from insource.adapter.dialects.openai import picture_form
from insource.adapter.dialects.seam import Answer, Dialect, Dialects, Work
from insource.adapter.picture_form import Editing
from insource.adapter.refusals import Refusal, client_error, server_failure
from insource.adapter.requests import ImageGeneration, whole_size
from insource.env import Env

GENERATIONS = "/mai/v1/images/generations"
EDITS = "/mai/v1/images/edits"
USUAL_SIZE = (1024, 1024)
SMALLEST_SIDE = 768
MOST_PIXELS = 1_048_576
_ANSWER_MAX_BYTES = 16 << 20
"""A PNG of a million pixels has at most 4 MB, 6 in base64."""
ONLY: Mapping[str, Any] = {
    "n": 1,
    "response_format": "b64_json",
    "output_format": "png",
    "quality": "auto",
    "background": "auto",
    "moderation": "auto",
}
"""Parameters that this vendor has not -> the one value that asks for nothing else than it does."""
NEVER = ("style", "output_compression", "input_fidelity")
"""Parameters that mean something here whatever their value."""
GENERATES_ONLY = ("mai-image-2", "mai-image-2e")
"""Models, in lower case, that edit nothing."""
PICTURE_MOST_BYTES = 50_000_000
_PICTURES = {b"\x89PNG\r\n\x1a\n": ("picture.png", "image/png"), b"\xff\xd8\xff": ("picture.jpg", "image/jpeg")}
"""How what can be edited begins -> its name and type."""
_INPUT_TOKENS = (
    ("num_input_text_tokens", "input_text_tokens"),
    ("num_input_image_tokens", "input_image_tokens"),
)
_OUTPUT_TOKENS = ("num_output_tokens", "output_image_tokens", "num_output_image_tokens", "output_tokens")
"""Names that have been seen for the same count: usage is not documented."""


def azure_images_dialects(calls: Callable[[str], Calls], env: Env, key: Callable[[], str]) -> Dialects:
    """Images. `calls` make those of a path below the endpoint; `key` returns the present API key."""
    return Dialects(
        image_generation=MAIImages(Exchange(calls(GENERATIONS), env, key, api_key), env),
        image_edit=MAIImageEdits(Exchange(calls(EDITS), env, key, api_key), env),
    )


class MAIImages(Dialect[ImageGeneration]):
    """Calls `POST {endpoint}/mai/v1/images/generations`."""

    def __init__(self, exchange: Exchange, env: Env) -> None:
        """`exchange` posts to that URL."""
        self._exchange = exchange
        self._env = env

    def check_possible(self, wanted: ImageGeneration, model: str) -> None:  # noqa: ARG002
        """See `Dialect`."""
        _check_parameters(wanted)
        width, height = whole_size(wanted.size) or USUAL_SIZE
        if min(width, height) < SMALLEST_SIDE or width * height > MOST_PIXELS:
            raise _impossible(
                "size",
                f"this deployment's vendor draws sides of at least {SMALLEST_SIDE} and at most {MOST_PIXELS} pixels in "
                f"all, such as 1024x1024; this is {width}x{height}",
            )

    @asynccontextmanager
    async def call(self, work: Work[ImageGeneration]) -> AsyncIterator[Answer]:
        """See `Dialect`."""
        width, height = whole_size(work.wanted.size) or USUAL_SIZE
        body = {"model": work.model, "prompt": work.wanted.prompt, "width": width, "height": height}
        async with self._exchange.post(work, "application/json", orjson.dumps(body)) as reply:
            yield await _answer(reply, self._env)


class MAIImageEdits(Dialect[Editing]):
    """Calls `POST {endpoint}/mai/v1/images/edits`: one picture, whose size the edited one has."""

    def __init__(self, exchange: Exchange, env: Env) -> None:
        """`exchange` posts to that URL."""
        self._exchange = exchange
        self._env = env
        self._boundary = f"insource-{env.ids.uuid()}"

    def check_possible(self, wanted: Editing, model: str) -> None:
        """See `Dialect`."""
        _check_parameters(wanted.wanted)
        if model.lower() in GENERATES_ONLY:
            raise _impossible("image", "this deployment's model draws pictures and edits none")
        if wanted.wanted.size != "auto":
            raise _impossible("size", "an edited picture has the size of the one that was sent: auto")
        if len(wanted.pictures) != 1 or wanted.pictures[0].name == "mask":
            raise _impossible("image", "this deployment's vendor edits one picture, without a mask")
        _read_beginning(wanted.pictures[0].path)

    @asynccontextmanager
    async def call(self, work: Work[Editing]) -> AsyncIterator[Answer]:
        """See `Dialect`."""
        (picture,) = work.wanted.pictures
        filename, content_type = _read_beginning(picture.path)
        sent = replace(picture, name="image", filename=filename, content_type=content_type)
        fields = {"model": work.model, "prompt": work.wanted.wanted.prompt}
        with ExitStack() as files:
            form = picture_form(fields, (sent,), self._boundary, files)
            form_type = f"multipart/form-data; boundary={self._boundary}"
            async with self._exchange.post(work, form_type, form) as reply:
                yield await _answer(reply, self._env)


def _check_parameters(wanted: ImageGeneration) -> None:
    for name, value in ONLY.items():
        if getattr(wanted, name) not in (value, None):
            raise _impossible(name, f"this deployment's vendor has {value} only")
    for name in NEVER:
        if name in wanted.model_fields_set:
            raise client_error(
                f"Unsupported parameter: '{name}': this deployment's vendor has none.",
                param=name,
                code="unsupported_parameter",
            )


def _read_beginning(path: Path) -> tuple[str, str]:
    """Name and type of the picture, from what it is. Raises 400 for one that the vendor does not read, or 413."""
    try:
        with path.open("rb") as file:
            head, size = file.read(8), path.stat().st_size
    except OSError as problem:
        raise server_failure("The upload cannot be read again.", reason="spool_unavailable") from problem
    found = next((kind for mark, kind in _PICTURES.items() if head.startswith(mark)), None)
    if found is None:
        raise _impossible("image", "this deployment's vendor reads PNG and JPEG")
    if size > PICTURE_MOST_BYTES:
        raise client_error(
            f"The picture is larger than this deployment's limit of {PICTURE_MOST_BYTES} bytes; send a smaller one.",
            param="image",
            code="content_too_large",
            status=413,
        )
    return found


async def _answer(reply: Reply, env: Env) -> Answer:
    given = object_of(await bounded(reply.chunks(), _ANSWER_MAX_BYTES))
    answer = images_response(given, int(env.clock.now().timestamp()))
    return Answer("application/json", _once(orjson.dumps(answer)))


def images_response(given: Mapping[str, Any] | None, created: int) -> dict[str, Any]:
    """The vendor's answer as OpenAI's. Raises a server failure for what is none."""
    data = (given or {}).get("data")
    pictures = [each.get("b64_json") for each in data if isinstance(each, dict)] if isinstance(data, list) else []
    if given is None or len(pictures) != 1 or not isinstance(pictures[0], str) or not pictures[0]:
        raise server_failure("The backend's answer has no picture.", reason="invalid_answer")
    usage = usage_of(given.get("usage"))
    answer: dict[str, Any] = {"created": created, "data": [{"b64_json": pictures[0]}], "output_format": "png"}
    return {**answer, "usage": usage} if usage else answer


def usage_of(usage: object) -> dict[str, Any]:
    """The vendor's usage in OpenAI's words, as far as it tells any; empty if it does not."""
    if not isinstance(usage, Mapping):
        return {}
    text, image = (_count(usage, names) for names in _INPUT_TOKENS)
    written = _count(usage, _OUTPUT_TOKENS)
    answer: dict[str, Any] = {}
    if text is not None or image is not None:
        answer["input_tokens"] = (text or 0) + (image or 0)
        answer["input_tokens_details"] = {"text_tokens": text or 0, "image_tokens": image or 0}
    elif (both := _count(usage, ("input_tokens",))) is not None:
        answer["input_tokens"] = both
    if written is not None:
        answer["output_tokens"] = written
        answer["output_tokens_details"] = {"image_tokens": written, "text_tokens": 0}
    if answer:
        answer["total_tokens"] = answer.get("input_tokens", 0) + answer.get("output_tokens", 0)
    return answer


def _count(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = (usage.get(name) for name in names)
    return next(
        (count for count in found if isinstance(count, int) and not isinstance(count, bool) and count >= 0), None
    )


async def _once(content: bytes) -> AsyncGenerator[bytes]:
    yield content


def _impossible(param: str, why: str) -> Refusal:
    return client_error(f"Unsupported value for '{param}': {why}.", param=param, code="unsupported_value")
