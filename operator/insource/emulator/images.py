"""`POST .../images/generations` and `/edits` of the OpenAI dialect, for the GPT image models.

Drawn by `pictures`; gif and svg, which newer models sell, are refused by name. A streamed request makes one picture.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from insource.emulator import pictures
from insource.emulator.checks import Strict, check, invalid, read_json, unsupported
from insource.emulator.errors import OpenAIError
from insource.emulator.forms import Find
from insource.emulator.letters import count_tokens
from insource.emulator.models import Model
from insource.emulator.parts import File, MalformedError, Parts, read_parts
from insource.emulator.service import Answer, Order, Reader, Service

STANDARD_SIZES = ("1024x1024", "1536x1024", "1024x1536")
SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
OUTPUT_TOKENS = {
    "gpt-image-1-mini": {"low": 272, "medium": 1056, "high": 4160},
    "gpt-image-2": {"low": 196, "medium": 1767, "high": 7033},
}
"""Tokens of 1024x1024; other sizes by their pixels. Chosen so that a picture costs about what the vendor says."""
PARTIAL_TOKENS = 100
SQUARE = 1024 * 1024
MAX_IMAGES, MAX_IMAGE_BYTES, MAX_MASK_BYTES = 16, 50_000_000, 4_000_000
READABLE = ("PNG", "JPEG", "WEBP")


class ImageBody(Strict):
    """What is to be drawn."""

    model: str = ""
    prompt: str = Field(min_length=1, max_length=32_000)
    n: int = Field(default=1, ge=1, le=10)
    size: str = "auto"
    quality: Literal["low", "medium", "high", "auto"] = "auto"
    background: Literal["transparent", "opaque", "auto"] = "auto"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int | None = Field(default=None, ge=0, le=100)
    moderation: Literal["low", "auto"] = "auto"
    partial_images: int = Field(default=0, ge=0, le=3)
    stream: bool = False
    user: str | None = None
    safety_identifier: str | None = None


class EditBody(ImageBody):
    """What is to be made of a picture."""

    input_fidelity: Literal["low", "high"] | None = None


NUMBERS = ("n", "output_compression", "partial_images")


@dataclass(frozen=True)
class _Drawing:
    """All that a picture needs."""

    body: ImageBody
    size: tuple[int, int]
    base: Any = None
    input_images: int = 0
    """Tokens of the pictures that were uploaded."""

    @property
    def quality(self) -> str:
        return "medium" if self.body.quality == "auto" else self.body.quality

    @property
    def background(self) -> str:
        return "transparent" if self.body.background == "transparent" else "opaque"

    def file(self, number: int) -> bytes:
        """The picture of that number."""
        image = pictures.draw(
            self.body.prompt, number, self.size, transparent=self.background == "transparent", base=self.base
        )
        return pictures.save(image, self.body.output_format, self._compression)

    def partial(self) -> bytes:
        """What is sent before the picture: the same, coarse."""
        image = pictures.draw(self.body.prompt, 0, self.size, base=self.base)
        coarse = image.resize((self.size[0] // 16, self.size[1] // 16)).resize(self.size)
        return pictures.save(coarse, self.body.output_format, self._compression)

    @property
    def _compression(self) -> int:
        return 100 if self.body.output_compression is None else self.body.output_compression


def painter(service: Service, find: Find) -> Reader:
    """Reads a request for new pictures; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        body = check(ImageBody, await read_json(request))
        model = find(body.model, ("image",))
        drawing = _Drawing(body, _check(body, model))

        async def produce() -> Answer:
            return await _paint(service, request, drawing, model, "image_generation")

        return Order(model.name, produce)

    return read


def editor(service: Service, find: Find) -> Reader:
    """Reads a request to change pictures; `find` knows the models."""

    async def read(request: web.Request) -> Order:
        try:
            names = ("image", "image[]", "mask")
            parts = await read_parts(request, names, limit=MAX_IMAGE_BYTES, most=MAX_IMAGES + 1)
        except MalformedError as error:
            raise OpenAIError(f"Could not parse multipart form: {error}") from error
        try:
            body = check(EditBody, _typed(parts.fields))
            model = find(body.model, ("image",))
            size = _check(body, model)
            if body.input_fidelity is not None and (model.name != "gpt-image-1-mini" or body.input_fidelity == "high"):
                raise unsupported("input_fidelity", model.name)
            base, tokens = await asyncio.to_thread(_uploaded, parts)
        finally:
            parts.close()
        drawing = _Drawing(body, size, base, tokens)

        async def produce() -> Answer:
            return await _paint(service, request, drawing, model, "image_edit")

        return Order(model.name, produce)

    return read


def _typed(fields: dict[str, str]) -> dict[str, Any]:
    """Form fields as JSON would have them."""
    typed: dict[str, Any] = dict(fields)
    for name in NUMBERS:
        if name in fields:
            if not re.fullmatch(r"-?\d{1,6}", fields[name]):
                raise OpenAIError(f"Invalid type for '{name}': expected an integer.", param=name, code="invalid_type")
            typed[name] = int(fields[name])
    if "stream" in fields:
        if fields["stream"] not in ("true", "false"):
            raise OpenAIError("Invalid type for 'stream': expected a boolean.", param="stream", code="invalid_type")
        typed["stream"] = fields["stream"] == "true"
    return typed


def _check(body: ImageBody, model: Model) -> tuple[int, int]:
    """Raises `OpenAIError`; returns the size."""
    if body.background == "transparent" and body.output_format == "jpeg":
        raise invalid("background", "transparent needs output_format png or webp.")
    if body.output_compression not in (None, 100) and body.output_format == "png":
        raise invalid("output_compression", "compression less than 100 is not supported for PNG output format.")
    if body.partial_images and not body.stream:
        raise invalid("partial_images", "it is only allowed when 'stream' is enabled.")
    if body.stream and body.n > 1:
        raise invalid("n", "this emulator streams one image.")
    return size_of(body.size, model.name)


def size_of(text: str, model: str) -> tuple[int, int]:
    """Width and height. Raises `OpenAIError`."""
    if text == "auto":
        return 1024, 1024
    found = SIZE.fullmatch(text)
    if model == "gpt-image-1-mini":
        if text not in STANDARD_SIZES:
            supported = ", ".join(f"'{size}'" for size in (*STANDARD_SIZES, "auto"))
            raise invalid("size", f"'{text}'. Supported values are: {supported}.")
    elif found is None:
        raise invalid("size", f"'{text}' is not WIDTHxHEIGHT.")
    assert found is not None
    width, height = int(found[1]), int(found[2])
    if width % 16 or height % 16:
        raise invalid("size", f"'{text}'. Width and height must be divisible by 16.")
    if max(width, height) > 3 * min(width, height):
        raise invalid("size", f"'{text}'. The ratio must be between 1:3 and 3:1.")
    if max(width, height) > 3840 or width * height > 3840 * 2160:
        raise invalid("size", f"'{text}'. The largest size is 3840x2160.")
    return width, height


def output_tokens(model: str, quality: str, size: tuple[int, int]) -> int:
    """Of one picture."""
    return math.ceil(OUTPUT_TOKENS[model][quality] * size[0] * size[1] / SQUARE)


def input_tokens(size: tuple[int, int]) -> int:
    """Of one picture that was uploaded: by tiles of 512 pixels."""
    return 65 + 129 * math.ceil(size[0] / 512) * math.ceil(size[1] / 512)


def _uploaded(parts: Parts) -> tuple[Any, int]:
    """The first picture, and the tokens of all."""
    images = [file for file in parts.files if file.name != "mask"]
    masks = [file for file in parts.files if file.name == "mask"]
    if not images:
        raise OpenAIError("Missing required parameter: 'image'.", param="image", code="missing_required_parameter")
    if len(images) > MAX_IMAGES or len(masks) > 1:
        raise invalid("image", f"at most {MAX_IMAGES} images and one mask.")
    loaded = [_load(file, MAX_IMAGE_BYTES, READABLE, "image") for file in images]
    for file in masks:
        mask = _load(file, MAX_MASK_BYTES, ("PNG",), "mask")
        if "A" not in mask.getbands():
            raise invalid("mask", "a mask needs an alpha channel.")
        if mask.size != loaded[0].size:
            raise invalid("mask", "a mask is as large as the first image.")
    return loaded[0], sum(input_tokens(image.size) for image in loaded)


def _load(file: File, limit: int, formats: tuple[str, ...], param: str) -> Any:
    if file.size > limit:
        raise OpenAIError(f"Image is larger than {limit} bytes.", status=413, param=param)
    try:
        return pictures.load(file.content, formats)
    except pictures.UnreadableError as error:
        raise OpenAIError("Invalid image file or mode.", param=param, code="invalid_image_file") from error


async def _paint(service: Service, request: web.Request, drawing: _Drawing, model: Model, event: str) -> Answer:
    body = drawing.body
    files = [await asyncio.to_thread(drawing.file, number) for number in range(body.n)]
    partial = await asyncio.to_thread(drawing.partial) if body.partial_images else b""
    text = count_tokens(body.prompt)
    out = body.n * output_tokens(model.name, drawing.quality, drawing.size)
    out += body.partial_images * PARTIAL_TOKENS
    usage = {
        "input_tokens": text + drawing.input_images,
        "input_tokens_details": {"text_tokens": text, "image_tokens": drawing.input_images},
        "output_tokens": out,
        "total_tokens": text + drawing.input_images + out,
    }
    units = {"input_text_tokens": text, "input_image_tokens": drawing.input_images, "output_image_tokens": out}
    await service.bill(request, model, units)
    about = {
        "background": drawing.background,
        "output_format": body.output_format,
        "quality": drawing.quality,
        "size": f"{drawing.size[0]}x{drawing.size[1]}",
    }
    created = int(service.env.clock.now().timestamp())
    if body.stream:
        partials = [partial] * body.partial_images
        return Answer(_stream(event, created, about, partials, files[0], usage), "text/event-stream; charset=utf-8")
    data = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return Answer(json.dumps({"created": created, **about, "data": data, "usage": usage}).encode())


async def _stream(
    event: str, created: int, about: dict[str, str], partials: list[bytes], file: bytes, usage: dict[str, Any]
) -> AsyncIterator[bytes]:
    for number, partial in enumerate(partials):
        found = {"partial_image_index": number, "b64_json": base64.b64encode(partial).decode()}
        yield _event({"type": f"{event}.partial_image", "created_at": created, **about, **found})
    found = {"b64_json": base64.b64encode(file).decode(), "usage": usage}
    yield _event({"type": f"{event}.completed", "created_at": created, **about, **found})


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + json.dumps(event).encode() + b"\n\n"
