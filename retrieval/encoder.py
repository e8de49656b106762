"""The bi-encoder: texts to unit vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..disk.files import claim
from ..disk.work import Work, shard_name
from ..errors import ModelError
from ..inference.batches import Batch
from ..inference.device import DeviceConfig
from ..inference.int8.quantise import apply_precision
from ..inference.locate import fingerprint, locate_model
from ..inference.runner import BatchRunner
from ..inference.tokens import tokenise
from ..progress import Progress
from ..schema import Floats, Rows, TokenStore
from .sentences import SentenceModel

log = logging.getLogger(__name__)

SHARD = 16_384  # texts on a CPU

_TEXTS = 1024  # per batch of a model that reads texts

Embeddings = npt.NDArray[np.float16]


class BiEncoder:
    """A sentence-transformers model.

    Models that start with a transformer and a fast tokenizer, and have no prompt, read token ids (`tokenizer`
    is set). All others, as static models, read texts by `SentenceTransformer.encode`.
    """

    def __init__(self, name: str, device: DeviceConfig) -> None:
        """Load a model.

        Raises:
            ModelError: it cannot be found or loaded, or is not a bi-encoder.
            SettingsError: the settings demand int8, and the model cannot run in it.
        """
        self.name = name
        self.folder = locate_model(name)
        self.model = SentenceModel(name, self.folder, device)
        self.sha256 = fingerprint(self.folder)
        self.precision = apply_precision(name, self.model, self.sha256, device)
        self.dim = self.model.dim
        self.tokenizer = self.model.tokenizer
        if self.tokenizer is None:
            log.info("bi-encoder %s reads texts instead of token ids, which is slower", name)
            self.runner = None
            self.max_tokens = self.model.max_length
        else:
            self.runner = BatchRunner(self.model, self.precision, device)
            self.max_tokens = self.runner.max_tokens

    @property
    def shard(self) -> int:
        """The number of texts that are encoded and saved at a time."""
        return SHARD * (1 if self.runner is None else self.runner.batch_factor)

    def encode(
        self, texts: Sequence[str], tokens: TokenStore | None, progress: Progress, *, fill: bool = True
    ) -> Embeddings:
        """Return one unit vector per text, `(n_texts, dim) float16`.

        `tokens` has the texts as this model's token ids; a model without a tokenizer ignores it. Without
        `fill` few texts take less time, and their last bits depend on how many they are.
        """
        vectors = np.empty((len(texts), self.dim), np.float16)

        def put(batch: Batch, outputs: Floats) -> None:
            unit = torch.nn.functional.normalize(torch.from_numpy(outputs), dim=1)
            if not unit.isfinite().all():
                raise ModelError(
                    f"model {self.name} gives vectors that are not numbers (NaN or infinite): take another "
                    "model, or compute.precision=fp32"
                )
            vectors[batch] = unit.half().numpy()

        if self.runner is None:
            sizes = self._encode_texts(texts, put)
        else:
            assert tokens is not None, "the model reads token ids"
            sizes = self.runner.run(tokens, (np.arange(len(texts)),), put, fill=fill)
        with progress.bar("embed", len(texts), "texts") as bar:
            for size in sizes:
                bar.update(size)
        return vectors

    def _encode_texts(self, texts: Sequence[str], put: Callable[[Batch, Floats], None]) -> Iterator[int]:
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(order), _TEXTS):
            batch = order[start : start + _TEXTS]
            put(batch, self.model.encode([texts[i] for i in batch]))
            yield len(batch)


def encode_texts(
    encoder: BiEncoder, texts: Sequence[str], progress: Progress, *, max_tokens: int | None = None
) -> Embeddings:
    """Encode texts in memory, cut to `max_tokens`, by default the model's; `(n_texts, dim)`, unit rows."""
    tokens = None
    if encoder.tokenizer is not None:
        longest = encoder.max_tokens if max_tokens is None else max_tokens
        tokens = tokenise(texts, encoder.tokenizer, max_tokens=longest, progress=progress)
    return encoder.encode(texts, tokens, progress)


def embed(
    encoder: BiEncoder, texts: Sequence[str], tokens: TokenStore | None, work: Work, progress: Progress
) -> Embeddings:
    """Encode all texts, those of similar length in one shard of `work`.

    Returns a memory-mapped file of `work` in the order of the texts, `(n_texts, dim) float16`, unit rows.
    """
    if not texts:
        return np.empty((0, encoder.dim), np.float16)
    lengths = np.array([len(text) for text in texts]) if tokens is None else tokens.lengths
    order = np.argsort(-lengths, kind="stable")
    path = work.scratch("embeddings")
    claim(path, len(texts) * encoder.dim * 2)
    vectors = np.memmap(path, np.float16, "r+", shape=(len(texts), encoder.dim))
    with progress.bar("embed", len(texts), "texts") as bar:
        for start in range(0, len(texts), encoder.shard):
            rows = order[start : start + encoder.shard]
            vectors[rows] = _embed_shard(encoder, texts, tokens, rows, work, progress.within(bar))
            bar.update(start + len(rows) - bar.n)
    return vectors


def _embed_shard(
    encoder: BiEncoder,
    texts: Sequence[str],
    tokens: TokenStore | None,
    rows: Rows,
    work: Work,
    progress: Progress,
) -> Embeddings:
    shard_texts = [texts[row] for row in rows]
    shard_tokens = None if tokens is None else tokens.take(rows)
    name = (
        shard_name("embeddings", *(text.encode() for text in shard_texts))
        if shard_tokens is None
        else shard_name("embeddings", shard_tokens.offsets, shard_tokens.ids)
    )
    return work.array(name, lambda: encoder.encode(shard_texts, shard_tokens, progress))
