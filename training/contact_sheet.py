"""`make image-sheet`: what `flow-32` draws, as one picture for people: `docs/flow-32.png`.

Eight shapes by six: sizes, colours and backgrounds in turn, by the committed weights, 20 steps, seed 1; nothing chosen.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from insource.servers.flow_sampling import FOLDER, STEPS, WEIGHTS, FlowModel
from training.evaluation import PER_SHAPE, drawings, sampled
from training.provenance import ROOT

FILE = ROOT / "docs" / "flow-32.png"
SCALE = 2
GAP = 2


def write_sheet(model: FlowModel) -> None:
    """Write `FILE`: a row for each number of a shape, a column for each shape."""
    pictures = sampled(model, drawings(), STEPS["medium"], seed=1)
    pixels = np.rint((pictures + 1) * 127.5).clip(0, 255).astype(np.uint8).repeat(SCALE, 1).repeat(SCALE, 2)
    framed = np.pad(pixels, ((0, 0), (GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)
    side = framed.shape[1]
    shapes = len(framed) // PER_SHAPE
    grid = framed.reshape(shapes, PER_SHAPE, side, side, 3).transpose(1, 2, 0, 3, 4)
    sheet = Image.fromarray(grid.reshape(PER_SHAPE * side, shapes * side, 3))
    sheet.quantize(128).save(FILE, optimize=True)


if __name__ == "__main__":
    write_sheet(FlowModel((FOLDER / WEIGHTS).read_bytes()))
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size} bytes")
