"""Drawings of the flow model's vocabulary by Pillow: the training set, made up as it is needed.

A drawing is a coverage mask (where the shape is) and two colours; masks are drawn four times too large and reduced, so
that edges are smooth. Place, scale and turn vary a little, as no two drawings by hand are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from insource.servers.flow_vocabulary import COLOURS, SHAPES, SIDE, SIZES

OVERSAMPLED = 4
Points: TypeAlias = list[tuple[float, float]]


@dataclass(frozen=True)
class Style:
    """How much drawings vary. The classifier's renderer varies more than the flow model's."""

    shift: float = 1.5
    """Largest distance of the centre from the middle, in pixels of 32, each way."""
    stretch: float = 0.08
    """Largest relative difference of the radius."""
    turn: float = 0.10
    """Largest turn in radians, either way."""


RADII = {"small": 6.5, "large": 11.5}
"""Of the circle around the shape, in pixels of 32."""


def mask(shape: str, size: str, style: Style, rng: np.random.Generator) -> NDArray[np.uint8]:
    """How much of each pixel `shape` covers, 0 to 255, `SIDE` x `SIDE`."""
    side = SIDE * OVERSAMPLED
    image = Image.new("L", (side, side))
    centre = [side / 2 + OVERSAMPLED * d for d in rng.uniform(-style.shift, style.shift, 2)]
    radius = RADII[size] * OVERSAMPLED * (1 + rng.uniform(-style.stretch, style.stretch))
    turn = rng.uniform(-style.turn, style.turn)
    draw = ImageDraw.Draw(image)
    for points, value in _outlines(shape):
        cos, sin = math.cos(turn), math.sin(turn)
        turned = [
            (centre[0] + radius * (x * cos - y * sin), centre[1] + radius * (x * sin + y * cos)) for x, y in points
        ]
        draw.polygon(turned, fill=value)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def masks(count: int, style: Style, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` masks [count, SIDE, SIDE], their (shape, size) indices [count, 2] from 0; every pair equally often."""
    rng = np.random.default_rng(seed)
    pairs = [(shape, size) for shape in range(len(SHAPES)) for size in range(len(SIZES))]
    labels = np.array([pairs[number % len(pairs)] for number in range(count)])
    rng.shuffle(labels)
    drawn = np.stack([mask(SHAPES[shape], SIZES[size], style, rng) for shape, size in labels])
    return drawn, labels


def colours(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two different colours for each of `count` pictures: indices [count, 2] from 0, and RGB [count, 2, 3] in -1..1."""
    table = np.array(list(COLOURS.values()), np.float32) / 127.5 - 1
    own = rng.integers(len(table), size=count)
    other = (own + rng.integers(1, len(table), size=count)) % len(table)
    indices = np.stack([own, other], axis=1)
    return indices, np.clip(table[indices] + rng.normal(0, 0.03, (count, 2, 3)), -1, 1).astype(np.float32)


def paint(drawn: NDArray[np.uint8], rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures [n, SIDE, SIDE, 3] in -1..1: masks `drawn` in colour `rgb[:, 0]` on background `rgb[:, 1]`."""
    cover = drawn[..., None].astype(np.float32) / 255
    own, background = rgb[:, None, None, 0], rgb[:, None, None, 1]
    return background + cover * (own - background)


def _outlines(shape: str) -> list[tuple[Points, int]]:
    """Polygons in the unit circle, y down, each with what it is filled with."""
    match shape:
        case "circle":
            return [(_around(48), 255)]
        case "ring":
            return [(_around(48), 255), ([(0.55 * x, 0.55 * y) for x, y in _around(48)], 0)]
        case "square":
            return [([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], 255)]
        case "diamond":
            return [([(0, -1.1), (0.75, 0), (0, 1.1), (-0.75, 0)], 255)]
        case "triangle":
            return [([(0, -0.95), (1, 0.8), (-1, 0.8)], 255)]
        case "cross":
            return [
                ([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)], 255),
                ([(-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)], 255),
            ]
        case "star":
            return [([(x * r, y * r) for (x, y), r in zip(_around(10), [1.1, 0.45] * 5, strict=True)], 255)]
        case "heart":
            return [([_heart(2 * math.pi * k / 48) for k in range(48)], 255)]
    raise ValueError(f"{shape!r} is no shape of the vocabulary")


def _around(corners: int) -> Points:
    angles = [2 * math.pi * k / corners for k in range(corners)]
    return [(math.sin(angle), -math.cos(angle)) for angle in angles]


def _heart(angle: float) -> tuple[float, float]:
    x = 16 * math.sin(angle) ** 3
    y = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
    return x / 16.5, -(y + 2.5) / 16.5
