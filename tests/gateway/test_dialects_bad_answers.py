"""Vendors with dialects of their own that refuse or answer badly: each ends as the outcome table says, in OpenAI's
words, and no key is shown."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from insource.wire.vocabulary import Dialect, Modality
from tests.gateway.adapter_answers import SOUND
from tests.gateway.adapter_harness import KEY, Reply, World, until
from tests.gateway.fake_vendor import FakeVendor, before, says
from tests.gateway.test_dialects import IMAGES, PICTURE, SPEECH, TRANSCRIPT

pytestmark = pytest.mark.gateway
HEARD = (Dialect.AZURE_SPEECH, Modality.TRANSCRIPTION, "MAI-Transcribe-2")
SPOKEN = (Dialect.AZURE_SPEECH, Modality.SPEECH, "MAI-Voice-2-Flash")
DRAWN = (Dialect.AZURE_IMAGES, Modality.IMAGE, "MAI-Image-2.5")
KINDS = [HEARD, SPOKEN, DRAWN]
GOOD = {
    HEARD: ("application/json", json.dumps(TRANSCRIPT).encode()),
    SPOKEN: ("audio/mpeg", SOUND["mp3"]),
    DRAWN: ("application/json", json.dumps(PICTURE).encode()),
}
HTML = b"<!doctype html><title>Bad Gateway</title>" + b" " * 4000
kinds = pytest.mark.parametrize("kind", KINDS, ids=["transcription", "speech", "image"])


async def ask(here: World, kind: tuple[Dialect, Modality, str]) -> Reply:
    if kind is HEARD:
        return await here.post([("model", "dictation")])
    if kind is SPOKEN:
        return await here.ask(SPEECH, {"model": "narrator", "input": "Hello", "voice": "en-US-Harper"})
    return await here.ask(IMAGES, {"model": "artist", "prompt": "a red circle"})


@kinds
async def test_what_is_no_answer_is_the_vendors_failure(tmp_path: Path, kind: tuple[Dialect, Modality, str]) -> None:
    good_type, good = GOOD[kind]
    error = json.dumps({"error": {"code": "InternalServerError", "message": "no"}}).encode()
    bad = [
        says(b"", good_type),
        says(HTML, "text/html"),
        says(error),
        says(b"[]"),
        says(b"null"),
        says(HTML, good_type),
    ]
    if kind is not SPOKEN:
        bad += [says(good[: len(good) // 2], good_type), says(b'{"data": [], "combinedPhrases": null}')]
    async with before(tmp_path, *kind) as (here, vendor):
        for answer in bad:
            vendor.answer = answer
            reply = await ask(here, kind)
            assert (reply.status, reply.outcome) == (503, "server"), reply.body
            assert (await here.ended(reply.request))["reason"] == "invalid_answer"
        vendor.answer = says(good, good_type)
        assert (await ask(here, kind)).status == 200


@kinds
async def test_an_answer_that_breaks_off_or_comes_slowly(tmp_path: Path, kind: tuple[Dialect, Modality, str]) -> None:
    good_type, good = GOOD[kind]

    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": good_type, "content-length": str(len(good))})
        await response.prepare(request)
        await response.write(good[: len(good) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def drips(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": good_type})
        await response.prepare(request)
        step = max(1, len(good) // 200)
        for at in range(0, len(good), step):
            await response.write(good[at : at + step])
            await asyncio.sleep(0)
        return response

    async with before(tmp_path, *kind) as (here, vendor):
        vendor.answer = breaks
        if kind is SPOKEN:  # a part has gone out: the client must see that the rest is missing
            with pytest.raises(aiohttp.ClientError):
                await ask(here, kind)
            await until(lambda: bool(here.ledger.ends()))
            (end,) = here.ledger.ends().values()
            assert (end["outcome"], end["reason"]) == ("server", "broken_off")
            assert [each["quantity"] for each in end["quantities"]] == [5]
        else:
            reply = await ask(here, kind)
            assert (reply.status, reply.error["code"]) == (503, "broken_off")
        vendor.answer = drips
        assert (await ask(here, kind)).status == 200


REFUSALS: list[tuple[int, bytes, str, int, str, str]] = [
    # status, body, content type; status, outcome and words for the client
    (400, b'{"error": {"code": "BadRequest", "message": "Invalid size"}}', "application/json", 400, "client", "size"),
    (400, b'{"code": "InvalidRequest", "message": "wrong locale"}', "application/json", 400, "client", "wrong locale"),
    (422, b'{"message": "no WAV, MP3 or FLAC"}', "application/json", 422, "client", "no WAV"),
    (400, b'{"error": "too long"}', "application/json", 400, "client", "too long"),
    (400, b"Unsupported voice en-US-Nobody.", "text/plain", 400, "client", "Unsupported voice"),
    (400, HTML, "text/html", 400, "client", "refuses this request"),
    (400, b'{"error": {"code": "OperationNotSupported", "message": "no"}}', "application/json", 503, "server", ""),
    (400, b'{"error": {"code": "UnsupportedApiVersion", "message": "no"}}', "application/json", 503, "server", ""),
    (
        401,
        b'{"error": {"code": "401", "message": "Access denied"}}',
        "application/json",
        503,
        "refused_credentials",
        "",
    ),
    (403, b'{"error": {"code": "Forbidden", "message": "no"}}', "application/json", 503, "refused_credentials", ""),
    (404, b'{"error": {"code": "DeploymentNotFound", "message": "no"}}', "application/json", 503, "server", ""),
    (408, b'{"error": {"code": "Timeout", "message": "no"}}', "application/json", 503, "timeout", "timed out"),
    (500, HTML, "text/html", 503, "server", ""),
    (502, b"", "text/plain", 503, "server", ""),
    (503, b'{"error": {"code": "diarization_unavailable"}}', "application/json", 503, "server", ""),
]


@kinds
async def test_refusals_in_azures_shapes(tmp_path: Path, kind: tuple[Dialect, Modality, str]) -> None:
    async with before(tmp_path, *kind) as (here, vendor):
        for status, body, content_type, told, outcome, words in REFUSALS:
            vendor.answer = says(body, content_type, status)
            reply = await ask(here, kind)
            assert (reply.status, reply.outcome) == (told, outcome), (status, body)
            assert words in reply.error["message"]
            assert set(reply.error) == {"message", "type", "param", "code"}
            assert (await here.ended(reply.request))["quantities"] == [] or outcome in ("server", "timeout")
        vendor.answer = says(*reversed(GOOD[kind]))
        assert (await ask(here, kind)).status == 200


async def test_a_filtered_prompt_is_the_clients(tmp_path: Path) -> None:
    filtered = {
        "error": {
            "message": f"The response was filtered; {KEY} of our-artist.", "type": None, "param": "prompt",
            "code": "content_filter", "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        }
    }  # fmt: skip
    azure = before(tmp_path, Dialect.AZURE_OPENAI, Modality.IMAGE, "our-artist", api_version="2024-10-21")
    async with azure as (here, vendor):
        vendor.answer = says(json.dumps(filtered).encode(), status=400)
        reply = await ask(here, DRAWN)
        assert (reply.status, reply.outcome) == (400, "client")
        assert (reply.error["param"], reply.error["code"]) == ("prompt", "content_filter")
        assert reply.error["message"] == "The response was filtered; [key] of artist."


async def shed(here: World, vendor: FakeVendor, kind: tuple[Dialect, Modality, str], **headers: str) -> int:
    body = b'{"error": {"code": "RateLimitReached", "message": "Please retry after 5 seconds."}}'
    vendor.answer = says(body, status=429, **headers)
    reply = await ask(here, kind)
    assert (reply.status, reply.outcome, reply.error["type"]) == (429, "shed", "rate_limit_error")
    assert (await here.ended(reply.request))["reason"] == "RateLimitReached"
    return int(reply.headers["retry-after"])


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry_after": "5"}, 5, 5),
        ({"retry_after_ms": "2400"}, 3, 3),
        ({"retry_after_ms": "2400", "retry_after": "9"}, 3, 3),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9, 9),
        ({"retry_after_ms": "nan", "retry_after": "9"}, 9, 9),
        ({"retry_after_ms": "-5"}, 1, 1),
        ({"retry_after_ms": "inf"}, 1, 1),
        ({"retry_after": "7200"}, 120, 120),
        ({"retry_after": "{date}"}, 60, 91),
        ({"retry_after": "in a while"}, 1, 1),
        ({}, 1, 1),
    ],
)
async def test_each_form_of_retry_after(tmp_path: Path, headers: dict[str, str], least: int, most: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    named = {name: value.format(date=date) for name, value in headers.items()}
    async with before(tmp_path, *DRAWN) as (here, vendor):
        assert least <= await shed(here, vendor, DRAWN, **named) <= most
        calls = len(vendor.calls)
        again = await ask(here, DRAWN)  # the vendor is left alone until then
        assert (again.status, len(vendor.calls)) == (429, calls)


async def test_a_refused_key_is_told_by_its_secret_and_never_shown(tmp_path: Path) -> None:
    async with before(tmp_path, *SPOKEN) as (here, vendor):
        vendor.answer = says(f"Access denied for {KEY}".encode(), "text/plain", 401)
        reply = await ask(here, SPOKEN)
        assert KEY.encode() not in reply.body
        state = here.adapter.state()
        assert state.credentials_resolved is False
        assert "openai-key/key" in state.credentials_message
        assert KEY not in state.credentials_message


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"voice": "alloy"}, "voice"), ({"response_format": "flac"}, "response_format"), ({"speed": 4}, "speed"),
        ({"instructions": "slowly"}, "instructions"), ({"stream_format": "sse"}, "stream_format"),
        ({"input": "a\u0007b"}, "input"), ({"input": "7" * 4000}, "input"),
    ],
)  # fmt: skip
async def test_what_cannot_be_honoured_is_never_sent(tmp_path: Path, changes: dict[str, Any], param: str) -> None:
    async with before(tmp_path, *SPOKEN) as (here, vendor):
        body = {"model": "narrator", "input": "Hello", "voice": "en-US-Harper", **changes}
        reply = await here.ask(SPEECH, body)
        assert (reply.status, reply.outcome, reply.error["param"]) == (400, "client", param)
        assert vendor.calls == []
        assert (await here.ended(reply.request))["quantities"] == []
