"""The emulated MAI-Image, asked as Foundry's page writes: sizes, refusals, edits, the quota, the bill."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.gateway.emulator_harness import KEY, emulator, items, meter

pytestmark = pytest.mark.gateway
MAKE = "/mai/v1/images/generations"
EDIT = "/mai/v1/images/edits"
KEYS = {"api-key": KEY}
BODY = {"model": "pictures", "prompt": "a red circle", "width": 768, "height": 768}


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    settings = {"deployments": {"pictures": "MAI-Image-2.6"}, "requests_per_minute": 1000}
    async with emulator(tmp_path, "azure-images", **settings) as found:
        yield found


@pytest.fixture
async def client(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, headers=KEYS) as session:
        yield session


def picture(size: tuple[int, int], kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, "red").save(target, kind)
    return target.getvalue()


def form(image: bytes | None, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData(fields)
    if image is not None:
        data.add_field("image", image, filename="a.png", content_type="image/png")
    return data


def opened(body: dict[str, Any]) -> Image.Image:
    [one] = body["data"]
    return Image.open(io.BytesIO(base64.b64decode(one["b64_json"])))


async def test_one_png_of_the_size_that_was_asked(client: aiohttp.ClientSession, url: str) -> None:
    for width, height in ((768, 768), (1024, 1024), (1365, 768), (768, 1365)):
        async with client.post(MAKE, json={**BODY, "width": width, "height": height}) as answer:
            assert answer.status == 200, await answer.text()
            body = await answer.json()
        assert set(body) == {"data"}
        assert (opened(body).format, opened(body).size) == ("PNG", (width, height))
    async with client.post(MAKE, json={"model": "MAI-Image-2", "prompt": "a"}) as answer:
        assert opened(await answer.json()).size == (1024, 1024)
    lines = (await meter(url))["lines"]
    assert [items(line)["output_image_tokens"] for line in lines] == [576, 1024, 1024, 1024, 1024]
    assert items(lines[0]) == {"input_text_tokens": 3, "output_image_tokens": 576}
    assert lines[0]["nano_usd"] == 3 * 5_000 + 576 * 38_000
    assert lines[4]["nano_usd"] == 1 * 5_000 + 1024 * 33_000


REFUSED: list[dict[str, Any]] = [
    {"width": 767},
    {"height": 767},
    {"width": 1366},
    {"width": 1025, "height": 1024},
    {"width": -1024, "height": -1024},
    {"width": "1024"},
    {"width": 1024.5},
    {"size": "1024x1024"},
    {"n": 1},
    {"response_format": "b64_json"},
    {"seed": 1},
    {"negative_prompt": "blue"},
    {"quality": "high"},
    {"prompt": ""},
    {"prompt": 1},
    {"prompt": "a " * 32_001},
    {"model": ""},
    {"model": "MAI-Image-2.5", "auto_aspect_ratio": True},
    {"web_grounding": "yes"},
]


async def test_what_the_vendor_refuses(client: aiohttp.ClientSession, url: str) -> None:
    for extra in REFUSED:
        async with client.post(MAKE, json={**BODY, **extra}) as answer:
            assert answer.status == 400, extra
            assert set((await answer.json())["error"]) == {"code", "message"}
    async with client.post(MAKE, json={**BODY, "model": "absent"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "DeploymentNotFound")
    async with client.post("/mai/v1/images", json=BODY) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "404")
    async with client.post(MAKE, data=b"{", headers={"content-type": "application/json"}) as answer:
        assert answer.status == 400
    for headers in ({"api-key": "wrong"}, {"api-key": ""}):
        async with client.post(MAKE, json=BODY, headers=headers) as answer:
            assert answer.status == 401
    assert (await meter(url))["requests"] == 0


async def test_edits(client: aiohttp.ClientSession, url: str) -> None:
    fields = {"model": "pictures", "prompt": "a red circle"}
    async with client.post(EDIT, data=form(picture((800, 768)), **fields, auto_aspect_ratio="true")) as answer:
        assert opened(await answer.json()).size == (800, 768)
    async with client.post(EDIT, data=form(picture((64, 64), "JPEG"), **fields)) as answer:
        assert opened(await answer.json()).size == (1024, 1024)
    for data in (
        form(None, **fields),
        form(picture((64, 64)), model="pictures"),
        form(picture((64, 64)), prompt="a"),
        form(picture((64, 64)), **fields, width="1024"),
        form(picture((64, 64)), **fields, n="1"),
        form(picture((64, 64), "WEBP"), **fields),
        form(b"no picture", **fields),
        form(picture((64, 64)), model="MAI-Image-2", prompt="a"),
        form(picture((64, 64)), model="MAI-Image-2.5", prompt="a", web_grounding="true"),
    ):
        async with client.post(EDIT, data=data) as answer:
            assert answer.status == 400, await answer.text()
    async with client.post(EDIT, json=fields) as answer:
        assert answer.status == 400
    lines = (await meter(url))["lines"]
    assert [items(line)["input_image_tokens"] for line in lines] == [600, 4]
    assert lines[0]["nano_usd"] == 3 * 5_000 + 600 * 8_000 + 600 * 38_000


@pytest.mark.parametrize(("tier", "per_minute"), [(1, 2), (6, 12)])
async def test_the_quota_of_each_tier(tmp_path: Path, tier: int, per_minute: int) -> None:
    async with emulator(tmp_path, "azure-images", tier=tier) as url, aiohttp.ClientSession(url, headers=KEYS) as client:
        # Refused requests count, too: what is left is gone before any picture is drawn.
        for left in range(per_minute - 1, -1, -1):
            async with client.post(MAKE, json={"model": "absent", "prompt": "a"}) as answer:
                assert answer.status == 404
                assert int(answer.headers["x-ratelimit-remaining-requests"]) >= left
        async with client.post(MAKE, json={**BODY, "model": "MAI-Image-2.6"}) as answer:
            if answer.status == 429:
                assert 1 <= int(answer.headers["retry-after"]) <= 60 / per_minute
                assert (await answer.json())["error"]["code"] == "RateLimitReached"
            else:  # this machine took longer than the quota needs to refill
                assert int(answer.headers["x-ratelimit-remaining-requests"]) >= 0
        assert int(answer.headers["x-ratelimit-limit-requests"]) == per_minute


async def test_the_free_tier_has_no_quota(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--tier 0"):
        async with emulator(tmp_path, "azure-images", tier=0):
            pass
