"""Forms of odd shapes: refused by name, or served whatever their order, their file's name and their pieces' size."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from insource.adapter.upload import MAX_FIELD_BYTES, MAX_FIELDS
from insource.adapter.warmup import tone_wav
from tests.gateway.adapter_harness import world
from tests.gateway.upload_wire import (
    END,
    FILE,
    MODEL,
    is_refusal,
    nothing_is_held,
    part,
    send,
    wire,
)

pytestmark = pytest.mark.gateway


@pytest.mark.parametrize("chunked", [False, True])
async def test_forms_that_are_refused(tmp_path: Path, chunked: bool) -> None:
    too_long = part("prompt", b"x" * (MAX_FIELD_BYTES + 1))
    too_many = b"".join(part(f"f{number}", b"x") for number in range(MAX_FIELDS + 1))
    cases = [
        (MODEL + END, "missing_required_parameter", "file"),
        (FILE + END, "missing_required_parameter", "model"),
        (MODEL + FILE + FILE + END, "duplicate_parameter", "file"),
        (FILE + MODEL + FILE + END, "duplicate_parameter", "file"),
        (MODEL + MODEL + FILE + END, "duplicate_parameter", "model"),
        (MODEL + part("file", b"", "a.wav") + END, "empty_file", "file"),
        (too_long + MODEL + FILE + END, "invalid_value", "prompt"),
        (too_many + FILE + END, "invalid_value", None),
        (MODEL + part("language", b"\xff\xfe") + FILE + END, "invalid_value", "language"),
        (MODEL + FILE, "truncated_body", "file"),
        (MODEL + FILE[:-100], "truncated_body", "file"),
        (b"\r\n", "truncated_body", "file"),
    ]
    async with world(tmp_path) as here:
        for body, code, param in cases:
            is_refusal(await send(here, body, chunked=chunked), 400, code, param)
        for boundary in ("another", "b0undary-", "b0und", '"', ""):
            reply = await send(here, MODEL + FILE + END, chunked=chunked, boundary=boundary)
            assert (reply.status, json.loads(reply.body)["error"]["type"]) == (400, "invalid_request_error"), boundary
        assert here.server.calls == []
        await nothing_is_held(here)
        assert (await send(here, MODEL + FILE + END, chunked=chunked)).status == 200


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        FILE + MODEL + part("language", b"en") + END,
        MODEL + FILE + part("language", b"en") + END,
        MODEL + part("language", b"en") + FILE + END,
        b"\r\n" + MODEL + part("language", b"en") + FILE + END,  # a preamble
        MODEL + part("language", b"en") + FILE + END + b"epilogue",
        MODEL + part("language", b"en") + part("file", tone_wav()) + END,  # a file without a name
    ],
    ids=["file first", "file between", "file last", "preamble", "epilogue", "no name"],
)
async def test_the_order_of_fields_says_nothing(tmp_path: Path, form: bytes, chunked: bool) -> None:
    async with world(tmp_path) as here:
        reply = await send(here, form, chunked=chunked)
        assert reply.status == 200
        assert [(one["language"], one["bytes"]) for one in here.server.calls] == [("en", tone_wav())]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("sent", "ending"),
    [("aufnahme größer.wav", ".wav"), ("会議.wav", ".wav"), ("../../etc/passwd.wav", "passwd.wav"), ("会議", ".wav"),
     ("a\tb.wav", ".wav"), ("x" * 300 + ".wav", "x.wav")],
    ids=["umlauts", "chinese", "a path", "no ending", "a tab", "long"],
)  # fmt: skip
async def test_file_names_of_all_kinds(tmp_path: Path, sent: str, ending: str, chunked: bool) -> None:
    async with world(tmp_path) as here:
        reply = await send(here, MODEL + part("file", tone_wav(), sent) + END, chunked=chunked)
        assert reply.status == 200
        name = here.server.calls[0]["filename"]
        assert name.endswith(ending)
        assert "/" not in name
        assert name.isprintable()
        assert len(name) <= 100
        if sent.isprintable() and "/" not in sent and "." in sent and len(sent) < 100:
            assert unquote(name) == sent  # no ending of ours, and no letter lost


async def test_a_form_that_arrives_byte_by_byte_is_the_same_form(tmp_path: Path) -> None:
    body = MODEL + FILE[:200]
    rest = FILE[200:] + END
    async with world(tmp_path) as here, wire(here) as one:
        one.head(f"content-length: {len(body) + len(rest)}")
        for byte in body:
            one.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        one.writer.write(rest)
        assert (await one.reply()).status == 200
        assert here.server.calls[0]["bytes"] == tone_wav()
