"""The bi-encoder: texts to unit vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from ..disk.files import claim
from ..disk.work import Work, shard_name
from ..inference.batches import Batch
from ..inference.device import DeviceConfig
from ..inference.int8.quantise import settle_precision
from ..inference.locate import fingerprint, locate_model
from ..inference.runner import BatchRunner
from ..inference.tokens import tokenise
from ..progress import Progress
from ..schema import Floats, Rows, TokenStore
from .sentences import SentenceModel

log = logging.getLogger(__name__)

SHARD = 16_384  # texts on a CPU

_TEXTS = 1024  # per call of a model that takes texts

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
        self.model = SentenceModel(name, self.folder, compute)
        self.sha256 = fingerprint(self.folder)
        self.precision = settle_precision(name, self.model, self.sha256, compute)
        self.dim = self.model.dim
        self.tokenizer = self.model.tokenizer
        if self.tokenizer is None:
            log.info("bi-encoder %s takes texts, not token ids: slower", name)
            self.runner = None
            self.max_tokens = self.model.max_length
        else:
            self.runner = BatchRunner(name, self.model, self.precision, compute)
            self.max_tokens = self.runner.max_tokens

    @property
    def shard(self) -> int:
        """See `TextEncoder`."""
        return SHARD * (1 if self.runner is None else self.runner.batch_factor)

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

        def put(batch: Batch, vectors: Floats) -> None:
            unit = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)
            out[batch] = unit.half().numpy()

        with progress.bar("embed", len(texts), "texts") as bar:
            for done in self._run(texts, tokens, put, fill=fill):
                bar.update(done)

    def _run(
        self,
        texts: Sequence[str],
        tokens: TokenStore | None,
        put: Callable[[Batch, Floats], None],
        *,
        fill: bool,
    ) -> Iterator[int]:
        if self.runner is not None:
            assert tokens is not None, "the model takes token ids"
            yield from self.runner.run(tokens, (np.arange(len(texts)),), put, fill=fill)
            return
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(order), _TEXTS):
            batch = order[start : start + _TEXTS]
            put(batch, self.model.encode([texts[i] for i in batch]))
            yield len(batch)


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
