"""The judge of `flow-32`'s pictures: which shape is it? A small perceptron, trained apart from the flow model.

Its drawings come from other seeds and vary more, its pictures are noisy and blurred, and it has never seen a picture of
the flow model. Tests use it (`tests/models/shape_classifier.npz`); no program does. Judging needs NumPy only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from insource.servers.flow_vocabulary import SHAPES, SIDE
from training.drawings import Style, colours, masks, paint

SEED = 48_000_001
STYLE = Style(shift=2.5, stretch=0.15, turn=0.18)
HIDDEN = 96
STEPS = 1500
BATCH = 128
HELD_OUT_SEED = 48_000_777
Weights = dict[str, NDArray[np.float32]]


def contrast(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stands out: distance of each pixel of [n, 32, 32, 3] from the border's median colour, 0..1, as [n, 1024]."""
    border = np.concatenate([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], 1)
    away = np.linalg.norm(pictures - np.median(border, 1)[:, None, None], axis=3).reshape(len(pictures), SIDE * SIDE)
    scale = np.maximum(np.quantile(away, 0.98, axis=1, keepdims=True), 0.1)
    relative: NDArray[np.float32] = np.clip(away / scale, 0, 1).astype(np.float32)
    return relative


def scores(weights: Weights, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits [n, shapes] of pictures [n, 32, 32, 3] in -1..1."""
    hidden = np.maximum(contrast(pictures) @ weights["w1"] + weights["b1"], 0)
    logits: NDArray[np.float32] = hidden @ weights["w2"] + weights["b2"]
    return logits


def recognised(weights: Weights, pictures: NDArray[np.float32]) -> list[str]:
    """The shape in each picture."""
    return [SHAPES[number] for number in scores(weights, pictures).argmax(1)]


def load(file: Path) -> Weights:
    """Weights as `save` wrote them."""
    with np.load(file) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def save(weights: Weights, file: Path) -> None:
    """As float16."""
    stored: dict[str, Any] = {name: values.astype(np.float16) for name, values in weights.items()}
    np.savez_compressed(file, **stored)


def samples(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Drawings with noise and, every other one, blur: pictures and the index of each one's shape."""
    drawn, labels = masks(count, STYLE, seed)
    rng = np.random.default_rng(seed + 1)
    pictures = paint(drawn, colours(count, rng)[1])
    blurred = sum(np.roll(pictures, shift, axis) for shift in (-1, 1) for axis in (1, 2)) / 8 + pictures / 2
    mixed = np.where(rng.random((count, 1, 1, 1)) < 0.5, pictures, blurred) + rng.normal(0, 0.06, pictures.shape)
    return mixed.astype(np.float32), labels[:, 0]


def train() -> tuple[Weights, float]:
    """Weights, and the share of held-out drawings that they recognise. Needs JAX."""
    import jax
    import jax.numpy as jnp
    import optax

    rng = np.random.default_rng(SEED)
    pictures, labels = samples(8_000, SEED)
    seen = contrast(pictures)
    weights = {
        "w1": jnp.asarray(rng.standard_normal((SIDE * SIDE, HIDDEN), dtype=np.float32) / 32),
        "b1": jnp.asarray(np.zeros(HIDDEN, np.float32)),
        "w2": jnp.asarray(rng.standard_normal((HIDDEN, len(SHAPES)), dtype=np.float32) / 10),
        "b2": jnp.asarray(np.zeros(len(SHAPES), np.float32)),
    }
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, STEPS), weight_decay=0.02)

    def loss(p: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        logits = jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def update(
        p: dict[str, jax.Array], state: optax.OptState, x: jax.Array, y: jax.Array
    ) -> tuple[dict[str, jax.Array], optax.OptState]:
        updates, state = optimizer.update(jax.grad(loss)(p, x, y), state, p)
        return optax.apply_updates(p, updates), state

    step = jax.jit(update)
    state = optimizer.init(weights)
    for _ in range(STEPS):
        chosen = rng.integers(len(seen), size=BATCH)
        weights, state = step(weights, state, seen[chosen], labels[chosen])
    found = {name: np.asarray(values).astype(np.float16).astype(np.float32) for name, values in weights.items()}
    held_out, truth = samples(1_600, HELD_OUT_SEED)
    return found, float((scores(found, held_out).argmax(1) == truth).mean())
