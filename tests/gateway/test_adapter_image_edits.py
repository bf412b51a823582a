"""`/v1/images/edits`: pictures stream to disk and on to the vendor; forms that are wrong are refused by name."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import openai
import pytest

from insource.wire.vocabulary import Modality
from tests.gateway.adapter_answers import png
from tests.gateway.adapter_harness import KEY, World, until, world, write_routes

pytestmark = pytest.mark.gateway
EDITS = "/v1/images/edits"
PICTURE = base64.b64decode(png())
Part = tuple[str, str | bytes]
GOOD: list[Part] = [("model", "m"), ("prompt", "a blue circle"), ("image", PICTURE)]


def spooled(here: World) -> list[Path]:
    return list((here.folder / "wal" / "spool").iterdir())


async def test_pictures_and_fields_go_on_and_the_answer_is_counted(tmp_path: Path) -> None:
    write_routes(tmp_path, modality="Image", model="gpt-image-1-mini")
    async with world(tmp_path, side="vendor") as here:
        large = PICTURE + bytes(2 << 20)
        reply = await here.send_form(
            EDITS,
            [
                ("image[]", large),
                ("n", "2"),
                ("model", "m"),
                ("image[]", PICTURE),
                ("prompt", "blau"),
                ("mask", PICTURE),
            ],
        )
        assert (reply.status, reply.outcome) == (200, "ok")
        (call,) = here.server.calls
        assert call["body"] == {"model": "gpt-image-1-mini", "prompt": "blau", "n": "2"}
        assert call["pictures"] == [
            ("image[]", "a.png", "image/png", large),
            ("image[]", "a.png", "image/png", PICTURE),
            ("mask", "a.png", "image/png", PICTURE),
        ]
        assert call["headers"]["Authorization"] == f"Bearer {KEY}"
        counted = await here.quantities(reply.request)
        assert (counted["images", "measured"], counted["image_tokens", "billed"]) == (2, 272)
        # Two pictures of 1,024 pixels at most each; the mask is none. Of 5 tokens that came in one is the prompt's.
        assert counted["input_image_tokens", "measured"] == 2
        assert (counted["input_tokens", "billed"], counted["input_image_tokens", "billed"]) == (1, 4)
        assert spooled(here) == []


async def test_a_server_of_ours_is_not_asked_to(tmp_path: Path) -> None:
    async with world(tmp_path, modality=Modality.IMAGE) as here:
        reply = await here.send_form(EDITS, GOOD)
        assert (reply.status, reply.outcome, reply.error["code"]) == (404, "client", "unknown_url")
        assert here.server.calls == []


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        (GOOD[:2], "image", "missing_required_parameter"),
        ([*GOOD[:2], ("mask", PICTURE)], "image", "missing_required_parameter"),
        (GOOD[1:], "model", "missing_required_parameter"),
        ([*GOOD, ("image", PICTURE)], "image", "duplicate_parameter"),
        ([*GOOD, ("prompt", "again")], "prompt", "duplicate_parameter"),
        ([*GOOD[:2], ("image", b"")], "image", "empty_file"),
        ([*GOOD, ("n", "eleven")], "n", "invalid_type"),
        ([*GOOD, ("n", "11")], "n", "invalid_value"),
        ([*GOOD, ("n", "²")], "n", "invalid_type"),
        ([*GOOD, ("prompt2", "x")], "prompt2", "unknown_parameter"),
        ([*GOOD, ("user", "a\0b")], "user", "invalid_value"),
        ([*GOOD, ("stream", "true")], "stream", "unsupported_parameter"),
        ([*GOOD[:2], *[("image[]", PICTURE)] * 17], "image", "invalid_value"),
        ([*GOOD[:2], ("mask", PICTURE), *[("image[]", PICTURE)] * 17], "image", "invalid_value"),
    ],
)
async def test_forms_that_are_wrong(tmp_path: Path, parts: list[Part], param: str, code: str) -> None:
    async with world(tmp_path, side="vendor", modality=Modality.IMAGE) as here:
        reply = await here.send_form(EDITS, parts)
        assert (reply.status, reply.outcome) == (400, "client")
        assert (reply.error["param"], reply.error["code"]) == (param, code)
        assert here.server.calls == []
        assert spooled(here) == []


async def test_sixteen_pictures_and_a_mask_are_not_too_many(tmp_path: Path) -> None:
    write_routes(tmp_path, modality="Image", model="gpt-image-1-mini")
    async with world(tmp_path, side="vendor") as here:
        reply = await here.send_form(EDITS, [*GOOD[:2], *[("image[]", PICTURE)] * 16, ("mask", PICTURE)])
        assert reply.status == 200
        assert len(here.server.calls[0]["pictures"]) == 17


async def test_a_form_above_the_limit_and_one_that_ends_early(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor", modality=Modality.IMAGE) as here:
        reply = await here.send_form(EDITS, [*GOOD[:2], ("image", bytes(5 << 20))])
        assert (reply.status, reply.error["code"]) == (413, "content_too_large")
        headers = {**here.identity(), "content-type": "multipart/form-data; boundary=b"}
        body = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\nabc'
        async with here.session.post(here.url(EDITS), data=body, headers=headers) as response:
            assert response.status == 400
        assert spooled(here) == []


async def test_a_client_that_leaves_takes_its_pictures_with_it(tmp_path: Path) -> None:
    async def hangs(request: Any) -> Any:
        await asyncio.Event().wait()

    async with world(tmp_path, side="vendor", modality=Modality.IMAGE) as here:
        here.server.answer = hangs
        asking = asyncio.create_task(here.send_form(EDITS, GOOD))
        await until(lambda: len(here.server.calls) == 1)
        asking.cancel()
        assert (await here.ended("req-1"))["outcome"] == "gone"
        assert (await here.quantities("req-1"))["images", "measured"] == 1
        await until(lambda: spooled(here) == [])


async def test_openais_sdk(tmp_path: Path) -> None:
    async with world(tmp_path, side="vendor", modality=Modality.IMAGE) as here:
        sdk = openai.AsyncOpenAI(base_url=here.url("/v1"), api_key="k", max_retries=0, default_headers=here.identity())
        async with sdk:
            answer = await sdk.images.edit(
                model="m", image=[("a.png", PICTURE), ("b.png", PICTURE)], prompt="blue", n=2
            )
        assert len(answer.data or []) == 2
        assert [name for name, *_ in here.server.calls[0]["pictures"]] == ["image[]", "image[]"]
