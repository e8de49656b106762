"""From a torch model to an ONNX graph."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from ..errors import ModelError
from ..inference.locate import first_line
from ..inference.token_model import TokenModel

OPSET = 17


class _Traced(torch.nn.Module):
    """From inputs of one length to one output of a model: `logits`, or `sentence_embedding` after pooling."""

    def __init__(self, model: torch.nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> torch.Tensor:
        inputs = {"input_ids": input_ids}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        outputs = self.model(**inputs) if self.output == "logits" else self.model(inputs)
        output: torch.Tensor = outputs[self.output]
        return output


def trace(name: str, model: TokenModel) -> onnx.ModelProto:
    """Return the graph of a model over inputs of one length, without padding or attention mask.

    Its inputs are `input_ids` and, where the model takes them, `token_type_ids`, each `(batch, length)
    int64`. Its only output is `(batch, dim) float32`.

    Raises:
        ModelError: torch cannot trace it.
    """
    output = "logits" if model.texts_per_input == 2 else "sentence_embedding"
    ids = torch.full((2, 8), 4)
    inputs = (ids, torch.zeros_like(ids)) if model.takes_types else (ids,)
    names = ["input_ids", "token_type_ids"][: len(inputs)]
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
            file = Path(folder, "model.onnx")
            warnings.simplefilter("ignore")  # the tracer is deprecated
            torch.onnx.export(
                _Traced(model.module, output).eval(),
                inputs,
                file,
                input_names=names,
                output_names=[output],
                dynamic_axes={name: {0: "batch", 1: "length"} for name in names} | {output: {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )
            graph = onnx.load(file)
    except Exception as error:
        raise ModelError(f"model {name} cannot be traced as an ONNX graph: {first_line(error)}") from error
    # The tracer leaves the size open after some layers.
    graph.graph.output[0].type.tensor_type.shape.dim[-1].dim_value = model.dim
    return graph
