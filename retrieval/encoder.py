"""The bi-encoder: texts to unit vectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from ..disk.files import claim
from ..disk.work import Work, shard_name
from ..inference.batches import Batch, filled, length_batches, one_by_one, scheduled
from ..inference.device import DeviceConfig
from ..inference.int8.layers import MOST_TOKENS
from ..inference.int8.quantise import is_int8, settle_precision
from ..inference.layout import find_layout, require_vocabulary
from ..inference.locate import fingerprint, locate_model
from ..inference.onnx import OnnxModel, is_exported
from ..inference.tokens import tokenise
from ..progress import Progress
from ..schema import Floats, Rows, TokenStore
from .sentences import SentenceModel

log = logging.getLogger(__name__)

SHARD = 16_384  # texts on a CPU

Embeddings = npt.NDArray[np.float16]


class TextEncoder(Protocol):
    """What stage 1 needs of a bi-encoder."""

    dim: int
    max_tokens: int
    tokenizer: Tokenizer | None

    @property
    def shard(self) -> int:
        """The number of texts that are encoded, and kept, at a time."""

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

    def __init__(self, name: str, compute: DeviceConfig) -> None:
        """Load a model.

        Raises:
            ModelError: it cannot be found or loaded, or is no bi-encoder.
            SettingsError: int8 is asked for by name, and does not do for it.
        """
        self.folder = locate_model(name)
        self._model = (
            OnnxModel(name, self.folder, compute, kind="bi-encoder")
            if is_exported(self.folder)
            else SentenceModel(name, self.folder, compute)
        )
        self.sha256 = fingerprint(self.folder)
        self.precision = (
            settle_precision(name, self._model, self.sha256, compute)
            if isinstance(self._model, SentenceModel)
            else self._model.precision
        )
        self.dim = self._model.dim
        self.tokenizer = self._model.tokenizer
        in_torch = isinstance(self._model, SentenceModel) and self.tokenizer is not None
        int8 = in_torch and is_int8(self.precision)
        self._each = scheduled(compute.device, int8=int8) if in_torch else one_by_one
        self._scale = compute.scale if in_torch else 1
        self._budget = min(compute.batch_tokens, MOST_TOKENS) if int8 else compute.batch_tokens
        longest = self._model.max_length
        if self.tokenizer is None:
            log.info("bi-encoder %s takes texts, not token ids: slower", name)
            self.max_tokens = longest
        else:
            require_vocabulary(name, self.tokenizer)
            self._layout = find_layout(self.tokenizer, 1)
            self._limit = longest
            self.max_tokens = longest - self._layout.n_special

    @property
    def shard(self) -> int:
        """See `TextEncoder`."""
        return SHARD * self._scale

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

        def run(batch: Batch) -> None:
            vectors = torch.from_numpy(self._forward(texts, tokens, batch, fill))
            out[batch] = torch.nn.functional.normalize(vectors, dim=1).half().numpy()

        with progress.bar("embed", len(texts), "texts") as bar:
            for done in self._each(self._batches(texts, tokens), run):
                bar.update(done)

    def _batches(self, texts: Sequence[str], tokens: TokenStore | None) -> list[Batch]:
        if self.tokenizer is None or tokens is None:
            order = np.argsort([-len(text) for text in texts], kind="stable")
            return [order[i : i + 1024] for i in range(0, len(order), 1024)]
        lengths = self._layout.lengths(tokens, (np.arange(len(texts)),), self._limit)
        return list(length_batches(lengths, self._budget))

    def _forward(self, texts: Sequence[str], tokens: TokenStore | None, batch: Batch, fill: bool) -> Floats:
        if self.tokenizer is None or tokens is None:
            assert isinstance(self._model, SentenceModel), "others take token ids"
            return self._model.encode([texts[i] for i in batch])
        length = int(self._layout.lengths(tokens, (batch[:1],), self._limit)[0])
        fill = fill and self._model.needs_filling
        rows = filled(batch, length, self._budget) if fill else batch
        ids, types = self._layout.assemble(tokens, (rows,), self._limit)
        return self._model.run(ids, types)[: len(batch)]


def encode_texts(
    encoder: TextEncoder, texts: Sequence[str], progress: Progress, *, max_tokens: int | None = None
) -> Embeddings:
    """Encode texts in memory, cut to `max_tokens`, by default the model's; `(n_texts, dim)`, unit rows."""
    tokens = None
    if encoder.tokenizer is not None:
        longest = encoder.max_tokens if max_tokens is None else max_tokens
        tokens = tokenise(texts, encoder.tokenizer, max_tokens=longest, progress=progress)
    out = np.empty((len(texts), encoder.dim), np.float16)
    encoder.encode(texts, tokens, out, progress)
    return out


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
        for start in range(0, len(texts), encoder.shard):
            rows = order[start : start + encoder.shard]
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
