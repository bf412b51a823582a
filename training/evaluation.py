"""How well pictures show what their prompts ask for: the shape by the classifier, the colours by the pixels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insource.servers.flow_prompts import Drawing
from insource.servers.flow_sampling import FlowModel
from insource.servers.flow_vocabulary import COLOURS, SHAPES, SIDE, SIZES
from training.classifier import Weights, recognised

PER_SHAPE = 6


@dataclass(frozen=True)
class Adherence:
    """Shares, 0 to 1, of pictures that show what was asked for."""

    shapes: float
    colours: float
    backgrounds: float


def drawings() -> list[Drawing]:
    """48 of them: each shape six times, sizes and colours in turn."""
    names = list(COLOURS)
    made = []
    for number, (shape, turn) in enumerate(itertools.product(SHAPES, range(PER_SHAPE))):
        own = names[number % len(names)]
        behind = names[(number + 1 + (3 * turn + number // PER_SHAPE) % (len(names) - 1)) % len(names)]
        made.append(Drawing(shape, SIZES[turn % 2], own, behind))
    return made


def prompt(drawing: Drawing) -> str:
    """As a person would write it."""
    return f"a {drawing.size} {drawing.colour} {drawing.shape} on a {drawing.background} background"


def nearest_colour(rgb: NDArray[np.float32]) -> str:
    """The vocabulary's colour that is closest to `rgb` [3] in -1..1."""
    table = np.array(list(COLOURS.values()), np.float32) / 127.5 - 1
    return list(COLOURS)[int(np.linalg.norm(table - rgb, axis=1).argmin())]


def colours_of(picture: NDArray[np.float32]) -> tuple[str, str]:
    """Of the shape and of the background of a picture [32, 32, 3]: medians of what stands out, and of the border."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    behind = np.median(border, 0)
    away = np.linalg.norm(picture - behind, axis=2)
    own = np.median(picture[away > 0.6 * np.quantile(away, 0.99)], 0)
    return nearest_colour(own), nearest_colour(behind)


def judge(pictures: NDArray[np.float32], asked: list[Drawing], weights: Weights) -> Adherence:
    """Of `pictures` [n, 32, 32, 3], one for each of `asked`."""
    found = recognised(weights, pictures)
    seen = [colours_of(picture) for picture in pictures]
    pairs = list(zip(seen, asked, strict=True))
    return Adherence(
        shapes=float(np.mean([name == drawing.shape for name, drawing in zip(found, asked, strict=True)])),
        colours=float(np.mean([own == drawing.colour for (own, _), drawing in pairs])),
        backgrounds=float(np.mean([behind == drawing.background for (_, behind), drawing in pairs])),
    )


def sampled(model: FlowModel, asked: list[Drawing], steps: int, seed: int) -> NDArray[np.float32]:
    """One picture [n, 32, 32, 3] for each of `asked`."""
    made = []
    for number, drawing in enumerate(asked):
        *_, last = model.sample(drawing.condition, [(seed, number)], steps)
        made.append(last[0].transpose(1, 2, 0))
    return np.stack(made).reshape(len(asked), SIDE, SIDE, 3)
