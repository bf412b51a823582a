"""A multipart upload: its text fields, bounded, and its file: a small one in memory, a large one streamed to disk.

All of it must be here before the backend is called: the audio is measured first, a spill attempt needs the measure to
ask for budget, and an upload that is no audio never takes a slot. A body that announces at most `SMALL_BYTES` is read
whole and split at once if it is plain (`plain_form`); everything else goes through aiohttp's reader.
"""

from __future__ import annotations

import asyncio
import errno
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from types import TracebackType

import aiohttp
import structlog
from aiohttp import web
from aiohttp.multipart import BadContentDispositionHeader, BadContentDispositionParam

from insource.adapter import plain_form
from insource.adapter.refusals import Refusal, client_error, server_failure, too_large
from insource.env import Env

log = structlog.get_logger(__name__)
CHUNK_BYTES = 64 * 1024
SMALL_BYTES = 960 * 1024
"""Bodies up to this size stay in memory (below 1 MiB, where aiohttp warns of sending bytes at once)."""
MEMORY_BYTES = 64 << 20
"""What all small uploads at once may hold; past it, small ones are spooled to disk too."""
MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 * 1024
for _category in (BadContentDispositionHeader, BadContentDispositionParam):
    # Note: each different one would be printed, with what the client sent, and kept for ever. The form is refused.
    warnings.simplefilter("ignore", _category)


@dataclass(frozen=True)
class Upload:
    """One request's form."""

    fields: tuple[tuple[str, str], ...]
    content: bytes | Path
    """The file; what lies at a path goes with `discard`."""
    filename: str
    discard: Callable[[], None]


class Spool:
    """The folder where uploads wait. Emptied at start: what lies there belongs to a dead process."""

    def __init__(self, folder: Path, env: Env) -> None:
        self._folder = folder
        self._env = env
        self._in_memory = 0
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.iterdir():
            leftover.unlink()

    async def receive(self, request: web.BaseRequest, limit_bytes: int) -> Upload:
        """Read the whole form. Whoever gets it calls `discard` in the end.

        Raises 400 (malformed, incomplete, file missing), 413 (above `limit_bytes`) or 415 (packed).
        """
        boundary = _boundary(request)
        if not request.content_type.startswith("multipart/form-data") or not boundary:
            raise client_error(
                "The body must be multipart/form-data with the fields `file` and `model`.",
                code="invalid_content_type",
            )
        refuse_packed(request)
        announced = request.content_length
        if announced is None or announced > SMALL_BYTES or self._in_memory + announced > MEMORY_BYTES:
            return await self._receive_to_disk(request, limit_bytes)
        self._in_memory += announced
        try:
            pieces: list[bytes] = []
            form = _Form(limit_bytes, pieces.append)
            await form.read_small(request, boundary)
            return form.upload(b"".join(pieces), partial(self._forget, announced))
        except BaseException:
            self._forget(announced)
            raise

    async def _receive_to_disk(self, request: web.BaseRequest, limit_bytes: int) -> Upload:
        path = self._new_path()
        try:
            with _stored(), path.open("wb", buffering=0) as file:
                form = _Form(limit_bytes, partial(_write_all, file))
                await form.read(request.headers, request.content)
            return form.upload(path, partial(path.unlink, missing_ok=True))
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _forget(self, announced: int) -> None:
        self._in_memory -= announced

    @contextmanager
    def on_disk(self, content: bytes) -> Iterator[Path]:
        """A file that holds `content`, for as long as this lasts."""
        path = self._new_path()
        try:
            with _stored():
                path.write_bytes(content)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def new_file(self) -> Iterator[tuple[Path, Callable[[bytes], None]]]:
        """A new file and how to write to it, while this lasts; the file stays, and is the caller's to remove."""
        path = self._new_path()
        with _stored(), path.open("xb", buffering=0) as file:
            yield path, partial(_write_all, file)

    def _new_path(self) -> Path:
        return self._folder / self._env.ids.uuid()


class _Form:
    def __init__(self, limit_bytes: int, write: Callable[[bytes], object]) -> None:
        """`write` takes the file's content, piece by piece."""
        self._limit = limit_bytes
        self._write = write
        self._received = 0
        self._fields: list[tuple[str, str]] = []
        self._filename: str | None = None
        self._size = 0

    def upload(self, content: bytes | Path, discard: Callable[[], None]) -> Upload:
        """What was read, with its file. Raises 400 without a file."""
        if self._filename is None:
            raise client_error("You must provide a file parameter.", param="file", code="missing_required_parameter")
        if self._size == 0:
            raise client_error("The audio file is empty.", param="file", code="empty_file")
        return Upload(tuple(self._fields), content, self._filename, discard)

    async def read(self, headers: Mapping[str, str], content: aiohttp.StreamReader) -> None:
        """Read the form piece by piece."""
        with READABLE:
            reader = aiohttp.MultipartReader(headers, content)
            while (part := await reader.next()) is not None:
                if not isinstance(part, aiohttp.BodyPartReader):
                    raise client_error("Multipart bodies within multipart bodies are not understood.")
                await self._part(part)

    async def read_small(self, request: web.BaseRequest, boundary: str) -> None:
        """Read a body that may lie in memory as a whole."""
        with READABLE:
            body = await request.content.readany()
            while piece := await request.content.readany():
                body += piece
        parts = plain_form.split(body, boundary)
        if parts is None:
            # Note: all of it is here already, so a limit above it means that the transport is never paused or resumed.
            again = aiohttp.StreamReader(request.protocol, len(body) + 1, loop=asyncio.get_running_loop())
            again.feed_data(body)
            again.feed_eof()
            await self.read(request.headers, again)
            return
        for part in parts:
            self._count(len(part.content))
            if part.name == "file":
                self._begin_file(part.filename)
                self._size = len(part.content)
                self._write(part.content)
            else:
                self._check_length(part.name, len(part.content))
                self._field(part.name, part.content)

    async def _part(self, part: aiohttp.BodyPartReader) -> None:
        name = part.name or ""
        if name == "file":
            self._begin_file(part.filename)
            while chunk := await part.read_chunk(CHUNK_BYTES):
                self._count(len(chunk))
                self._write(chunk)
                self._size += len(chunk)
            return
        content = bytearray()
        while chunk := await part.read_chunk(CHUNK_BYTES):
            self._count(len(chunk))
            content += chunk
            self._check_length(name, len(content))
        self._field(name, bytes(content))

    def _begin_file(self, filename: str | None) -> None:
        if self._filename is not None:
            raise client_error("The parameter 'file' was given twice.", param="file", code="duplicate_parameter")
        self._filename = filename or ""

    def _check_length(self, name: str, length: int) -> None:
        if length > MAX_FIELD_BYTES:
            raise client_error(
                f"The parameter '{name[:60]}' is longer than {MAX_FIELD_BYTES} bytes.",
                param=name[:60],
                code="invalid_value",
            )

    def _field(self, name: str, content: bytes) -> None:
        if len(self._fields) == MAX_FIELDS:
            raise client_error(f"The form has more than {MAX_FIELDS} fields.", code="invalid_value")
        try:
            self._fields.append((name, content.decode()))
        except UnicodeDecodeError:
            raise client_error(
                f"The parameter '{name[:60]}' is not UTF-8 text.", param=name[:60], code="invalid_value"
            ) from None

    def _count(self, received: int) -> None:
        self._received += received
        if self._received > self._limit:
            raise too_large(self._limit)


def _write_all(file: FileIO, piece: bytes) -> None:
    # Note: a disk that fills up takes a part and says so; only the next write would fail, and there may be none.
    if file.write(piece) != len(piece):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _stored() -> Iterator[None]:
    """A disk that does not take an upload is our fault, and another backend may have room."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as problem:
        log.error("upload_not_stored", problem=problem.strerror)
        raise server_failure("There is no room to store this upload at present.", reason="spool_unavailable") from None


class _Readable:
    """What reading a body raises within is the client's fault, and said so."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(problem, Exception) or isinstance(problem, Refusal | OSError):
            return  # a full disk is no fault of the client's
        # aiohttp reports malformed bodies as ValueError, AssertionError, RuntimeError, ...
        raise client_error(
            f"The multipart body is malformed or ends before its closing boundary ({type(problem).__name__}).",
            param="file",
            code="truncated_body",
        ) from problem


READABLE = _Readable()


def refuse_packed(request: web.BaseRequest) -> None:
    """Raise 415 for a packed body."""
    # Note: what a packed body unpacks to is nobody's measure, and audio gains nothing by it.
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise client_error(
            f"The content-encoding '{packed[:60]}' is not understood here; send the form as it is.",
            code="unsupported_content_encoding",
            status=415,
        )


def _boundary(request: web.BaseRequest) -> str:
    return aiohttp.helpers.parse_mimetype(request.headers.get("Content-Type", "")).parameters.get("boundary", "")
