"""The form of `/v1/images/edits`: text fields, and pictures that are streamed to disk and again from there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from aiohttp import web

from insource.adapter.metering.pictures import HEAD_BYTES, size_told
from insource.adapter.refusals import client_error
from insource.adapter.requests import ImageEdit
from insource.adapter.upload import CHUNK_BYTES, MAX_FIELD_BYTES, MAX_FIELDS, READABLE, Spool, refuse_packed

MAX_PICTURES = 16
FILE_NAMES = ("image", "image[]", "mask")
_NUMBERS = ("n", "output_compression")


@dataclass(frozen=True)
class Picture:
    """One file of the form, at a path that its reader owns."""

    name: str
    filename: str
    content_type: str
    path: Path
    size: tuple[int, int] | None = None
    """Width and height, where its beginning tells them."""


@dataclass(frozen=True)
class Editing:
    """What is to be edited, and how."""

    wanted: ImageEdit
    pictures: tuple[Picture, ...]

    @property
    def model(self) -> str:
        """The client's name for the model."""
        return self.wanted.model


async def read_pictures(request: web.BaseRequest, spool: Spool, limit_bytes: int, into: list[Picture]) -> Editing:
    """Read the whole form. Its files are noted in `into` as they come, and are the caller's to remove, always.

    Raises 400 (malformed, incomplete, a picture missing or twice), 413 (above `limit_bytes`) or 415 (packed).
    """
    if not request.content_type.startswith("multipart/form-data"):
        raise client_error(
            "The body must be multipart/form-data with the fields `image`, `prompt` and `model`.",
            code="invalid_content_type",
        )
    refuse_packed(request)
    fields: dict[str, object] = {}
    left = _Left(limit_bytes)
    left.check(request.content_length or 0)
    with READABLE:
        reader = aiohttp.MultipartReader(request.headers, request.content)
        while (part := await reader.next()) is not None:
            if not isinstance(part, aiohttp.BodyPartReader):
                raise client_error("Multipart bodies within multipart bodies are not understood.")
            name = part.name or ""
            if name in FILE_NAMES:
                await _store(part, name, spool, left, into)
                continue
            if name in fields:
                raise client_error(f"The parameter '{name[:60]}' was given twice.", param=name[:60],
                                   code="duplicate_parameter")  # fmt: skip
            if len(fields) == MAX_FIELDS:
                raise client_error(f"The form has more than {MAX_FIELDS} fields.", code="invalid_value")
            fields[name] = await _text(part, name, left)
    wanted = ImageEdit.of({name: _number(name, value) for name, value in fields.items()})
    if not any(picture.name != "mask" for picture in into):
        raise client_error("You must provide an image parameter.", param="image", code="missing_required_parameter")
    return Editing(wanted, tuple(into))


class _Left:
    """How much of the body may still come."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = self._left = limit_bytes

    def take(self, count: int) -> None:
        self.check(count)
        self._left -= count

    def check(self, count: int) -> None:
        """Raise 413 if `count` more are too many."""
        if count > self._left:
            raise client_error(
                f"The request body is larger than this deployment's limit of {self._limit} bytes; "
                "send smaller pictures.",
                param="image",
                code="content_too_large",
                status=413,
            )


async def _store(part: aiohttp.BodyPartReader, name: str, spool: Spool, left: _Left, into: list[Picture]) -> None:
    if name != "image[]" and any(picture.name == name for picture in into):
        raise client_error(f"The parameter '{name}' was given twice.", param=name, code="duplicate_parameter")
    if name != "mask" and sum(picture.name != "mask" for picture in into) == MAX_PICTURES:
        raise client_error(f"At most {MAX_PICTURES} pictures can be given.", param="image", code="invalid_value")
    size, start = 0, b""
    with spool.new_file() as (path, write):
        content_type = part.headers.get("content-type", "application/octet-stream")
        into.append(Picture(name, part.filename or "image", content_type[:100], path))
        while chunk := await part.read_chunk(CHUNK_BYTES):
            left.take(len(chunk))
            write(chunk)
            size += len(chunk)
            start += chunk[: HEAD_BYTES - len(start)]
    into[-1] = replace(into[-1], size=size_told(start))
    if not size:
        raise client_error("The picture is empty.", param=name, code="empty_file")


async def _text(part: aiohttp.BodyPartReader, name: str, left: _Left) -> str:
    content = bytearray()
    while chunk := await part.read_chunk(CHUNK_BYTES):
        left.take(len(chunk))
        content += chunk
        if len(content) > 4 * MAX_FIELD_BYTES:  # a prompt of 32,000 characters may take more than one field's measure
            raise client_error(f"The parameter '{name[:60]}' is too long.", param=name[:60], code="invalid_value")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise client_error(
            f"The parameter '{name[:60]}' is not UTF-8 text.", param=name[:60], code="invalid_value"
        ) from None
    if "\0" in text:
        raise client_error(f"The parameter '{name[:60]}' holds a NUL character.", param=name[:60], code="invalid_value")
    return text


def _number(name: str, value: object) -> object:
    """A form knows texts only."""
    if name in _NUMBERS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if name == "stream" and value in ("false", "0"):
        return False
    return value
