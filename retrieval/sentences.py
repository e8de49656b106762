"""A sentence-transformers model in torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from ..errors import ModelError
from ..inference.device import DeviceConfig
from ..inference.layout import LONGEST_INPUT, Ids
from ..inference.locate import first_line, is_bi_encoder
from ..inference.sizes import check_sizes
from ..inference.tables import check_tables, count_positions, find_longest_input
from ..inference.token_model import model_inputs
from ..schema import Floats


class SentenceModel:
    """A sentence-transformers model, with its tokenizer where it reads token ids.

    `max_length` is its longest input, special tokens included, and `dim` the length of its vectors.
    """

    texts_per_input = 1
    needs_filling = True  # False in int8

    def __init__(self, name: str, folder: Path, device: DeviceConfig) -> None:
        """Load the model from a local folder.

        Raises:
            ModelError: it cannot be loaded, or is not a bi-encoder.
        """
        self._source = name, folder, device
        self.load(device.loading_dtype)
        self.dim = int(self.module.get_embedding_dimension() or 0)
        self.tokenizer = _fast_tokenizer(self.module)
        self.takes_types = False
        limit = self.module.max_seq_length or 512
        if self.tokenizer is None:
            self.max_length = int(min(limit, LONGEST_INPUT))
        else:
            transformer: Any = self.module[0].auto_model
            self.takes_types = "token_type_ids" in self.module.tokenizer.model_input_names
            layout = check_tables(name, self.tokenizer, transformer, 1, types=self.takes_types)
            positions = count_positions(transformer) or LONGEST_INPUT
            self.max_length = find_longest_input(name, layout, limit, positions)
        self._device = device.device

    def load(self, dtype: torch.dtype) -> None:
        """Load the model, again where it is loaded already."""
        self.module = _load_model(*self._source, dtype)

    def run(self, ids: Ids, types: Ids) -> Floats:
        """Return the vectors of inputs of one length, `(n, length)` each, as `(n, dim) float32`."""
        features = model_inputs(ids, types, self._device, takes_types=self.takes_types)
        features["attention_mask"] = torch.ones_like(features["input_ids"])
        with torch.inference_mode():
            vectors: Floats = self.module(features)["sentence_embedding"].float().cpu().numpy()
        return vectors

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of texts, `(n, dim) float32`, by the model's own `encode`."""
        vectors: torch.Tensor = self.module.encode(
            list(texts), convert_to_tensor=True, show_progress_bar=False
        )
        return vectors.float().cpu().numpy()


def _load_model(name: str, folder: Path, device: DeviceConfig, dtype: torch.dtype) -> SentenceTransformer:
    if not is_bi_encoder(folder):
        raise ModelError(
            f"model {name} is not a bi-encoder: {folder} is not a sentence-transformers embedding model "
            "(it lacks the modules.json of one); set retrieval.bi_encoder to one, such as all-MiniLM-L6-v2"
        )
    weights = (p for p in folder.rglob("pytorch_model*.bin") if not any(p.parent.glob("*.safetensors")))
    if (pickled := next(weights, None)) is not None:
        raise ModelError(
            f"model {name}: {pickled.relative_to(folder)} is a pickle, which can run code: "
            "save the model again with safetensors"
        )
    check_sizes(name, folder)
    try:
        model = SentenceTransformer(
            str(folder),
            device=str(device.device),
            local_files_only=True,
            trust_remote_code=device.trust_remote_code,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:
        raise ModelError(f"model {name} cannot be loaded as a bi-encoder: {first_line(error)}") from error
    if not hasattr(model[0], "tokenize") and not hasattr(model[0], "preprocess"):
        kind = type(model[0]).__name__
        raise ModelError(f"model {name} starts with {kind}, which reads no text: correct its modules.json")
    return model.to(dtype).eval()


def _fast_tokenizer(model: SentenceTransformer) -> Tokenizer | None:
    backend = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
    plain = type(model[0]).__name__ == "Transformer" and not model.default_prompt_name
    return backend if plain and isinstance(backend, Tokenizer) else None
