"""A small picture as a file of the size that was asked for. Pillow does the encoding."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from insource.servers.image_request import ImageRequest

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


def encode(picture: NDArray[numpy.float32], asked: ImageRequest) -> bytes:
    """`picture` [3, side, side] in -1..1 as a PNG, JPEG or WebP of `asked`'s size.

    Every pixel becomes a square as large as fits, so that nobody takes it for more than it is; where width and height
    differ, the picture is in the middle and its edges go on to both sides.
    """
    from PIL import Image

    raw = io.BytesIO()
    image = Image.fromarray(_enlarged(picture, asked.width, asked.height), "RGB")
    match asked.output_format:
        case "png":
            image.save(raw, "PNG", compress_level=3)
        case "jpeg":
            image.save(raw, "JPEG", quality=asked.compression)
        case "webp":
            image.save(raw, "WEBP", quality=asked.compression, method=0)
    return raw.getvalue()


def _enlarged(picture: NDArray[numpy.float32], width: int, height: int) -> NDArray[numpy.uint8]:
    """Bytes [height, width, 3]; both sides are whole multiples of the picture's."""
    import numpy as np

    small = np.rint((picture.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    scale = min(width, height) // len(small)
    large = small.repeat(scale, 0).repeat(scale, 1)
    beside = [((side - len(large)) // 2, side - len(large) - (side - len(large)) // 2) for side in (height, width)]
    return np.pad(large, (*beside, (0, 0)), "edge")
