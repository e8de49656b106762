"""An exported model: its graph in onnxruntime instead of torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from ..errors import ModelError
from ..schema import Floats
from .device import DeviceConfig
from .locate import first_line, read_config

log = logging.getLogger(__name__)

GRAPH = "model.onnx"
RECORD = "onnx.json"  # made by `dupmine export`; a model.onnx without it is somebody else's
INSTALL = "pip install 'dupmine[onnx]'"

# Slower on CPUs than what they put together: one works row by row in doubles, the other twice over memory.
_SLOW_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]

Ids = npt.NDArray[np.int64]


class OnnxModel:
    """A model that `dupmine export` wrote.

    It takes inputs of one length each, so its graph has no attention mask. `max_length` is its longest
    input, special tokens included, and `dim` the number of its outputs per input: labels or dimensions.
    """

    needs_filling = False  # a row's result is the same to the bit among 2 rows or 200

    def __init__(
        self, name: str, folder: Path, compute: DeviceConfig, *, kind: Literal["bi-encoder", "cross-encoder"]
    ) -> None:
        """Load the graph and the tokenizer.

        Raises:
            ModelError: it cannot be loaded, is of the other kind, or onnxruntime is not installed.
        """
        record = read_config(folder, RECORD)
        if record.get("kind") != kind:
            raise ModelError(f"model {name} is no {kind}: its {RECORD} says {record.get('kind')}")
        self.config = read_config(folder)
        self.precision = str(record.get("weights", "fp32"))
        self.max_length = int(record["max_length"])
        self.tokenizer = _load_tokenizer(name, folder)
        self._session = open_session(name, folder / GRAPH, compute.device)
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self.dim = int(self._session.get_outputs()[0].shape[-1])

    def run(self, ids: Ids, types: Ids) -> Floats:
        """Return the outputs for inputs of one length, `(n, length)` each, as `(n, dim) float32`."""
        given = {"input_ids": ids, "token_type_ids": types}
        if len(ids) == 1:  # by itself it may go through another kernel, with another rounding
            given = {name: values.repeat(2, axis=0) for name, values in given.items()}
        outputs: Floats = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        return outputs[: len(ids)]


def is_exported(folder: Path) -> bool:
    """Whether a model's folder was written by `dupmine export`."""
    return (folder / RECORD).is_file()


def open_session(name: str, graph: Path | bytes, device: torch.device) -> Any:
    """Open a graph in onnxruntime, with the threads of torch.

    Raises:
        ModelError: it cannot be loaded, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(f"model {name} is an ONNX graph, which needs onnxruntime: {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _providers(name, device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph),
            options,
            providers=providers,
            disabled_optimizers=_SLOW_FUSIONS if len(providers) == 1 else None,
        )
    except Exception as error:
        raise ModelError(f"model {name}: {GRAPH} cannot be loaded: {first_line(error)}") from error


def _providers(name: str, device: torch.device, available: list[str]) -> list[Any]:
    """Return where a graph runs, the best place first."""
    if device.type == "cuda" and "CUDAExecutionProvider" in available:
        return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]
    if device.type != "cpu":
        log.warning("model %s runs on the CPU: this onnxruntime has nothing for %s", name, device)
    return ["CPUExecutionProvider"]


def _load_tokenizer(name: str, folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare ones
        raise ModelError(f"model {name}: its tokenizer.json cannot be loaded: {first_line(error)}") from error
