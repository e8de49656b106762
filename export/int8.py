"""Static int8 for an ONNX graph: its linear layers and larger embeddings in eight bits, the rest in float.

The range of an activation is measured beforehand, so that the result of a text does not depend on its batch,
as it would with dynamic quantisation. Weights have a scale per output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from ..inference.layout import Ids

_SMALLEST_TABLE = 1024  # rows of an embedding worth eight bits
_OPERATORS = ["MatMul", "Gather"]


class _Batches(CalibrationDataReader):  # type: ignore[misc] # untyped in the library
    """Inputs of the graph by name, in the form that onnxruntime reads."""

    def __init__(self, batches: Iterator[dict[str, Ids]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Ids] | None:
        """Return the next batch, None at the end."""
        return next(self._batches, None)


def write_quantised(graph: ModelProto, batches: Iterator[dict[str, Ids]], out: Path) -> None:
    """Write a graph in int8, with the ranges that its activations have on some inputs by name."""
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    add_pre_process_metadata(graph)  # or the library warns that nothing was folded or fused before
    quantize_static(
        graph,
        out,
        _Batches(batches),
        op_types_to_quantize=_OPERATORS,
        nodes_to_quantize=[node.name for node in graph.graph.node if _is_quantised(node, constants)],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"OpTypesToExcludeOutputQuantization": _OPERATORS},
    )


def _is_quantised(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    if node.op_type == "MatMul":
        return node.input[1] in constants
    table = constants.get(node.input[0]) if node.op_type == "Gather" else None
    return table is not None and len(table.dims) == 2 and table.dims[0] >= _SMALLEST_TABLE
