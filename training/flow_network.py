"""The network of `flow-32`: a convolutional U-Net in JAX that says what clean picture a noisy one is on its way to.

Rectified flow (Liu, Gong and Liu, "Flow Straight and Fast", 2022): `x_t = (1 - t) noise + t picture`, and the network
predicts the picture. What is wanted (shape, size, colour, background) enters twice: as a vector that scales and shifts
every block, and as a picture of 4x4 cells added at the bottleneck, without which shapes hardly come out.

Layout is NHWC here; `training.flow_export` writes the same operations to ONNX in NCHW.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from insource.servers.flow_vocabulary import CHOICES

WIDTHS = (32, 64, 128)
"""Channels at 16x16, 8x8 and 4x4."""
VECTOR = 128
"""Length of the conditioning vector."""
FREQUENCIES = 16
"""Sines and cosines of t each."""
BLOCKS = {"in16": 0, "in8": 1, "mid": 2, "out8": 1, "out16": 0}
"""Residual blocks by name, and which width they have."""
CELLS = 4
Parameters = dict[str, jax.Array]


def initial(seed: int) -> Parameters:
    """Parameters before training: convolutions scaled by their fan-in, the ends of blocks small."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, gain: float) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, dtype=np.float32) * np.float32(gain))

    def weights(*shape: int, gain: float = 1.0) -> jax.Array:
        return normal(*shape, gain=gain / math.prod(shape[:-1]) ** 0.5)

    small, middle, large = WIDTHS
    p: Parameters = {
        "stem.w": weights(3, 3, 12, small),
        "stem.b": _zeros(small),
        "down8.w": weights(2, 2, small, middle),
        "down8.b": _zeros(middle),
        "down4.w": weights(2, 2, middle, large),
        "down4.b": _zeros(large),
        "up8.w": weights(1, 1, large, 4 * middle),
        "up8.b": _zeros(4 * middle),
        "up16.w": weights(1, 1, middle, 4 * small),
        "up16.b": _zeros(4 * small),
        "head.w": weights(3, 3, small, 12, gain=0.1),
        "head.b": _zeros(12),
        "time.w": weights(2 * FREQUENCIES, VECTOR),
        "vector.w": weights(VECTOR, VECTOR),
        "vector.b": _zeros(VECTOR),
    }
    for column, words in enumerate(CHOICES):
        p[f"words{column}"] = normal(len(words) + 1, VECTOR, gain=0.5)
    pair = (len(CHOICES[0]) + 1) * (len(CHOICES[1]) + 1)
    p["pair"] = normal(pair, CELLS * CELLS * large, gain=0.5)
    for name, width in BLOCKS.items():
        channels = WIDTHS[width]
        p[f"{name}.w1"] = weights(3, 3, channels, channels)
        p[f"{name}.b1"] = _zeros(channels)
        p[f"{name}.film"] = weights(VECTOR, 2 * channels, gain=0.3)
        p[f"{name}.w2"] = weights(3, 3, channels, channels, gain=0.3)
        p[f"{name}.b2"] = _zeros(channels)
    return p


def _zeros(length: int) -> jax.Array:
    return jnp.asarray(np.zeros(length, np.float32))


def predict(p: Parameters, x: jax.Array, t: jax.Array, condition: jax.Array) -> jax.Array:
    """The clean pictures that `x` [n, 32, 32, 3] at times `t` [n] lead to; `condition` [n, 4] of indices."""
    angles = t[:, None] * (2.0 ** jnp.arange(FREQUENCIES) * 0.1)
    vector = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], 1) @ p["time.w"]
    for column in range(len(CHOICES)):
        vector = vector + p[f"words{column}"][condition[:, column]]
    vector = jax.nn.silu(vector @ p["vector.w"] + p["vector.b"])

    wide = _conv(_space_to_depth(x), p["stem.w"], p["stem.b"])
    wide = _block(p, "in16", wide, vector)
    middle = _conv(wide, p["down8.w"], p["down8.b"], stride=2)
    middle = _block(p, "in8", middle, vector)
    deep = _conv(middle, p["down4.w"], p["down4.b"], stride=2)
    pair = condition[:, 0] * (len(CHOICES[1]) + 1) + condition[:, 1]
    deep = deep + p["pair"][pair].reshape(-1, CELLS, CELLS, WIDTHS[2])
    deep = _block(p, "mid", deep, vector)
    middle = middle + _depth_to_space(_conv(deep, p["up8.w"], p["up8.b"]))
    middle = _block(p, "out8", middle, vector)
    wide = wide + _depth_to_space(_conv(middle, p["up16.w"], p["up16.b"]))
    wide = _block(p, "out16", wide, vector)
    return _depth_to_space(_conv(jax.nn.silu(_norm(wide)), p["head.w"], p["head.b"]))


def _block(p: Parameters, name: str, x: jax.Array, vector: jax.Array) -> jax.Array:
    inner = _conv(jax.nn.silu(_norm(x)), p[f"{name}.w1"], p[f"{name}.b1"])
    scale, shift = jnp.split((vector @ p[f"{name}.film"])[:, None, None], 2, -1)
    inner = jax.nn.silu(_norm(inner) * (1 + scale) + shift)
    return x + _conv(inner, p[f"{name}.w2"], p[f"{name}.b2"])


def _norm(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)


def _conv(x: jax.Array, w: jax.Array, b: jax.Array, stride: int = 1) -> jax.Array:
    padding = "SAME" if stride == 1 else "VALID"
    out: Any = jax.lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return out + b


def _space_to_depth(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def _depth_to_space(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    return x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)
