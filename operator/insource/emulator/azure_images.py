"""MAI-Image in Azure AI Foundry, emulated: a PNG per request, by width and height; two requests per minute and tier.

`usage` is not documented, and not sent: the bill is by tokens of the prompt and 1,024 image tokens for 1024x1024.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
from typing import Any

from aiohttp import web
from pydantic import Field

from insource.emulator import pictures
from insource.emulator.azure import AzureResource, busy, deployed
from insource.emulator.azure_openai import NOT_DEPLOYED, no_resource
from insource.emulator.checks import Strict, check, read_json
from insource.emulator.errors import AzureError, OpenAIError, VendorError
from insource.emulator.letters import count_tokens
from insource.emulator.limits import Verdict
from insource.emulator.models import AZURE_IMAGES, Model
from insource.emulator.parts import MalformedError, read_parts
from insource.emulator.service import Answer, Order, Reader, Service
from insource.emulator.settings import EmulatorSettings
from insource.env import Env

TIERS = {1: 2, 2: 4, 3: 6, 4: 8, 5: 10, 6: 12}
"""Requests per minute of Global Standard; the free tier has none."""
SMALLEST, MOST_PIXELS = 768, 1_048_576
TOKENS_OF_SQUARE, SQUARE = 1024, 1024 * 1024
MAX_PROMPT_TOKENS = 32_000
MAX_IMAGE_BYTES = 50_000_000
READABLE = ("PNG", "JPEG")
NEWER = ("MAI-Image-2.6", "MAI-Image-2.6-Flash")
GENERATES_ONLY = ("MAI-Image-2",)
NEWER_ONLY = ("auto_aspect_ratio", "web_grounding")


class GenerationBody(Strict):
    """What is to be drawn. `size`, `n`, `response_format`, `seed` and `negative_prompt` are not part of it."""

    model: str
    prompt: str = Field(min_length=1)
    width: int = 1024
    height: int = 1024
    auto_aspect_ratio: bool | None = None
    web_grounding: bool | None = None


class AzureImages(AzureResource):
    """Its manners."""

    def __init__(self, settings: EmulatorSettings) -> None:
        if settings.tier not in TIERS:
            raise ValueError(f"--tier {settings.tier}: the tiers are 1 to 6; the free tier has no quota")
        self.requests_per_minute = TIERS[settings.tier]
        super().__init__(settings)

    def rate_limited(self, model: str, verdict: Verdict) -> VendorError:
        """429 in Azure's shape."""
        del model
        headers = {"retry-after": verdict.retry_headers()["retry-after"]}
        return AzureError("RateLimitReached", busy(verdict.retry_after_s), status=429, headers=headers)

    def failure(self, status: int, request_id: str) -> VendorError:
        """`InternalServerError`."""
        return AzureError("InternalServerError", f"Internal server error. Request id: {request_id}.", status=status)

    def not_found(self, request: web.Request, status: int) -> VendorError:
        """`Resource not found`."""
        del request
        return no_resource(status)

    def headers(self, request_id: str, verdict: Verdict | None, took_ms: float) -> dict[str, str]:
        """`apim-request-id`, and what is left of the minute."""
        del took_ms
        headers = {"apim-request-id": request_id, "x-ms-region": "Emulator"}
        if verdict is not None:
            headers["x-ratelimit-limit-requests"] = str(verdict.limit)
            headers["x-ratelimit-remaining-requests"] = str(verdict.remaining)
        return headers


def azure_images_application(settings: EmulatorSettings, env: Env) -> web.Application:
    """All routes of MAI-Image. Raises `ValueError` for an unknown tier, or a deployment of an unknown model."""
    deployments = deployed(settings, AZURE_IMAGES)
    service = Service(settings, env, AzureImages(settings))
    return service.application(
        [
            service.sold("/mai/v1/images/generations", _generator(service, deployments)),
            service.sold("/mai/v1/images/edits", _editor(service, deployments)),
        ]
    )


def _generator(service: Service, deployments: dict[str, Model]) -> Reader:
    async def read(request: web.Request) -> Order:
        try:
            body = check(GenerationBody, await read_json(request))
        except OpenAIError as error:
            raise _bad(str(error), error.status) from error
        model = _find(deployments, body.model)
        _check_size(body.width, body.height)
        _check_prompt(body.prompt)
        given = [name for name in NEWER_ONLY if getattr(body, name) is not None]
        if given and model.name not in NEWER:
            raise _bad(f"'{given[0]}' applies to {' and '.join(NEWER)} only.")

        async def produce() -> Answer:
            return await _paint(service, request, model, body.prompt, (body.width, body.height))

        return Order(model.name, produce)

    return read


def _editor(service: Service, deployments: dict[str, Model]) -> Reader:
    async def read(request: web.Request) -> Order:
        try:
            parts = await read_parts(request, ("image",), limit=MAX_IMAGE_BYTES, most=1)
        except MalformedError as error:
            raise _bad(f"Could not parse multipart form: {error}") from error
        try:
            for name in parts.fields:
                if name not in ("model", "prompt", *NEWER_ONLY):
                    raise _bad(f"Unknown parameter: '{name}'.")
            model = _find(deployments, parts.fields.get("model", ""))
            prompt = parts.fields.get("prompt", "")
            if not prompt or not parts.files:
                raise _bad(f"Missing required parameter: '{'image' if prompt else 'prompt'}'.")
            _check_prompt(prompt)
            if model.name in GENERATES_ONLY:
                raise AzureError("OperationNotSupported", f"{model.name} does not support image edits.", status=400)
            for name in NEWER_ONLY:
                if name in parts.fields and (model.name not in NEWER or parts.fields[name] not in ("true", "false")):
                    raise _bad(f"'{name}' is a boolean that applies to {' and '.join(NEWER)} only.")
            if parts.files[0].size > MAX_IMAGE_BYTES:
                raise _bad(f"The image is larger than {MAX_IMAGE_BYTES} bytes.", 413)
            try:
                base = await asyncio.to_thread(pictures.load, parts.files[0].content, READABLE)
            except pictures.UnreadableError as error:
                raise _bad("'image' must be a JPEG or PNG image.") from error
        finally:
            parts.close()

        async def produce() -> Answer:
            return await _paint(service, request, model, prompt, fitted(base.size), base)

        return Order(model.name, produce)

    return read


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    """The size of an edited picture: that of the upload where it is allowed, else 1024x1024."""
    allowed = min(size) >= SMALLEST and size[0] * size[1] <= MOST_PIXELS
    return size if allowed else (1024, 1024)


def image_tokens(size: tuple[int, int]) -> int:
    """Of one picture."""
    return math.ceil(TOKENS_OF_SQUARE * size[0] * size[1] / SQUARE)


def _find(deployments: dict[str, Model], name: str) -> Model:
    if not name:
        raise _bad("Missing required parameter: 'model'.")
    if name not in deployments:
        raise AzureError("DeploymentNotFound", NOT_DEPLOYED, status=404)
    return deployments[name]


def _check_size(width: int, height: int) -> None:
    if width < SMALLEST or height < SMALLEST or width * height > MOST_PIXELS:
        raise _bad(
            f"Invalid size {width}x{height}: width and height must be at least {SMALLEST}, and width x height at most "
            f"{MOST_PIXELS}."
        )


def _check_prompt(prompt: str) -> None:
    if count_tokens(prompt) > MAX_PROMPT_TOKENS:
        raise _bad(f"The prompt is longer than {MAX_PROMPT_TOKENS} tokens.")


def _bad(message: str, status: int = 400) -> AzureError:
    return AzureError("BadRequest", message, status=status)


async def _paint(
    service: Service, request: web.Request, model: Model, prompt: str, size: tuple[int, int], base: Any = None
) -> Answer:
    def draw() -> bytes:
        return pictures.save(pictures.draw(prompt, 0, size, base=base), "png")

    file = await asyncio.to_thread(draw)
    units = {"input_text_tokens": count_tokens(prompt), "output_image_tokens": image_tokens(size)}
    if base is not None:
        units["input_image_tokens"] = image_tokens(base.size)
    await service.bill(request, model, units)
    return Answer(json.dumps({"data": [{"b64_json": base64.b64encode(file).decode()}]}).encode())
