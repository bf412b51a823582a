"""Uploads to an adapter, written byte by byte, and what must hold after each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from insource.adapter.warmup import tone_wav
from tests.gateway.adapter_harness import Reply, World, until

BOUNDARY = "b0undary"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    ending = "" if filename is None else f'; filename="{filename}"'
    return f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{ending}\r\n\r\n'.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
MODEL = part("model", b"w")
FILE = part("file", tone_wav(), "a.wav")


class Wire:
    """One connection to the adapter, written by hand."""

    def __init__(self, here: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._here = here
        self._reader = reader
        self.writer = writer
        self.request = ""

    def head(self, *lines: str, boundary: str = BOUNDARY) -> None:
        """Begin a POST with these header lines besides the identity."""
        identity = self._here.identity()
        self.request = identity["x-request-id"]
        named = [f"{name}: {value}" for name, value in identity.items()]
        content_type = f"content-type: multipart/form-data; boundary={boundary}"
        text = "\r\n".join(["POST /v1/audio/transcriptions HTTP/1.1", "host: x", content_type, *named, *lines])
        self.writer.write(f"{text}\r\n\r\n".encode())

    def chunk(self, piece: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def reply(self) -> Reply:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status, _, lines = head.partition("\r\n")
        headers: Any = {}
        for line in lines.strip().split("\r\n"):
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Reply(int(status.split(" ")[1]), headers, body)

    async def closed_by_the_adapter(self) -> bool:
        return await self._reader.read(1) == b""


@asynccontextmanager
async def wire(here: World) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.adapter.ports["serve"])
    try:
        yield Wire(here, reader, writer)
    finally:
        writer.transport.abort()


def is_refusal(reply: Reply, status: int, code: str, param: str | None) -> None:
    """In OpenAI's shape, and the client's fault."""
    assert (reply.status, reply.headers["x-insource-outcome"]) == (status, "client")
    error = json.loads(reply.body)["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert error["message"]


def spooled(here: World) -> list[Path]:
    return list((here.folder / "wal" / "spool").iterdir())


async def nothing_is_held(here: World) -> None:
    await until(lambda: here.adapter.entrance.in_flight == 0)
    assert here.adapter.backend.admission.inside == 0
    assert spooled(here) == []


async def send(here: World, body: bytes, *, chunked: bool, boundary: str = BOUNDARY) -> Reply:
    """The same form by either way: whole in memory, or streamed to disk."""
    async with wire(here) as one:
        if chunked:
            one.head("transfer-encoding: chunked", boundary=boundary)
            one.chunk(body)
            one.chunk(b"")
        else:
            one.head(f"content-length: {len(body)}", boundary=boundary)
            one.writer.write(body)
        return await one.reply()
