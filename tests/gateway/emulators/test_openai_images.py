"""The emulated `/v1/images/*` by the OpenAI SDK: sizes, formats, streams, edits, refusals, the bill."""

from __future__ import annotations

import base64
import io
from typing import Any

import openai
import pytest
from PIL import Image

from tests.gateway.emulator_harness import items, meter

pytestmark = pytest.mark.gateway
PROMPT = "a red circle"  # three tokens


def opened(b64: str | None) -> Image.Image:
    assert b64 is not None
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    Image.new(mode, size).save(target, "PNG")
    return target.getvalue()


async def test_generation_and_its_usage(sdk: openai.AsyncOpenAI, url: str) -> None:
    made = await sdk.images.generate(model="gpt-image-1-mini", prompt=PROMPT, n=2, size="1536x1024", quality="low")
    assert (made.size, made.quality, made.output_format, made.background) == ("1536x1024", "low", "png", "opaque")
    first, second = (opened(image.b64_json) for image in made.data or ())
    assert (first.format, first.size) == ("PNG", (1536, 1024))
    assert first.tobytes() != second.tobytes()
    assert made.usage is not None
    assert made.usage.output_tokens == 2 * 408
    assert made.usage.input_tokens_details.to_dict() == {"text_tokens": 3, "image_tokens": 0}
    [line] = (await meter(url))["lines"]
    assert items(line) == {"input_text_tokens": 3, "output_image_tokens": 816}
    assert line["usd"] == "0.006534"  # 3 at 2 USD and 816 at 8 USD per million


async def test_formats_and_any_size_of_the_newer_model(sdk: openai.AsyncOpenAI) -> None:
    for name, found in (("jpeg", "JPEG"), ("webp", "WEBP")):
        made = await sdk.images.generate(
            model="gpt-image-2",
            prompt=PROMPT,
            size="480x160",
            output_format=name,  # type: ignore[arg-type]
            output_compression=50,
        )
        image = opened((made.data or [])[0].b64_json)
        assert (image.format, image.size) == (found, (480, 160))
    clear = await sdk.images.generate(model="gpt-image-2", prompt=PROMPT, size="160x160", background="transparent")
    image = opened((clear.data or [])[0].b64_json)
    assert (image.mode, image.getpixel((1, 150))) == ("RGBA", image.getpixel((1, 150)))
    assert image.getextrema()[3][0] == 0


async def test_streamed_images(sdk: openai.AsyncOpenAI, url: str) -> None:
    stream = await sdk.images.generate(
        model="gpt-image-2", prompt=PROMPT, size="160x160", quality="low", partial_images=2, stream=True
    )
    events = [event async for event in stream]
    types = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.type for event in events] == types
    for event in events:
        assert opened(event.b64_json).size == (160, 160)
    assert events[-1].type == "image_generation.completed"
    assert events[-1].usage.output_tokens == 5 + 2 * 100  # 196 tokens by its pixels, and both coarse pictures
    assert (await meter(url))["units"] == {"input_text_tokens": 3, "output_image_tokens": 205}


async def test_edits(sdk: openai.AsyncOpenAI, url: str) -> None:
    made = await sdk.images.edit(
        model="gpt-image-1-mini",
        image=[("a.png", png((600, 500))), ("b.png", png((100, 100)))],
        mask=("m.png", png((600, 500), "RGBA")),
        prompt=PROMPT,
        quality="low",
        size="1024x1024",
    )
    assert opened((made.data or [])[0].b64_json).size == (1024, 1024)
    assert made.usage is not None
    assert made.usage.input_tokens_details.image_tokens == (65 + 129 * 2) + (65 + 129)
    stream = await sdk.images.edit(
        model="gpt-image-1-mini", image=("a.png", png((64, 64))), prompt=PROMPT, quality="low", stream=True
    )
    assert [event.type async for event in stream] == ["image_edit.completed"]
    lines = (await meter(url))["lines"]
    assert items(lines[0]) == {"input_text_tokens": 3, "input_image_tokens": 517, "output_image_tokens": 272}
    assert lines[0]["nano_usd"] == 3 * 2000 + 517 * 2500 + 272 * 8000


async def test_what_the_vendor_refuses(sdk: openai.AsyncOpenAI, url: str) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"response_format": "b64_json"}, "response_format"),
        ({"style": "vivid"}, "style"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "1024x768"}, "size"),
        ({"quality": "hd"}, "quality"),
        ({"output_format": "svg"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"output_compression": 50}, "output_compression"),
        ({"background": "transparent", "output_format": "jpeg"}, "background"),
        ({"partial_images": 1}, "partial_images"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"model": "gpt-image-2", "size": "1000x1000"}, "size"),
        ({"model": "gpt-image-2", "size": "160x496"}, "size"),
        ({"model": "gpt-image-2", "size": "3856x2160"}, "size"),
        ({"model": "gpt-image-2", "size": "big"}, "size"),
        ({"model": "tts-1"}, "model"),
    ]
    for extra, param in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.images.generate(**{"model": "gpt-image-1-mini", "prompt": PROMPT, **extra})
        assert refused.value.param == param
    edits: list[tuple[dict[str, Any], str]] = [
        ({"image": ("a.png", b"no picture")}, "image"),
        ({"mask": ("m.png", png((64, 64)))}, "mask"),
        ({"mask": ("m.png", png((65, 64), "RGBA"))}, "mask"),
        ({"input_fidelity": "high"}, "input_fidelity"),
        ({"n": 11}, "n"),
        ({"extra_body": {"seed": 1}}, "seed"),
    ]
    for extra, param in edits:
        with pytest.raises(openai.BadRequestError) as wrong:
            await sdk.images.edit(
                **{"model": "gpt-image-1-mini", "image": ("a.png", png((64, 64))), "prompt": PROMPT, **extra}
            )
        assert wrong.value.param == param
    with pytest.raises(openai.BadRequestError):
        await sdk.images.edit(model="gpt-image-1-mini", image=[("a.png", png((8, 8)))] * 18, prompt=PROMPT)
    assert (await meter(url))["requests"] == 0
