"""`training.flow_network` as an ONNX graph, operation by operation, so that the server needs no JAX.

Weights are stored as float16 and cast when the model is loaded (ONNX Runtime folds the casts): half the file, and
computing stays in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from insource.servers.flow_vocabulary import CHOICES, FIELDS, SIDE
from training.flow_network import CELLS, FREQUENCIES, WIDTHS

OPSET = 18
Arrays = dict[str, NDArray[np.float32]]


def flow_model(parameters: Arrays, description: str) -> onnx.ModelProto:
    """Inputs `x` [n, 3, 32, 32], `t` [n], `condition` [n, 4] int64; output `picture` [n, 3, 32, 32]; all in -1..1."""
    graph = _Graph(parameters)
    _network(graph)
    n = "n"
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [n, 3, SIDE, SIDE]),
        helper.make_tensor_value_info("t", TensorProto.FLOAT, [n]),
        helper.make_tensor_value_info("condition", TensorProto.INT64, [n, len(FIELDS)]),
    ]
    outputs = [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [n, 3, SIDE, SIDE])]
    made = helper.make_graph(graph.nodes, "flow-32", inputs, outputs, graph.initializers)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, producer_name="insource", doc_string=description)
    model.ir_version = 9  # what every ONNX Runtime since 1.16 reads
    onnx.checker.check_model(model, full_check=True)
    return model


def _network(g: _Graph) -> None:
    """The lines of `flow_network.predict`, in its order."""
    angles = g.op("Mul", g.op("Unsqueeze", "t", g.integers(1)), g.constant(2.0 ** np.arange(FREQUENCIES) * 0.1))
    waves = g.op("Concat", g.op("Sin", angles), g.op("Cos", angles), axis=1)
    vector = g.op("MatMul", waves, g.weight("time.w"))
    columns = [g.op("Gather", "condition", g.integer(column), axis=1) for column in range(len(CHOICES))]
    for column, index in enumerate(columns):
        vector = g.op("Add", vector, g.op("Gather", g.weight(f"words{column}"), index, axis=0))
    vector = g.silu(g.op("Add", g.op("MatMul", vector, g.weight("vector.w")), g.weight("vector.b")))

    wide = g.conv(g.op("SpaceToDepth", "x", blocksize=2), "stem")
    wide = g.block(wide, "in16", vector)
    middle = g.block(g.conv(wide, "down8", stride=2), "in8", vector)
    deep = g.conv(middle, "down4", stride=2)
    pair = g.op("Add", g.op("Mul", columns[0], g.integer(len(CHOICES[1]) + 1)), columns[1])
    cells = g.op("Reshape", g.op("Gather", g.weight("pair"), pair, axis=0), g.integers(-1, CELLS, CELLS, WIDTHS[2]))
    deep = g.op("Add", deep, g.op("Transpose", cells, perm=[0, 3, 1, 2]))
    deep = g.block(deep, "mid", vector)
    middle = g.op("Add", middle, g.op("DepthToSpace", g.conv(deep, "up8"), blocksize=2))
    middle = g.block(middle, "out8", vector)
    wide = g.op("Add", wide, g.op("DepthToSpace", g.conv(middle, "up16"), blocksize=2))
    wide = g.block(wide, "out16", vector)
    g.op("DepthToSpace", g.conv(g.silu(g.norm(wide)), "head"), blocksize=2, output="picture")


class _Graph:
    """Nodes and constants as they are added; every method gives the name of a tensor."""

    def __init__(self, parameters: Arrays) -> None:
        self._parameters = parameters
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._weights: dict[str, str] = {}

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: int | Sequence[int]) -> str:
        name = output or f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, key: str) -> str:
        """A parameter as it is; `*.w` of a convolution by `conv`."""
        if key not in self._weights:
            self._weights[key] = self._stored(key, self._parameters[key])
        return self._weights[key]

    def constant(self, values: NDArray[np.floating[Any]]) -> str:
        return self._initializer(f"constant{len(self.initializers)}", values.astype(np.float32))

    def integer(self, value: int) -> str:
        return self._initializer(f"integer{len(self.initializers)}", np.array(value, np.int64))

    def integers(self, *values: int) -> str:
        return self._initializer(f"integers{len(self.initializers)}", np.array(values, np.int64))

    def conv(self, x: str, key: str, *, suffix: str = "", stride: int = 1) -> str:
        kernel = self._parameters[f"{key}.w{suffix}"]
        weights = self._stored(f"{key}.w{suffix}", kernel.transpose(3, 2, 0, 1))
        side = kernel.shape[0]
        pad = 1 if side == 3 else 0
        bias = self.weight(f"{key}.b{suffix}")
        return self.op("Conv", x, weights, bias, kernel_shape=[side, side], pads=[pad] * 4, strides=[stride, stride])

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def norm(self, x: str) -> str:
        square = self.op("ReduceMean", self.op("Mul", x, x), self.integers(1), keepdims=1)
        return self.op("Div", x, self.op("Sqrt", self.op("Add", square, self.constant(np.array(1e-5)))))

    def block(self, x: str, key: str, vector: str) -> str:
        inner = self.conv(self.silu(self.norm(x)), key, suffix="1")
        film = self.op("MatMul", vector, self.weight(f"{key}.film"))
        film = self.op("Unsqueeze", film, self.integers(2, 3))
        half = self._parameters[f"{key}.film"].shape[1] // 2
        scale = self.op("Slice", film, self.integers(0), self.integers(half), self.integers(1))
        shift = self.op("Slice", film, self.integers(half), self.integers(2 * half), self.integers(1))
        one = self.constant(np.array(1.0))
        inner = self.op("Add", self.op("Mul", self.norm(inner), self.op("Add", scale, one)), shift)
        return self.op("Add", x, self.conv(self.silu(inner), key, suffix="2"))

    def _stored(self, key: str, values: NDArray[np.float32]) -> str:
        self._initializer(key, values.astype(np.float16))
        return self.op("Cast", key, to=TensorProto.FLOAT, output=f"{key}.float32")

    def _initializer(self, name: str, values: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name
