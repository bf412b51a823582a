"""A plain form is split in memory exactly as aiohttp's reader splits it, or not at all."""

from __future__ import annotations

import asyncio
import warnings
from unittest.mock import Mock

import aiohttp
from hypothesis import given, settings
from hypothesis import strategies as st

from insource.adapter.dialects.openai_transcriptions import form_bytes
from insource.adapter.plain_form import split

PLAIN = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\r\n--not the end\r\n\r\n--b--\r\n"
)


async def by_aiohttp(body: bytes) -> list[tuple[str | None, str | None, bytes]]:
    stream = aiohttp.StreamReader(Mock(_reading_paused=False), 1 << 20, loop=asyncio.get_running_loop())
    stream.feed_data(body)
    stream.feed_eof()
    reader = aiohttp.MultipartReader({"Content-Type": "multipart/form-data; boundary=b"}, stream)
    parts = []
    while (part := await reader.next()) is not None:
        assert isinstance(part, aiohttp.BodyPartReader)
        content = b""
        while chunk := await part.read_chunk():
            content += chunk
        parts.append((part.name, part.filename, content))
    return parts


def check_same(body: bytes) -> bool:
    """Whether we split it ourselves, after comparing that with aiohttp's parts."""
    parts = split(body, "b")
    if parts is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [(one.name, one.filename, one.content) for one in parts] == asyncio.run(by_aiohttp(body))
    return True


def test_what_clients_send_is_plain() -> None:
    assert check_same(PLAIN)
    assert check_same(form_bytes([("model", "m"), ("prompt", "größer")], "speech 1.wav", b"\r\n--\r\n", "b")) is False
    assert check_same(form_bytes([("model", "m"), ("prompt", "größer")], "speech.wav", b"\r\n--\r\n", "b"))


@settings(max_examples=500, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(PLAIN)),
            st.integers(0, 6),
            st.sampled_from(
                [b"\r\n", b"\n", b"--b", b"\r\n--b", b"--", b"\r\n\r\n", b'"', b";", b" ", b"/", b"x", b"\0"]
            )
            | st.binary(max_size=3),
        ),
        max_size=3,
    )
)
def test_mutilated_forms_are_split_the_same_or_left(edits: list[tuple[int, int, bytes]]) -> None:
    body = PLAIN
    for at, dropped, put in edits:
        body = body[:at] + put + body[at + dropped :]
    check_same(body)
