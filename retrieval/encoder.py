"""The bi-encoder: texts to unit vectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from ..errors import ModelError
from ..inference.batches import filled, length_batches
from ..inference.compute import Compute
from ..inference.layout import LONGEST_INPUT, find_layout, require_vocabulary
from ..inference.locate import fingerprint, first_line, locate_model, read_config
from ..progress import Progress
from ..schema import Rows, TokenStore
from ..store.files import claim
from ..store.work import Work, shard_name

log = logging.getLogger(__name__)

SHARD = 16_384  # texts

Embeddings = npt.NDArray[np.float16]


class TextEncoder(Protocol):
    """What stage 1 needs of a bi-encoder."""

    dim: int
    max_tokens: int
    tokenizer: Tokenizer | None

    def encode(
        self,
        texts: Sequence[str],
        tokens: TokenStore | None,
        out: Embeddings,
        progress: Progress,
        *,
        fill: bool = True,
    ) -> None:
        """Write one unit vector per text into `out`, `(n_texts, dim)`."""


class BiEncoder:
    """A sentence-transformers model.

    Models that start with a transformer and a fast tokenizer, and have no prompt, take token ids
    (`tokenizer` is set); any other goes through `SentenceTransformer.encode`.
    """

    def __init__(self, name: str, compute: Compute) -> None:
        """Load a model.

        Raises:
            ModelError: it cannot be found or loaded, or is no bi-encoder.
        """
        self.folder = locate_model(name)
        self._compute = compute
        self._model = _load(name, self.folder, compute)
        self.sha256 = fingerprint(self.folder)
        self.dim = int(self._model.get_embedding_dimension() or 0)
        self.tokenizer = _fast_tokenizer(self._model)
        longest = int(min(self._model.max_seq_length or 512, LONGEST_INPUT))
        if self.tokenizer is None:
            log.info("bi-encoder %s takes texts, not token ids: slower", name)
            self.max_tokens = longest
        else:
            require_vocabulary(name, self.tokenizer)
            self._layout = find_layout(self.tokenizer, 1)
            self._limit = longest
            self.max_tokens = longest - self._layout.n_special

    def encode(
        self,
        texts: Sequence[str],
        tokens: TokenStore | None,
        out: Embeddings,
        progress: Progress,
        *,
        fill: bool = True,
    ) -> None:
        """Write one unit vector per text into `out`, `(n_texts, dim) float16`.

        `tokens` holds the texts as this model's token ids; without a tokenizer it is not needed. Without
        `fill` few texts take less time, and their last bits depend on how many they are.
        """
        with progress.bar("embed", len(texts), "texts") as bar, torch.inference_mode():
            for batch in self._batches(texts, tokens):
                vectors = self._forward(texts, tokens, batch, fill)
                unit = torch.nn.functional.normalize(vectors.float(), dim=1)
                out[batch] = unit.cpu().numpy().astype(np.float16)
                bar.update(len(batch))

    def _batches(self, texts: Sequence[str], tokens: TokenStore | None) -> list[npt.NDArray[np.int64]]:
        if self.tokenizer is None or tokens is None:
            order = np.argsort([-len(text) for text in texts], kind="stable")
            return [order[i : i + 1024] for i in range(0, len(order), 1024)]
        lengths = self._layout.lengths(tokens, (np.arange(len(texts)),), self._limit)
        return list(length_batches(lengths, self._compute.batch_tokens))

    def _forward(
        self, texts: Sequence[str], tokens: TokenStore | None, batch: npt.NDArray[np.int64], fill: bool
    ) -> torch.Tensor:
        if self.tokenizer is None or tokens is None:
            return self._model.encode(
                [texts[i] for i in batch], convert_to_tensor=True, show_progress_bar=False
            )
        length = int(self._layout.lengths(tokens, (batch[:1],), self._limit)[0])
        rows = filled(batch, length, self._compute.batch_tokens) if fill else batch
        ids, types = self._layout.assemble(tokens, (rows,), self._limit)
        features = {
            "input_ids": torch.from_numpy(ids).to(self._compute.device),
            "attention_mask": torch.ones(ids.shape, dtype=torch.int64, device=self._compute.device),
        }
        if "token_type_ids" in self._model.tokenizer.model_input_names:
            features["token_type_ids"] = torch.from_numpy(types).to(self._compute.device)
        embedding: torch.Tensor = self._model(features)["sentence_embedding"]
        return embedding[: len(batch)]


def embed(
    encoder: TextEncoder, texts: Sequence[str], tokens: TokenStore | None, work: Work, progress: Progress
) -> Embeddings:
    """Encode all texts, those of similar length in one shard of `work`.

    Returns one mapped file of `work` in the order of the texts, `(n_texts, dim) float16`, unit rows.
    """
    if not texts:
        return np.empty((0, encoder.dim), np.float16)
    lengths = np.array([len(text) for text in texts]) if tokens is None else tokens.lengths
    order = np.argsort(-lengths, kind="stable")
    path = work.folder / "embeddings.float16"
    claim(path, len(texts) * encoder.dim * 2)
    out = np.memmap(path, np.float16, "r+", shape=(len(texts), encoder.dim))
    with progress.bar("embed", len(texts), "texts") as bar:
        for start in range(0, len(texts), SHARD):
            rows = order[start : start + SHARD]
            out[rows] = _embed_shard(encoder, texts, tokens, rows, work, progress.within(bar))
            bar.update(start + len(rows) - bar.n)
    return out


def _embed_shard(
    encoder: TextEncoder,
    texts: Sequence[str],
    tokens: TokenStore | None,
    rows: Rows,
    work: Work,
    progress: Progress,
) -> Embeddings:
    own_texts = [texts[row] for row in rows]
    own_tokens = None if tokens is None else tokens.take(rows)

    def make() -> Embeddings:
        out = np.empty((len(rows), encoder.dim), np.float16)
        encoder.encode(own_texts, own_tokens, out, progress)
        return out

    if own_tokens is None:
        return work.array(shard_name("embeddings", *(text.encode() for text in own_texts)), make)
    return work.array(shard_name("embeddings", own_tokens.offsets, own_tokens.ids), make)


def _load(name: str, folder: Path, compute: Compute) -> SentenceTransformer:
    kind = read_config(folder, "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    if not (folder / "modules.json").is_file() or kind != "SentenceTransformer":
        raise ModelError(
            f"model {name} is no bi-encoder: {folder} is no sentence-transformers embedding model "
            "(no modules.json of one); set retrieval.bi_encoder to one, as all-MiniLM-L6-v2"
        )
    weights = (p for p in folder.rglob("pytorch_model*.bin") if not any(p.parent.glob("*.safetensors")))
    if (pickled := next(weights, None)) is not None:
        raise ModelError(
            f"model {name}: {pickled.relative_to(folder)} is a pickle, which can run code: "
            "save the model again with safetensors"
        )
    try:
        model = SentenceTransformer(
            str(folder),
            device=str(compute.device),
            local_files_only=True,
            trust_remote_code=compute.trust_remote_code,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:
        raise ModelError(f"model {name} cannot be loaded as a bi-encoder: {first_line(error)}") from error
    return model.to(compute.dtype).eval()


def _fast_tokenizer(model: SentenceTransformer) -> Tokenizer | None:
    backend = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
    plain = type(model[0]).__name__ == "Transformer" and not model.default_prompt_name
    return backend if plain and isinstance(backend, Tokenizer) else None
