"""Sampling from `flow-32` by ONNX Runtime: noise becomes pictures in real steps, each of which costs the same.

Rectified flow from noise at t = 0 to the picture at t = 1 by Euler's method: the network says what picture p the noisy
one x is on its way to, so its velocity is `(p - x) / (1 - t)`. Guidance (Ho and Salimans, 2022) asks the network twice,
with and without what is wanted, and goes further in the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from insource.servers.flow_vocabulary import FIELDS, SIDE

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Quality = Literal["low", "medium", "high"]
STEPS: dict[Quality, int] = {"low": 8, "medium": 20, "high": 40}
"""Sampling steps of each quality."""
GUIDANCE = 2.0
"""How far: 1 is the network's own word."""
FOLDER = Path(__file__).parent / "flow_32"
WEIGHTS = "flow-32.onnx"
PROVENANCE = "flow-32.json"


class FlowModel:
    """The loaded network; called from several threads at once, one processor each."""

    def __init__(self, weights: bytes) -> None:
        """`weights` is the content of the ONNX file. Raises what ONNX Runtime raises for another file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            weights, sess_options=options, providers=["CPUExecutionProvider"]
        )

    def predict(self, x: NDArray[numpy.float32], t: float, condition: NDArray[numpy.int64]) -> NDArray[numpy.float32]:
        """The pictures [n, 3, 32, 32] that `x` of the same shape leads to at time `t`; `condition` [n, 4]."""
        import numpy as np

        times = np.full(len(x), t, np.float32)
        predicted: NDArray[numpy.float32] = self._session.run(
            ["picture"], {"x": x, "t": times, "condition": condition}
        )[0]
        return predicted

    def sample(
        self, condition: Sequence[int], seeds: Sequence[Sequence[int]], steps: int
    ) -> Iterator[NDArray[numpy.float32]]:
        """Pictures [n, 3, 32, 32] in -1..1 after each of `steps` steps; the last is the result.

        One picture per seed (whole numbers), all of the same `condition`; what a seed gives does not depend on others.
        """
        import numpy as np

        noise = [np.random.default_rng(seed).standard_normal((3, SIDE, SIDE), dtype=np.float32) for seed in seeds]
        x: NDArray[numpy.float32] = np.stack(noise)
        wanted = np.tile(np.array(condition, np.int64), (len(x), 1))
        both = np.concatenate([wanted, np.zeros((len(x), len(FIELDS)), np.int64)])
        for number in range(steps):
            t = number / steps
            told, free = np.split(self.predict(np.concatenate([x, x]), t, both), 2)
            picture = np.clip(free + GUIDANCE * (told - free), -1.0, 1.0)
            x = x + (picture - x) * np.float32(1 / (steps - number))  # (1 / steps) / (1 - t)
            yield x


def provenance() -> dict[str, Any]:
    """Where the committed weights come from: recipe, seed, SHA-256, figures."""
    read: dict[str, Any] = json.loads((FOLDER / PROVENANCE).read_text())
    return read
