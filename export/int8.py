"""Static int8 for an ONNX graph: its linear layers and larger embeddings in eight bits, the rest in float.

The scale and zero point of an activation come from a range that is measured beforehand, so that the result of
a text does not depend on its batch, as it would with dynamic quantisation. Weights have a scale per output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

EMPTY_RANGE = (0.0, 0.0)

_SMALLEST_TABLE = 1024  # rows of an embedding worth eight bits
_TINY = 1e-12
_MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators

Array = npt.NDArray[Any]
Range = tuple[float, float]  # minimum and maximum, with 0 between them


def linear_input_names(model: ModelProto) -> list[str]:
    """Return the names of the activations that are inputs of a linear layer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return sorted({node.input[0] for node in model.graph.node if _is_linear(node, weights)})


def with_outputs(model: ModelProto, names: Iterable[str]) -> bytes:
    """Return a serialised graph with these activations as its only outputs."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return bytes(copy.SerializeToString())


def extend_range(value_range: Range, values: Array) -> Range:
    """Return a range extended to include some values."""
    return min(value_range[0], float(values.min())), max(value_range[1], float(values.max()))


def quantise_graph(model: ModelProto, ranges: Mapping[str, Range]) -> ModelProto:
    """Return the graph with its linear layers and its larger embeddings in int8.

    `ranges` has those of `linear_input_names`.
    """
    quantised = ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    tensors = _Tensors(model)
    biases = dict(_biases(model, tensors.by_name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if _is_linear(node, tensors.by_name):
            bias = biases.get(node.output[0])
            nodes += _linear(node, bias, ranges[node.input[0]], tensors)
        elif _is_embedding(node, tensors.by_name):
            nodes += _embedding(node, tensors)
        elif not any(node.output[0] == output for _, output in biases.values()):
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in tensors.by_name.items() if name in used)
    quantised.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    return quantised


class _Tensors:
    """The constants of a graph, and those that quantisation adds."""

    def __init__(self, model: ModelProto) -> None:
        self.by_name: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}

    def add(self, name: str, values: Array) -> str:
        self.by_name[name] = numpy_helper.from_array(values, name)
        return name

    def add_weight(self, name: str) -> tuple[str, str, str]:
        """Add a weight `(inputs, outputs)` in int8; return the names of its values, scales, zero points."""
        weight = numpy_helper.to_array(self.by_name[name])
        scale = np.maximum(np.abs(weight).max(axis=0) / 127, _TINY).astype(np.float32)
        return (
            self.add(f"{name}_int8", np.rint(weight / scale).astype(np.int8)),
            self.add(f"{name}_scale", scale),
            self.add(f"{name}_zero", np.zeros(len(scale), np.int8)),
        )

    def add_activation(self, name: str, value_range: Range) -> tuple[str, str]:
        """Add the scale and zero point of an activation; return their names."""
        scale = max((value_range[1] - value_range[0]) / 255, _TINY)
        return (
            self.add(f"{name}_scale", np.array(scale, np.float32)),
            self.add(f"{name}_zero", np.array(round(-value_range[0] / scale), np.uint8)),
        )


def _linear(
    node: NodeProto, bias: tuple[str, str] | None, value_range: Range, tensors: _Tensors
) -> Iterator[NodeProto]:
    """Yield the rounding of an activation, if it is new, and the product in integers with its bias."""
    activation, weight = node.input
    is_new = f"{activation}_scale" not in tensors.by_name
    scale, zero_point = tensors.add_activation(activation, value_range)
    rounded = f"{activation}_uint8"
    if is_new:
        yield helper.make_node("QuantizeLinear", [activation, scale, zero_point], [rounded], rounded)
    table, scales, zero_points = tensors.add_weight(weight)
    inputs = [rounded, table, scale, scales, zero_point, zero_points]
    add, output = ([], node.output[0]) if bias is None else ([bias[0]], bias[1])
    yield helper.make_node("MatMulIntegerToFloat", inputs + add, [output], node.name, domain=_MICROSOFT)


def _embedding(node: NodeProto, tensors: _Tensors) -> Iterator[NodeProto]:
    """Yield a look-up of rows in int8, and their conversion to float."""
    output, rows = node.output[0], f"{node.output[0]}_int8"
    table, scales, zero_points = tensors.add_weight(node.input[0])
    yield helper.make_node("Gather", [table, node.input[1]], [rows], node.name)
    yield helper.make_node(
        "DequantizeLinear", [rows, scales, zero_points], [output], f"{output}_float", axis=2
    )


def _biases(model: ModelProto, constants: Mapping[str, TensorProto]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each linear product that only its bias reads, with the names of the bias and the sum."""
    products = {node.output[0] for node in model.graph.node if _is_linear(node, constants)}
    readers = [name for node in model.graph.node for name in node.input]
    single = {name for name in products if readers.count(name) == 1}
    for node in model.graph.node:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                if product in single and bias in constants and len(constants[bias].dims) == 1:
                    yield product, (bias, node.output[0])


def _is_linear(node: NodeProto, constants: Iterable[str]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in constants


def _is_embedding(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    table = constants.get(node.input[0]) if node.op_type == "Gather" else None
    return table is not None and len(table.dims) == 2 and table.dims[0] >= _SMALLEST_TABLE
