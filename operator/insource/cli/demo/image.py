"""Step `image`: prompts become pictures, which are saved and, where there is a terminal, drawn in it."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.text import Text

from insource.cli.demo.scene import IMAGE, Scene

PROMPTS = (
    "a large red star on a white background",
    "a green ring on a black background",
    "a large yellow heart on a blue background",
)
SIZE = 512
CELLS = 32
"""The model's own pixels at each side: what is beyond them in the PNG is upscaling."""
GAP = "  "


@dataclass(frozen=True)
class Made:
    """One picture."""

    prompt: str
    request_id: str
    took_s: float
    file: str


async def image(scene: Scene) -> None:
    """Make the pictures; fail unless each is a PNG of the size that was asked for."""
    scene.say(f"\n[bold]Pictures[/bold] by flow-32, a toy of {CELLS}x{CELLS} pixels, scaled up to {SIZE}x{SIZE}")
    client = scene.client(IMAGE)
    made: list[Made] = []
    pictures: list[npt.NDArray[np.uint8]] = []
    for number, prompt in enumerate(PROMPTS, start=1):

        def draw(prompt: str = prompt) -> Any:
            return client.images.with_raw_response.generate(
                model="gpt-image-2", prompt=prompt, size=f"{SIZE}x{SIZE}", quality="medium"
            )

        raw, took_s = await scene.work(f"drawing {prompt}", draw)
        png = base64.b64decode(raw.parse().data[0].b64_json)
        path = scene.folder / f"picture-{number}.png"
        path.write_bytes(png)
        with Image.open(BytesIO(png)) as picture:
            told = (picture.format, picture.size)
            pictures.append(np.asarray(picture.convert("RGB").resize((CELLS, CELLS), Image.Resampling.NEAREST)))
        scene.expect(told == ("PNG", (SIZE, SIZE)), f"{prompt!r} became {told}, not a PNG of {SIZE}x{SIZE}")
        made.append(Made(prompt, scene.served(raw), round(took_s, 3), str(path)))
    if scene.shows_pictures:
        scene.console.print(side_by_side(pictures))
    for each in made:
        scene.say(f"{each.took_s:.2f} s  {each.prompt}: {each.file}")
    scene.seen["pictures"] = [asdict(each) for each in made]


def side_by_side(pictures: list[npt.NDArray[np.uint8]]) -> Text:
    """Pictures (height x width x RGB, of one even height) in half blocks: two pixels for each character."""
    drawn = Text()
    for row in range(0, pictures[0].shape[0], 2):
        for picture in pictures:
            for above, below in zip(picture[row], picture[row + 1], strict=True):
                drawn.append("▀", style=f"{colour(above)} on {colour(below)}")
            drawn.append(GAP)
        drawn.append("\n")
    drawn.right_crop(1)
    return drawn


def colour(pixel: npt.NDArray[np.uint8]) -> str:
    """As rich names it."""
    red, green, blue = (int(each) for each in pixel)
    return f"#{red:02x}{green:02x}{blue:02x}"
