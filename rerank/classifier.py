"""A sequence classifier in torch."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ..errors import ModelError
from ..inference.device import DeviceConfig
from ..inference.first_token import limit_to_first_token
from ..inference.layout import Ids
from ..inference.locate import first_line, read_config
from ..inference.sizes import check_sizes
from ..inference.tables import check_tables, count_positions, find_longest_input
from ..inference.token_model import model_inputs
from ..schema import Floats


class Classifier:
    """Any Hugging Face sequence classifier over pairs, with its tokenizer.

    `max_length` is its longest input, special tokens included, and `dim` the number of its labels.
    """

    texts_per_input = 2
    needs_filling = True  # False in int8

    def __init__(self, name: str, folder: Path, device: DeviceConfig) -> None:
        """Load the model from a local folder.

        Raises:
            ModelError: it cannot be loaded, or has no trained classification head.
        """
        self._source = name, folder, device
        self.load(device.loading_dtype)
        self.config = self.module.config.to_dict()
        self.dim = int(self.module.config.num_labels or 0)
        wrapper = _load_tokenizer(name, folder, device)
        self.tokenizer = wrapper.backend_tokenizer
        self.takes_types = "token_type_ids" in wrapper.model_input_names
        layout = check_tables(name, self.tokenizer, self.module, self.texts_per_input, types=self.takes_types)
        positions = count_positions(self.module) or self.config.get("max_position_embeddings") or 512
        self.max_length = find_longest_input(name, layout, wrapper.model_max_length, positions)
        self._device = device.device

    def load(self, dtype: torch.dtype) -> None:
        """Load the model, again where it is loaded already."""
        self.module = _load_model(*self._source, dtype)
        if self._source[2].device.type == "cuda":  # on a CPU a result would depend on the rest of its batch
            limit_to_first_token(self.module)

    def run(self, ids: Ids, types: Ids) -> Floats:
        """Return the outputs for inputs of one length, `(n, length)` each, as `(n, dim) float32`."""
        inputs = model_inputs(ids, types, self._device, takes_types=self.takes_types)
        with torch.inference_mode():
            raw: Floats = self.module(**inputs).logits.float().cpu().numpy()
        return raw


def _load_model(name: str, folder: Path, device: DeviceConfig, dtype: torch.dtype) -> PreTrainedModel:
    architectures = read_config(folder).get("architectures") or []
    check_sizes(name, folder)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            dtype=dtype,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=device.trust_remote_code,
        )
    except Exception as error:
        raise ModelError(f"model {name} cannot be loaded as a cross-encoder: {first_line(error)}") from error
    if info["missing_keys"]:
        raise ModelError(
            f"model {name} is not a cross-encoder: it is a {' '.join(architectures) or 'model'} without a "
            "trained classification head; set rerank.cross_encoder to a sequence classifier over pairs"
        )
    loaded: PreTrainedModel = model.to(device.device).eval()
    return loaded


def _load_tokenizer(name: str, folder: Path, device: DeviceConfig) -> PreTrainedTokenizerFast:
    try:
        wrapper = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=device.trust_remote_code
        )
    except Exception as error:
        raise ModelError(
            f"model {name}: its tokenizer cannot be loaded (is tokenizer.json whole?): {first_line(error)}"
        ) from error
    if not isinstance(wrapper, PreTrainedTokenizerFast):
        raise ModelError(f"model {name} has no fast tokenizer; save it with its tokenizer.json")
    return wrapper
