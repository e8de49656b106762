"""Static int8: weights and activations of the linear layers in eight bits, all else in float.

The range of each activation is fixed beforehand, so that a text's result does not depend on its batch, as it
would with dynamic quantisation. Weights have one scale per output, activations one per tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

NOTHING = (0.0, 0.0)

_SMALLEST_TABLE = 1024  # rows of an embedding worth eight bits
_TINY = 1e-12
_MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators

Array = npt.NDArray[Any]
Range = tuple[float, float]  # the least and the greatest value, 0 among them


def linear_inputs(model: ModelProto) -> list[str]:
    """Return the names of the activations that enter a linear layer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return sorted({node.input[0] for node in model.graph.node if _is_linear(node, weights)})


def exposing(model: ModelProto, names: Iterable[str]) -> bytes:
    """Return a graph that puts out these activations and nothing else."""
    exposed = ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return bytes(exposed.SerializeToString())


def widened(seen: Range, values: Array) -> Range:
    """Return a range that takes in some values."""
    return min(seen[0], float(values.min())), max(seen[1], float(values.max()))


def quantise(model: ModelProto, ranges: Mapping[str, Range]) -> ModelProto:
    """Return the graph with its linear layers and its larger embeddings in int8.

    `ranges` has those of `linear_inputs`.
    """
    quantised = ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    tensors = _Tensors(model)
    biases = dict(_biases(model, tensors.known))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if _is_linear(node, tensors.known):
            bias = biases.get(node.output[0])
            nodes += _linear(node, bias, ranges[node.input[0]], tensors)
        elif _is_embedding(node, tensors.known):
            nodes += _embedding(node, tensors)
        elif not any(node.output[0] == output for _, output in biases.values()):
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in tensors.known.items() if name in used)
    quantised.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    return quantised


class _Tensors:
    """The constants of a graph by name, and those that quantisation adds."""

    def __init__(self, model: ModelProto) -> None:
        self.known: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}

    def add(self, name: str, values: Array) -> str:
        self.known[name] = numpy_helper.from_array(values, name)
        return name

    def add_weight(self, name: str) -> tuple[str, str, str]:
        """Add a weight `(inputs, outputs)` in int8; return its name, that of its scales and its zeros."""
        weight = numpy_helper.to_array(self.known[name])
        scale = np.maximum(np.abs(weight).max(axis=0) / 127, _TINY).astype(np.float32)
        return (
            self.add(f"{name}_int8", np.rint(weight / scale).astype(np.int8)),
            self.add(f"{name}_scale", scale),
            self.add(f"{name}_zero", np.zeros(len(scale), np.int8)),
        )

    def add_range(self, name: str, seen: Range) -> tuple[str, str]:
        """Add the scale and the zero of an activation rounded to 256 steps; return their names."""
        scale = max((seen[1] - seen[0]) / 255, _TINY)
        return (
            self.add(f"{name}_scale", np.array(scale, np.float32)),
            self.add(f"{name}_zero", np.array(round(-seen[0] / scale), np.uint8)),
        )


def _linear(
    node: NodeProto, bias: tuple[str, str] | None, seen: Range, tensors: _Tensors
) -> Iterator[NodeProto]:
    """Yield an activation's rounding, where it is new, and the product in integers with its bias."""
    activation, weight = node.input
    known = f"{activation}_scale" in tensors.known
    scale, zero = tensors.add_range(activation, seen)
    rounded = f"{activation}_uint8"
    if not known:
        yield helper.make_node("QuantizeLinear", [activation, scale, zero], [rounded], rounded)
    table, scales, zeros = tensors.add_weight(weight)
    inputs = [rounded, table, scale, scales, zero, zeros]
    add, output = ([], node.output[0]) if bias is None else ([bias[0]], bias[1])
    yield helper.make_node("MatMulIntegerToFloat", inputs + add, [output], node.name, domain=_MICROSOFT)


def _embedding(node: NodeProto, tensors: _Tensors) -> Iterator[NodeProto]:
    """Yield a look-up of rows in int8, and what makes them float."""
    output, rows = node.output[0], f"{node.output[0]}_int8"
    table, scales, zeros = tensors.add_weight(node.input[0])
    yield helper.make_node("Gather", [table, node.input[1]], [rows], node.name)
    yield helper.make_node("DequantizeLinear", [rows, scales, zeros], [output], f"{output}_float", axis=2)


def _biases(model: ModelProto, known: Mapping[str, TensorProto]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each linear product that goes nowhere but to its bias, with the bias and the sum."""
    products = {node.output[0] for node in model.graph.node if _is_linear(node, known)}
    readers = [name for node in model.graph.node for name in node.input]
    single = {name for name in products if readers.count(name) == 1}
    for node in model.graph.node:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                if product in single and bias in known and len(known[bias].dims) == 1:
                    yield product, (bias, node.output[0])


def _is_linear(node: NodeProto, known: Iterable[str]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in known


def _is_embedding(node: NodeProto, known: Mapping[str, TensorProto]) -> bool:
    table = known.get(node.input[0]) if node.op_type == "Gather" else None
    return table is not None and len(table.dims) == 2 and table.dims[0] >= _SMALLEST_TABLE
