"""The emulator's pictures: a card that shows the prompt and says what it is. No model is behind it."""

from __future__ import annotations

import hashlib
import io
import textwrap
from typing import IO, Any

NOTE = "EMULATED: a text card, not a picture of the prompt"
MAX_INPUT_PIXELS = 50_000_000


class UnreadableError(Exception):
    """The upload is not an image that the endpoint takes."""


def draw(prompt: str, number: int, size: tuple[int, int], *, transparent: bool = False, base: Any = None) -> Any:
    """A Pillow image of `size`, filled by the image `base` if any; `number` tells pictures of one request apart."""
    from PIL import Image, ImageDraw, ImageFont

    red, green, blue = hashlib.sha256(f"{number}:{prompt}".encode()).digest()[:3]
    alpha = 0 if transparent else 255
    image = Image.new("RGBA", size, (red // 2, green // 2, blue // 2, alpha))
    if base is not None:
        image.paste(base.convert("RGBA").resize(size))
    pen = ImageDraw.Draw(image)
    point = max(12, size[0] // 40)
    font = ImageFont.load_default(point)
    pen.rectangle((0, 0, size[0], 2 * point), fill=(0, 0, 0, 255))
    pen.text((point // 2, point // 2), f"{NOTE} (no. {number + 1})", font=font, fill=(255, 255, 255, 255))
    shown = textwrap.fill(prompt[:2000], width=max(10, 2 * size[0] // point - 4))
    pen.text((point, 3 * point), shown, font=font, fill=(255, 255, 255, 255))
    return image


def save(image: Any, output_format: str, compression: int = 100) -> bytes:
    """The file: png, jpeg or webp."""
    target = io.BytesIO()
    if output_format == "png":
        image.save(target, "PNG", compress_level=1)
    else:
        image.convert("RGB" if output_format == "jpeg" else "RGBA").save(
            target, output_format.upper(), quality=compression
        )
    return target.getvalue()


def load(file: IO[bytes], formats: tuple[str, ...]) -> Any:
    """A Pillow image. Raises `UnreadableError` for anything else than `formats`, or too many pixels."""
    from PIL import Image

    try:
        image = Image.open(file, formats=formats)
        if image.width * image.height > MAX_INPUT_PIXELS:
            raise UnreadableError(f"{image.width}x{image.height} pixels are too many")
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableError("not an image of a supported format") from error
    return image
