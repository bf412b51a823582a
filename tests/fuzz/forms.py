"""Multipart forms of any bytes: what is read of one is what werkzeug reads of it, or it is refused with 4xx.

werkzeug takes a lone CR or LF for a line's end, which RFC 2046 does not, so it is asked only where no boundary and no
header could be meant so. Nothing else may differ, and nothing may be left on disk.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from werkzeug.sansio import multipart
from yarl import URL

from insource.adapter import plain_form
from insource.adapter.picture_form import FILE_NAMES, Picture, read_pictures
from insource.adapter.refusals import Refusal
from insource.adapter.upload import SMALL_BYTES, Spool
from insource.emulator.parts import MalformedError, read_parts
from insource.env import system_env
from insource.servers.requests import RefusedRequestError, read_request
from tests.fuzz.seeds import BOUNDARY

LIMIT_BYTES = 3000
"""Small, so that a fuzzer gets above it."""
Part = tuple[str, str | None, bytes]
"""Name, file name, content."""
R = TypeVar("R")
_MARK = re.compile(rb"(?s)(.{0,2})--" + BOUNDARY.encode())


def plain(data: bytes) -> None:
    """`plain_form.split`: what it takes, werkzeug reads alike, and no byte is lost."""
    parts = plain_form.split(data, BOUNDARY)
    if parts is None:
        return
    found = [(part.name, part.filename, part.content) for part in parts]
    if _is_strict(data):
        assert found == read_by_werkzeug(data)
    between = (b"\r\n" + data).split(b"\r\n--" + BOUNDARY.encode())[1:-1]
    assert [content for _, _, content in found] == [piece.partition(b"\r\n\r\n")[2] for piece in between]


def upload(data: bytes) -> None:
    """`Spool.receive`, in memory and by the disk in pieces: both say the same, and what werkzeug says."""
    piece, body = 1 + data[0] if data else 1, data[1:]
    _same_as_werkzeug(body, _received(body, piece))


def as_built(data: bytes) -> None:
    """A well-formed form that `data` describes: read as it was built, or refused for what it is."""
    parts = _described(data)
    body = b"".join(_encoded(part) for part in parts) + f"--{BOUNDARY}--\r\n".encode()
    outcome = _received(body, 1 + (data[-1] if data else 0))
    files = [part for part in parts if part[0] == "file"]
    texts = [(name, content) for name, _, content in parts if name != "file"]
    if len(files) != 1 or not files[0][2] or not _all_utf8(texts) or sum(len(part[2]) for part in parts) > LIMIT_BYTES:
        assert isinstance(outcome, Refusal), outcome
        return
    assert outcome == ([(name, content.decode()) for name, content in texts], files[0][1] or "", files[0][2]), outcome


def pictures(data: bytes) -> None:
    """`read_pictures`: the same whatever pieces it comes in, and its files are those that werkzeug finds."""
    piece, body = 1 + data[0] if data else 1, data[1:]
    outcome = _edited(body, piece)
    whole = _edited(body, len(body) + 1)
    assert _shown(outcome) == _shown(whole), (outcome, whole)
    theirs = read_by_werkzeug(body)
    if isinstance(outcome, Refusal) or theirs is None or not _is_strict(body):
        return
    prompt, found = outcome
    assert found == [(name, content) for name, _, content in theirs if name in FILE_NAMES]
    assert prompt in [content.decode() for name, _, content in theirs if name == "prompt"]


def vendor_parts(data: bytes) -> None:
    """The emulators' `read_parts`: what it takes, werkzeug reads alike."""

    async def read() -> list[Part]:
        parts = await read_parts(cast(web.Request, _request(data, 7)), ("file",), limit=LIMIT_BYTES, most=2)
        try:
            texts: list[Part] = [(name, None, text.encode()) for name, text in parts.fields.items()]
            return texts + [(file.name, file.file_name, file.content.read()) for file in parts.files]
        finally:
            parts.close()

    try:
        found = _run(read())
    except MalformedError:
        return
    theirs = read_by_werkzeug(data)
    if theirs is not None and _is_strict(data):
        expected = [(name, None if name != "file" else file_name or "", text) for name, file_name, text in theirs]
        assert sorted(found, key=repr) == sorted(((n, f, t[:]) for n, f, t in expected), key=repr)


def server_form(data: bytes) -> None:
    """Our transcription servers' `read_request`: refused with 4xx, or its file is the last one that werkzeug finds."""

    async def read() -> bytes:
        asked = await read_request(cast(web.Request, _request(data, 7)), "")
        with asked.audio:
            return asked.audio.read()

    try:
        content = _run(read())
    except RefusedRequestError as refused:
        is_the_clients(refused)
        return
    theirs = read_by_werkzeug(data)
    if theirs is not None and _is_strict(data):
        assert content == b"".join(text for name, _, text in theirs if name == "file")


def read_by_werkzeug(body: bytes) -> list[Part] | None:
    """The parts; None if it refuses the body."""
    decoder = multipart.MultipartDecoder(BOUNDARY.encode(), max_form_memory_size=None)
    found: list[Part] = []
    name, file_name, content = "", cast("str | None", None), b""
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), multipart.Epilogue | multipart.NeedData):
            if isinstance(event, multipart.File):
                name, file_name, content = event.name, event.filename, b""
            elif isinstance(event, multipart.Field):
                name, file_name, content = event.name, None, b""
            elif isinstance(event, multipart.Data):
                content += event.data
                if not event.more_data:
                    found.append((name, file_name, content))
    except (ValueError, LookupError):
        return None
    return found


def _is_strict(body: bytes) -> bool:
    """Whether all who read it must read the same: lines end in CRLF wherever structure is, and no more is said."""
    if not body.startswith(b"--" + BOUNDARY.encode() + b"\r\n"):
        return False
    if any(before not in (b"\r\n", b"") for before in _MARK.findall(body)):
        return False
    for piece in re.split(rb"(?:\r\n|^)--" + BOUNDARY.encode(), body)[1:-1]:
        head, end, _ = piece.partition(b"\r\n\r\n")
        if not end or not head.startswith(b"\r\n"):
            return False
        if not all(_is_plain_header(line) for line in head[2:].split(b"\r\n")):
            return False
    return True


def _is_plain_header(line: bytes) -> bool:
    return bool(
        re.fullmatch(rb'(?i:content-disposition): form-data; name="[\w.\[\]-]+"(?:; filename="[\w. \[\]-]*")?', line)
        or re.fullmatch(rb"(?i:content-type): [\w/.+-]+", line)
    )


def _same_as_werkzeug(body: bytes, outcome: Refusal | tuple[list[tuple[str, str]], str, bytes]) -> None:
    theirs = read_by_werkzeug(body)
    if isinstance(outcome, Refusal) or theirs is None or not _is_strict(body):
        return
    fields, filename, content = outcome
    # Note: `_charset_` is the form's own (RFC 7578, 4.6), and aiohttp keeps it where it stands early.
    texts = [(name, text.decode()) for name, _, text in theirs if name not in ("file", "_charset_")]
    assert [field for field in fields if field[0] != "_charset_"] == texts
    assert (filename, content) == next((file or "", text) for name, file, text in theirs if name == "file")


def _received(body: bytes, piece: int) -> Refusal | tuple[list[tuple[str, str]], str, bytes]:
    """Fields, file name, content; by both ways, which must agree."""

    async def receive(request: web.BaseRequest) -> tuple[list[tuple[str, str]], str, bytes]:
        got = await _spool().receive(request, LIMIT_BYTES)
        try:
            content = got.content if isinstance(got.content, bytes) else got.content.read_bytes()
            return list(got.fields), got.filename, content
        finally:
            got.discard()

    with _nothing_left():
        streamed = _refusal_or(receive(_request(body, piece)))
        assert len(body) <= SMALL_BYTES
        whole = _refusal_or(receive(_request(body, len(body) + 1, told=True)))
    assert _shown(streamed) == _shown(whole), (streamed, whole)
    assert _spool()._in_memory == 0
    return streamed


def _edited(body: bytes, piece: int) -> Refusal | tuple[str, list[tuple[str, bytes]]]:
    async def edit() -> tuple[str, list[tuple[str, bytes]]]:
        stored: list[Picture] = []
        try:
            editing = await read_pictures(_request(body, piece), _spool(), LIMIT_BYTES, stored)
            return editing.wanted.prompt, [(each.name, each.path.read_bytes()) for each in editing.pictures]
        finally:
            for each in stored:
                each.path.unlink()

    with _nothing_left():
        return _refusal_or(edit())


def _refusal_or(work: Awaitable[R]) -> Refusal | R:
    try:
        return _run(work)
    except Refusal as refusal:
        is_the_clients(refusal)
        return refusal


def is_the_clients(refusal: Refusal | RefusedRequestError) -> None:
    """Fails if it blames us, or does not say why."""
    assert 400 <= refusal.status < 500, refusal
    assert str(refusal.message if isinstance(refusal, Refusal) else refusal)


def _shown(outcome: object) -> object:
    return (outcome.status, outcome.code, outcome.param) if isinstance(outcome, Refusal) else outcome


def _all_utf8(texts: list[tuple[str, bytes]]) -> bool:
    try:
        return all(isinstance(content.decode(), str) for _, content in texts)
    except UnicodeDecodeError:
        return False


NAMES = ("file", "model", "language", "timestamp_granularities[]", "temperature", "file", "x", "prompt")
FILE_NAMES_SENT = (None, "a.wav", "", "b c.mp3", "über.ogg", "a+b.wav", "q%22.wav", "a;b=c.wav")
CONTENTS = (b"\r\n", b"--", f"--{BOUNDARY[:-1]}".encode(), b"\r\n--", b"\r\n\r\n", b"RIFF", bytes(200), b"\xff")


def _described(data: bytes) -> list[Part]:
    """At most eight parts: two bytes of `data` for names, then a length and content, now and then of `CONTENTS`."""
    parts: list[Part] = []
    at = 0
    while at + 3 <= len(data) and len(parts) < 8:
        kind, length, special = data[at], data[at + 1], data[at + 2]
        content = data[at + 3 : at + 3 + length]
        if special & 1:
            content = CONTENTS[special >> 1 & 7] + content + CONTENTS[special >> 4 & 7]
        if f"--{BOUNDARY}".encode() not in content:
            parts.append((NAMES[kind & 7], FILE_NAMES_SENT[kind >> 3 & 7], content))
        at += 3 + length
    return parts


def _encoded(part: Part) -> bytes:
    """As browsers do."""
    name, file_name, content = part
    filename = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
    return head.encode() + content + b"\r\n"


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="isf")


@cache
def _spool() -> Spool:
    return Spool(Path(_folder().name), system_env())


def _run(work: Awaitable[R]) -> R:
    return _loop().run_until_complete(work)


@contextmanager
def _nothing_left() -> Iterator[None]:
    yield
    assert not list(Path(_folder().name).iterdir())


class _Protocol(BaseProtocol):
    """As much of a connection as a request asks for."""

    ssl_context = peername = sockname = None
    max_field_size, max_headers = 8190, 128


def _request(body: bytes, piece: int, *, told: bool = False) -> web.BaseRequest:
    """One with this body, which arrives in pieces of that size, its length told or not."""
    loop = _loop()
    headers: CIMultiDict[str] = CIMultiDict({"content-type": f"multipart/form-data; boundary={BOUNDARY}"})
    if told:
        headers["content-length"] = str(len(body))
    protocol = _Protocol(loop)
    content = aiohttp.StreamReader(protocol, 1 << 16, loop=loop)
    for at in range(0, len(body), piece):
        content.feed_data(body[at : at + piece])
    content.feed_eof()
    raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
    message = RawRequestMessage(
        "POST", "/", aiohttp.HttpVersion11, CIMultiDictProxy(headers), raw, False, None, False, not told, URL("/")
    )
    nobody: Any = None
    return web.BaseRequest(message, content, cast(Any, protocol), nobody, nobody, loop)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "plain_form": plain,
    "upload": upload,
    "form_as_built": as_built,
    "picture_form": pictures,
    "vendor_parts": vendor_parts,
    "server_form": server_form,
}
