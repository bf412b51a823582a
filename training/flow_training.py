"""Training of `flow-32`: from a seed to parameters.

The same seed gives the same data and the same first parameters; sums on another processor may differ in their last
bits, and so may what comes out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from training.drawings import Style, colours, masks, paint
from training.flow_network import Parameters, initial, predict


@dataclass(frozen=True)
class Recipe:
    """All that decides what is learned."""

    seed: int = 20261129
    steps: int = 2000
    batch: int = 32
    drawings: int = 16_000
    """Different masks; colours are new for every picture."""
    learning_rate: float = 2e-3
    warmup: int = 100
    averaging: float = 0.995
    """Of the exponential moving average of the parameters, which is what is kept."""
    forget_all: float = 0.1
    """Share of pictures learned with nothing said at all: what guidance needs (Ho and Salimans, 2022)."""
    forget_one: float = 0.08
    """Share for each single field beside that: prompts may leave it out."""

    def described(self) -> dict[str, Any]:
        """For the provenance file."""
        return asdict(self)


def batch_of(
    recipe: Recipe, drawn: NDArray[np.uint8], labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Pictures [batch, 32, 32, 3] and conditions [batch, 4] with some fields forgotten."""
    chosen = rng.integers(len(drawn), size=recipe.batch)
    indices, rgb = colours(recipe.batch, rng)
    condition = np.concatenate([labels[chosen], indices], 1) + 1
    forgotten = (rng.random((recipe.batch, 4)) < recipe.forget_one) | (
        rng.random((recipe.batch, 1)) < recipe.forget_all
    )
    return paint(drawn[chosen], rgb), np.where(forgotten, 0, condition).astype(np.int32)


def train(recipe: Recipe, report: Callable[[str], None]) -> tuple[Parameters, dict[str, Any]]:
    """Parameters (averaged), and what was measured. `report(text)` is told of progress."""
    drawn, labels = masks(recipe.drawings, Style(), recipe.seed)
    rng = np.random.default_rng(recipe.seed + 1)
    parameters = initial(recipe.seed)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warmup, recipe.steps, 1e-5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))

    def loss(p: Parameters, x: jax.Array, noise: jax.Array, t: jax.Array, condition: jax.Array) -> jax.Array:
        at = t[:, None, None, None]
        error = predict(p, (1 - at) * noise + at * x, t, condition) - x
        weight = jnp.minimum(1 / (1 - t), 4.0)
        return jnp.mean(weight * jnp.mean(error * error, (1, 2, 3)))

    def update(p: Parameters, average: Parameters, state: Any, x: Any, noise: Any, t: Any, condition: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(p, x, noise, t, condition)
        updates, state = optimizer.update(gradient, state, p)
        p = optax.apply_updates(p, updates)
        average = jax.tree.map(lambda a, b: recipe.averaging * a + (1 - recipe.averaging) * b, average, p)
        return p, average, state, value

    step = jax.jit(update)
    average, state = parameters, optimizer.init(parameters)
    losses: list[float] = []
    began = time.perf_counter()
    for number in range(recipe.steps):
        x, condition = batch_of(recipe, drawn, labels, rng)
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        t = 1 / (1 + np.exp(-rng.normal(-0.3, 1.2, recipe.batch)))
        parameters, average, state, value = step(parameters, average, state, x, noise, t.astype(np.float32), condition)
        losses.append(float(value))
        if (number + 1) % 100 == 0:
            spent = time.perf_counter() - began
            report(f"step {number + 1}/{recipe.steps} loss {np.mean(losses[-100:]):.4f} {spent:.0f} s")
    return average, {"last_loss": round(float(np.mean(losses[-100:])), 5)}
