"""Multipart forms of any vendor: small fields as text, files spooled to disk."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import IO, cast

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

MAX_FIELD_BYTES = 1 << 20
UNREADABLE = (ValueError, RuntimeError, AssertionError, HttpProcessingError)
"""What aiohttp raises for a body that is no form."""


class MalformedError(Exception):
    """The body is no such form; the message says why."""


@dataclass
class File:
    """An uploaded file; past its limit only `size` goes on counting."""

    name: str
    file_name: str
    content_type: str
    content: IO[bytes]
    size: int = 0


@dataclass
class Parts:
    """A form that was read. Close it."""

    fields: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Fields that may be repeated."""
    files: list[File] = field(default_factory=list)

    def close(self) -> None:
        """Give the files back."""
        for file in self.files:
            file.content.close()


async def read_parts(
    request: web.Request, files: Collection[str], *, limit: int, most: int, repeated: Collection[str] = ()
) -> Parts:
    """The form; parts named in `files` are files, of which `most` may be; those in `repeated` are `lists`.

    Raises `MalformedError`.
    """
    if request.content_type != "multipart/form-data":
        raise MalformedError(f"content type '{request.content_type}' is not multipart/form-data")
    parts = Parts()
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or not part.name:
                raise MalformedError("a part has no name")
            if part.name in files:
                if len(parts.files) == most:
                    raise MalformedError(f"more than {most} files")
                await _read_file(part, parts, limit)
            elif part.name in repeated:
                parts.lists.setdefault(part.name, []).append(await _read_field(part))
            elif part.name in parts.fields:
                raise MalformedError(f"field '{part.name}' is given twice")
            else:
                parts.fields[part.name] = await _read_field(part)
    except BaseException as error:
        parts.close()
        if isinstance(error, UNREADABLE):
            raise MalformedError("could not parse multipart form") from error
        raise
    for file in parts.files:
        file.content.seek(0)
    return parts


async def _read_file(part: BodyPartReader, parts: Parts, limit: int) -> None:
    content = cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=1 << 20))  # noqa: SIM115
    file = File(part.name or "", part.filename or "", part.headers.get("content-type", ""), content)
    parts.files.append(file)
    while chunk := await part.read_chunk(1 << 18):
        file.size += len(chunk)
        if file.size <= limit:
            content.write(chunk)


async def _read_field(part: BodyPartReader) -> str:
    content = bytearray()
    while chunk := await part.read_chunk(1 << 16):
        content += chunk
        if len(content) > MAX_FIELD_BYTES:
            raise MalformedError(f"field '{part.name}' is longer than {MAX_FIELD_BYTES} bytes")
    return content.decode()
