"""An exported graph in onnxruntime, on the CPU."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TypeVar

import onnxruntime

from ..errors import ModelError
from ..inference.layout import Ids
from ..inference.locate import first_line
from ..rerank.scorer import CrossEncoder
from ..retrieval.encoder import BiEncoder
from ..schema import Floats

M = TypeVar("M", bound=BiEncoder | CrossEncoder)


class GraphModel:
    """A graph that `trace` made, over inputs of one length."""

    needs_filling = False

    def __init__(self, graph: Path) -> None:
        """Open the graph.

        Raises:
            ModelError: it cannot be loaded.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        try:
            self.session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(f"the exported graph cannot be loaded: {first_line(error)}") from error
        self._inputs = [tensor.name for tensor in self.session.get_inputs()]

    def run(self, ids: Ids, types: Ids) -> Floats:
        """Return the outputs for inputs of one length, `(n, length)` each, as `(n, dim) float32`."""
        inputs = {"input_ids": ids, "token_type_ids": types}
        outputs: Floats = self.session.run(None, {name: inputs[name] for name in self._inputs})[0]
        return outputs


def with_graph(model: M, graph: Path) -> M:
    """Return a copy of a model that computes by the graph it was exported to."""
    other, runner = copy(model), copy(model.runner)
    assert runner is not None, "only models over token ids are exported"
    other.runner, runner.forward = runner, GraphModel(graph)
    return other
