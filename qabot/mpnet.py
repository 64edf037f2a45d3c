"""The network of qabot's larger reader (MPNet with two heads) as an ONNX graph.

Owns: the graph, in float32 or int8, from weights by name. Refuses to know where weights come from and where the
graph goes. Needs no torch: the graph is written node by node, and the weights are quantised here.

int8: every product's weights are rounded with one scale a column; its input is scaled at run time, by its largest
value. In MPNet a few channels of those inputs are up to 50 times larger than the rest, which leaves the rest a few
steps of 255. Such channels go `apart`: their share of the product is computed in float32 and added (as LLM.int8 does;
Dettmers et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Channels = NDArray[np.integer[Any]]
Weight = Callable[[str], Floats]
"""The weight of a name as torch holds it: (rows, columns) = (outputs, inputs) of a product."""

SENTENCES = 8
"""How many sentences of a window get a score."""
NO_SENTENCE = -1e4
QUESTION_PART = -1
OPSET = 20
FURTHEST = 128
"""Distance of two tokens, in tokens, beyond which MPNet tells no difference."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the weights don't say: numbers of layers, attention heads and distance buckets; LayerNorm's epsilon."""

    layers: int
    heads: int
    buckets: int
    epsilon: float


def reader_model(
    shape: Shape, weight: Weight, *, int8: bool = True, apart: Mapping[str, Channels] | None = None
) -> ModelProto:
    """The reader. Inputs, int64 (batch, length): `ids`, `mask` (1: a token, 0: padding after the last one), `parts`
    (0 nothing, -1 question, 1.. sentence). Outputs: `sentences` (batch, 8) log odds, -1e4 where there is no such
    sentence, and `passage` (batch,).

    weight: gives `backbone.` and Hugging Face's name for MPNet's weights, `sentence.`, `passage.`, `scale` and `bias`
    for the heads'. apart: product -> channels of its input that are not rounded; a product is called by its layer and
    its place: `0.attention`, `0.mixed`, `0.inner` (attention's three in one, its output, the first feed-forward) and
    `0.outer` (the second).
    """
    graph = _Graph(int8, apart or {})
    hidden = _encoded(graph, shape, weight)
    _heads(graph, hidden, weight)
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"]) for n in ("ids", "mask", "parts")
    ]
    outputs = [
        helper.make_tensor_value_info("sentences", TensorProto.FLOAT, ["batch", SENTENCES]),
        helper.make_tensor_value_info("passage", TensorProto.FLOAT, ["batch"]),
    ]
    made = helper.make_graph(graph.nodes, "reader", inputs, outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


class _Graph:
    """Nodes and constants as they are added; every value is known by the name of its output."""

    def __init__(self, int8: bool, apart: Mapping[str, Channels]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []
        self._int8, self._apart = int8, apart

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node; its first output, the others being called the same with `.1`, `.2`."""
        name = f"v{len(self.nodes)}"
        names = [name, *(f"{name}.{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return name

    def rename(self, value: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def floats(self, *values: float) -> str:
        return self.constant(np.array(values, np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def product(self, value: str, weight: Floats, bias: Floats, name: str = "") -> str:
        """value (.., inputs) -> (.., outputs). Only a product with a name is made int8."""
        matrix = weight.T
        if not (self._int8 and name):
            return self.add("Add", self.add("MatMul", value, self.constant(matrix)), self.constant(bias))
        added = self.constant(bias)
        channels = self._apart.get(name)
        if channels is not None and len(channels):
            kept = np.ones(len(matrix), np.float32)
            kept[channels] = 0
            large = self.add("Gather", value, self.constant(np.asarray(channels, np.int64)), axis=-1)
            added = self.add("Add", self.add("MatMul", large, self.constant(matrix[channels])), added)
            value, matrix = self.add("Mul", value, self.constant(kept)), matrix * kept[:, None]
        rounded, scale = quantised(matrix, axis=0)
        small = self.add("DynamicQuantizeLinear", value, outputs=3)
        whole = self.add("MatMulInteger", small, self.constant(rounded), f"{small}.2")
        scales = self.add("Mul", f"{small}.1", self.constant(scale))
        found = self.add("Mul", self.add("Cast", whole, to=TensorProto.FLOAT), scales)
        return self.add("Add", found, added)

    def rows(self, numbers: str, table: Floats) -> str:
        """The rows of a table."""
        if not self._int8:
            return self.add("Gather", self.constant(table), numbers)
        rounded, scale = quantised(table, axis=1)
        found = self.add("Cast", self.add("Gather", self.constant(rounded), numbers), to=TensorProto.FLOAT)
        return self.add("Mul", found, self.add("Gather", self.constant(scale[:, None]), numbers))

    def normed(self, value: str, weight: Weight, name: str, epsilon: float) -> str:
        scale, bias = self.constant(weight(f"{name}.weight")), self.constant(weight(f"{name}.bias"))
        return self.add("LayerNormalization", value, scale, bias, axis=-1, epsilon=epsilon)


def quantised(matrix: Floats, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """The matrix as int8 and the scales, one for each column (axis 0) or row (axis 1), that give it back."""
    largest = np.abs(matrix).max(axis=axis)
    scale = (np.where(largest > 0, largest, 1.0) / 127).astype(np.float32)
    rounded = np.rint(matrix / np.expand_dims(scale, axis))
    return rounded.astype(np.int8), scale


def buckets_of(distances: NDArray[np.int64], buckets: int) -> NDArray[np.int64]:
    """T5's buckets of relative positions (key - query): each side has half of them, the nearer half of these one a
    position, the others ever wider (logarithmic) up to `FURTHEST`."""
    half = buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # float32, as torch computes it: at a border the last bit decides.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.float32(np.log(FURTHEST / exact))
    wide = exact + (ratio * np.float32(half - exact)).astype(np.int64)
    return np.where(distances > 0, half, 0) + np.where(size < exact, size, np.minimum(wide, half - 1))


def _encoded(graph: _Graph, shape: Shape, weight: Weight) -> str:
    """(batch, length, width): MPNet's last layer."""

    def of(name: str) -> Floats:
        return weight(f"backbone.{name}")

    one = graph.integers(1)
    # Positions count from the padding token's number, 1, over what is no padding.
    counted = graph.add("Mul", graph.add("CumSum", "mask", one), "mask")
    positions = of("embeddings.position_embeddings.weight")
    found = graph.add(
        "Add",
        graph.rows("ids", of("embeddings.word_embeddings.weight")),
        graph.add("Gather", graph.constant(positions), graph.add("Add", counted, one)),
    )
    hidden = graph.normed(found, of, "embeddings.LayerNorm", shape.epsilon)
    nearness = _nearness(graph, of("encoder.relative_attention_bias.weight"), shape.buckets, len(positions))
    absent = graph.add("Sub", graph.floats(1.0), graph.add("Cast", "mask", to=TensorProto.FLOAT))
    hiding = graph.add("Mul", absent, graph.floats(-1e9))
    added = graph.add("Add", nearness, graph.add("Unsqueeze", hiding, graph.integers(1, 2)))
    for number in range(shape.layers):
        hidden = _layer(graph, shape, of, number, hidden, added)
    return hidden


def _nearness(graph: _Graph, table: Floats, buckets: int, longest: int) -> str:
    """(heads, length, length): what the distance of two tokens adds to their attention; the same in every layer."""
    values = table[buckets_of(np.arange(1 - longest, longest), buckets)].T
    zero = graph.constant(np.array(0))
    length = graph.add("Squeeze", graph.add("Shape", "ids", start=1, end=2), graph.integers(0))
    places = graph.add("Range", zero, length, graph.constant(np.array(1)))
    key, query = graph.add("Unsqueeze", places, graph.integers(0)), graph.add("Unsqueeze", places, graph.integers(1))
    row = graph.add("Add", graph.add("Sub", key, query), graph.integers(longest - 1))
    return graph.add("Gather", graph.constant(values), row, axis=1)


def _layer(graph: _Graph, shape: Shape, of: Weight, number: int, hidden: str, added: str) -> str:
    name = f"encoder.layer.{number}"

    def both(part: str) -> tuple[Floats, Floats]:
        return of(f"{name}.{part}.weight"), of(f"{name}.{part}.bias")

    q, k, v = (both(f"attention.attn.{part}") for part in "qkv")
    width = len(q[1])
    head = width // shape.heads
    # Queries are divided here, in their weights, by the root of a head's width.
    root = np.float32(np.sqrt(head))
    weights, biases = np.concatenate([q[0] / root, k[0], v[0]]), np.concatenate([q[1] / root, k[1], v[1]])
    three = graph.product(hidden, weights, biases, f"{number}.attention")
    parts = graph.add("Reshape", three, graph.integers(0, 0, 3 * shape.heads, head))
    split = graph.add("Split", parts, outputs=3, axis=2, num_outputs=3)
    queries = graph.add("Transpose", split, perm=[0, 2, 1, 3])
    keys = graph.add("Transpose", f"{split}.1", perm=[0, 2, 3, 1])
    values = graph.add("Transpose", f"{split}.2", perm=[0, 2, 1, 3])
    attention = graph.add("Softmax", graph.add("Add", graph.add("MatMul", queries, keys), added), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", attention, values), perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", mixed, graph.integers(0, 0, width))
    mixed = graph.product(mixed, *both("attention.attn.o"), f"{number}.mixed")
    hidden = graph.normed(graph.add("Add", mixed, hidden), of, f"{name}.attention.LayerNorm", shape.epsilon)
    inner = graph.add("Gelu", graph.product(hidden, *both("intermediate.dense"), f"{number}.inner"))
    outer = graph.product(inner, *both("output.dense"), f"{number}.outer")
    return graph.normed(graph.add("Add", outer, hidden), of, f"{name}.output.LayerNorm", shape.epsilon)


def _heads(graph: _Graph, hidden: str, weight: Weight) -> None:
    """training/reader.py says what is computed here."""
    one, two = graph.integers(1), graph.integers(2)
    parts = graph.add("Unsqueeze", "parts", one)
    numbers = graph.constant(np.arange(1, SENTENCES + 1).reshape(1, SENTENCES, 1))

    def pooled(wanted: str) -> tuple[str, str]:
        """The mean of the tokens of each wanted part, and how many there are."""
        member = graph.add("Cast", graph.add("Equal", parts, wanted), to=TensorProto.FLOAT)
        count = graph.add("ReduceSum", member, two, keepdims=1)
        return graph.add("Div", graph.add("MatMul", member, hidden), graph.add("Max", count, graph.floats(1.0))), count

    sentences, count = pooled(numbers)
    question, _ = pooled(graph.integers(QUESTION_PART))
    question = graph.add("Expand", question, graph.add("Shape", sentences))
    both = graph.add("Mul", sentences, question)
    lengths = [graph.add("Max", graph.add("ReduceL2", x, two), graph.floats(1e-8)) for x in (sentences, question)]
    near = graph.add("Div", graph.add("ReduceSum", both, two), graph.add("Mul", *lengths))
    scaled = graph.add("Mul", near, graph.constant(weight("scale").reshape(1)))
    scaled = graph.add("Add", scaled, graph.constant(weight("bias").reshape(1)))
    features = graph.add("Concat", sentences, question, both, axis=2)
    logits = graph.add("Squeeze", graph.add("Add", scaled, _perceptron(graph, features, weight, "sentence")), two)
    there = graph.add("Squeeze", graph.add("Greater", count, graph.floats(0.0)), two)
    logits = graph.add("Where", there, logits, graph.floats(NO_SENTENCE))
    graph.rename(logits, "sentences")
    first = graph.add("Gather", hidden, graph.constant(np.array(0)), axis=1)
    best = graph.add("ReduceLogSumExp", logits, one)
    graph.rename(
        graph.add("Squeeze", graph.add("Add", best, _perceptron(graph, first, weight, "passage")), one), "passage"
    )


def _perceptron(graph: _Graph, value: str, weight: Weight, name: str) -> str:
    """LayerNorm, product, GELU, product to one value (nn.Sequential's numbers)."""
    value = graph.normed(value, weight, f"{name}.0", 1e-5)
    value = graph.add("Gelu", graph.product(value, weight(f"{name}.1.weight"), weight(f"{name}.1.bias")))
    return graph.product(value, weight(f"{name}.3.weight"), weight(f"{name}.3.bias"))
