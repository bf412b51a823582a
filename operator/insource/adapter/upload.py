"""A multipart upload, streamed: text fields into memory (bounded), the file into a spool file on the log's volume.

The file must be on disk before the backend is called: its packets are measured first, a spill attempt needs the
measure to ask for budget, and an upload that is no audio never takes a slot. aiohttp's reader was measured against
streaming-form-data: 145 and 116 ms of CPU for 100 MB, of which 77 ms are the writing; it names every part, so it stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from aiohttp import web

from insource.adapter.refusals import Refusal, client_error, too_large
from insource.env import Env

CHUNK_BYTES = 64 * 1024
MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Upload:
    """One request's form: `path` holds the file, and is gone when the request is over."""

    fields: tuple[tuple[str, str], ...]
    path: Path
    filename: str
    size: int


class Spool:
    """The folder where uploads wait. Emptied at start: what lies there belongs to a dead process."""

    def __init__(self, folder: Path, env: Env) -> None:
        self._folder = folder
        self._env = env
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.iterdir():
            leftover.unlink()

    @asynccontextmanager
    async def receive(self, request: web.Request, limit_bytes: int) -> AsyncIterator[Upload]:
        """Read the whole form. Raises 400 (malformed, incomplete, file missing) or 413 (above `limit_bytes`)."""
        if not request.content_type.startswith("multipart/form-data") or not _boundary(request):
            raise client_error(
                "The body must be multipart/form-data with the fields `file` and `model`.",
                code="invalid_content_type",
            )
        path = self._folder / self._env.ids.uuid()
        try:
            with path.open("wb", buffering=0) as file:
                form = _Form(limit_bytes, file)
                await form.read(request)
            if form.filename is None:
                raise client_error(
                    "You must provide a file parameter.", param="file", code="missing_required_parameter"
                )
            if form.size == 0:
                raise client_error("The audio file is empty.", param="file", code="empty_file")
            yield Upload(tuple(form.fields), path, form.filename, form.size)
        finally:
            path.unlink(missing_ok=True)


class _Form:
    def __init__(self, limit_bytes: int, file: BinaryIO) -> None:
        self._limit = limit_bytes
        self._file = file
        self._received = 0
        self.fields: list[tuple[str, str]] = []
        self.filename: str | None = None
        self.size = 0

    async def read(self, request: web.Request) -> None:
        try:
            reader = await request.multipart()
            while (part := await reader.next()) is not None:
                if not isinstance(part, aiohttp.BodyPartReader):
                    raise client_error("Multipart bodies within multipart bodies are not understood.")
                await self._part(part)
        except (Refusal, OSError):  # a full disk is no fault of the client's
            raise
        except (
            Exception
        ) as problem:  # aiohttp reports malformed bodies as ValueError, AssertionError, RuntimeError, ...
            raise client_error(
                f"The multipart body is malformed or ends before its closing boundary ({type(problem).__name__}).",
                param="file",
                code="truncated_body",
            ) from problem

    async def _part(self, part: aiohttp.BodyPartReader) -> None:
        name = part.name or ""
        if name == "file":
            if self.filename is not None:
                raise client_error("The parameter 'file' was given twice.", param="file", code="duplicate_parameter")
            self.filename = part.filename or ""
            while chunk := await part.read_chunk(CHUNK_BYTES):
                self._count(len(chunk))
                self._file.write(chunk)
                self.size += len(chunk)
            return
        content = bytearray()
        while chunk := await part.read_chunk(CHUNK_BYTES):
            self._count(len(chunk))
            content += chunk
            if len(content) > MAX_FIELD_BYTES:
                raise client_error(
                    f"The parameter '{name[:60]}' is longer than {MAX_FIELD_BYTES} bytes.",
                    param=name[:60],
                    code="invalid_value",
                )
        if len(self.fields) == MAX_FIELDS:
            raise client_error(f"The form has more than {MAX_FIELDS} fields.", code="invalid_value")
        try:
            self.fields.append((name, content.decode()))
        except UnicodeDecodeError:
            raise client_error(
                f"The parameter '{name[:60]}' is not UTF-8 text.", param=name[:60], code="invalid_value"
            ) from None

    def _count(self, received: int) -> None:
        self._received += received
        if self._received > self._limit:
            raise too_large(self._limit)


def _boundary(request: web.Request) -> str:
    return aiohttp.helpers.parse_mimetype(request.headers.get("Content-Type", "")).parameters.get("boundary", "")
