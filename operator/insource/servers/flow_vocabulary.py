"""The words of `flow-32`: what the small flow model was trained to draw, and nothing else. Pure data, no libraries.

The recipe (`training/`) and the server read the same lists. An index is what the network is given; 0 is "not said".
Changing or reordering a list makes the committed weights wrong: train again.
"""

from __future__ import annotations

SIDE = 32
"""Pixels of a side of the picture that the network draws."""
SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "cross", "ring")
SIZES = ("small", "large")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (250, 214, 56),
    "green": (44, 150, 70),
    "blue": (40, 84, 200),
    "purple": (128, 56, 170),
    "pink": (246, 150, 190),
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "black": (16, 16, 16),
}
"""sRGB of each colour; drawings of the training set vary around it."""
FIELDS = ("shape", "size", "colour", "background")
"""Order of the condition's columns."""
CHOICES: tuple[tuple[str, ...], ...] = (SHAPES, SIZES, tuple(COLOURS), tuple(COLOURS))
"""The words of each column; index 0 of the network is "not said", so word k is k + 1."""
