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


class _TracedClassifier(torch.nn.Module):
    """Inputs of one length to logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> torch.Tensor:
        logits: torch.Tensor = self.model(**_model_inputs(input_ids, token_type_ids)).logits
        return logits


class _TracedSentenceModel(torch.nn.Module):
    """Inputs of one length to sentence embeddings, pooling and what follows it included."""

    def __init__(self, modules: torch.nn.Sequential) -> None:
        super().__init__()
        self.modules_in_order = modules

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> torch.Tensor:
        features = _model_inputs(input_ids, token_type_ids)
        for module in self.modules_in_order:
            features = module(features)
        return features["sentence_embedding"]


def trace(name: str, model: TokenModel) -> onnx.ModelProto:
    """Return the graph of a model over inputs of one length, without padding or attention mask.

    Its inputs are `input_ids` and, where the model takes them, `token_type_ids`, each `(batch, length)
    int64`. Its only output is `(batch, dim) float32`.

    Raises:
        ModelError: torch cannot trace it.
    """
    module, output = (
        (_TracedClassifier(model.module), "logits")
        if model.texts_per_input == 2
        else (_TracedSentenceModel(model.module), "sentence_embedding")
    )
    ids = torch.full((2, 8), 4)
    inputs = (ids, torch.zeros_like(ids)) if model.takes_types else (ids,)
    names = ["input_ids", "token_type_ids"][: len(inputs)]
    try:
        with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
            file = Path(folder, "model.onnx")
            warnings.simplefilter("ignore")  # the tracer is deprecated
            torch.onnx.export(
                module.eval(),
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
    return _with_size(graph, model.dim)


def _with_size(graph: onnx.ModelProto, dim: int) -> onnx.ModelProto:
    """Set the size of the output, which the tracer leaves open after some layers."""
    shape = graph.graph.output[0].type.tensor_type.shape
    shape.dim[-1].dim_value = dim
    return graph


def _model_inputs(ids: torch.Tensor, types: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {"input_ids": ids} if types is None else {"input_ids": ids, "token_type_ids": types}
