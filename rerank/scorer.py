"""The cross-encoder: a logit for every pair of texts."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ..errors import ModelError
from ..inference.batches import filled, length_batches
from ..inference.compute import Compute
from ..inference.layout import LONGEST_INPUT, find_layout, require_vocabulary
from ..inference.locate import fingerprint, first_line, locate_model, read_config
from ..progress import Bar, Progress
from ..schema import CandidatePairs, Floats, Rows, ScoredPairs, TokenStore
from ..settings import RerankSettings
from ..store.work import Work, shard_name
from .heads import find_head

log = logging.getLogger(__name__)

SHARD = 8_192  # pairs


class PairScorer(Protocol):
    """What stage 2 needs of a cross-encoder."""

    max_tokens: int
    orders: int  # forward passes per pair
    tokenizer: Tokenizer

    def score(self, tokens: TokenStore, left: Rows, right: Rows, progress: Progress) -> Floats:
        """Return one logit per pair of rows, `(n_pairs,)`."""


class CrossEncoder:
    """Any Hugging Face sequence classifier over pairs, read through its head."""

    def __init__(self, settings: RerankSettings, compute: Compute) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be found or loaded, or has no trained classification head.
            SettingsError: its labels do not fit `rerank.head`.
        """
        name = settings.cross_encoder
        self.folder = locate_model(name)
        self._compute = compute
        self._model = _load(name, self.folder, compute)
        self.sha256 = fingerprint(self.folder)
        config = self._model.config.to_dict()
        self.head = find_head(name, config, int(self._model.config.num_labels or 0), settings)
        self.orders = 2 if self.head.both_orders else 1
        wrapper = _load_tokenizer(name, self.folder, compute)
        self.tokenizer = wrapper.backend_tokenizer
        require_vocabulary(name, self.tokenizer)
        self._takes_types = "token_type_ids" in wrapper.model_input_names
        self._layout = find_layout(self.tokenizer, 2)
        self._limit = min(wrapper.model_max_length, _positions(self._model), LONGEST_INPUT)
        self.max_tokens = (self._limit - self._layout.n_special) // 2

    def score(
        self, tokens: TokenStore, left: Rows, right: Rows, progress: Progress, *, fill: bool = True
    ) -> Floats:
        """Return the logit of each pair, `(n_pairs,) float32`; with two orders, both combined.

        Without `fill` few pairs take less time, and their last bits depend on how many they are.
        """
        with progress.bar("score", self.orders * len(left), "pairs") as bar:
            forward = self._one_order(tokens, (left, right), bar, fill)
            if self.orders == 1:
                return forward
            return self.head.combine(forward, self._one_order(tokens, (right, left), bar, fill))

    def _one_order(self, tokens: TokenStore, pair: tuple[Rows, Rows], bar: Bar, fill: bool) -> Floats:
        logits = np.empty(len(pair[0]), np.float32)
        lengths = self._layout.lengths(tokens, pair, self._limit)
        budget = self._compute.batch_tokens
        with torch.inference_mode():
            for batch in length_batches(lengths, budget):
                rows = filled(batch, int(lengths[batch[0]]), budget) if fill else batch
                raw = self._forward(tokens, (pair[0][rows], pair[1][rows]))
                logits[batch] = self.head.logits(raw[: len(batch)])
                bar.update(len(batch))
        return logits

    def _forward(self, tokens: TokenStore, pair: tuple[Rows, Rows]) -> Floats:
        ids, types = self._layout.assemble(tokens, pair, self._limit)
        inputs = {"input_ids": torch.from_numpy(ids).to(self._compute.device)}
        if self._takes_types:
            inputs["token_type_ids"] = torch.from_numpy(types).to(self._compute.device)
        raw: Floats = self._model(**inputs).logits.float().cpu().numpy()
        return raw


def score_pairs(
    scorer: PairScorer,
    tokens: TokenStore,
    candidates: CandidatePairs,
    progress: Progress,
    work: Work | None = None,
) -> ScoredPairs:
    """Score every candidate once, in the orientation (left, right); with `work` shard by shard."""
    ends = candidates.left, candidates.right
    logit = (
        scorer.score(tokens, *ends, progress)
        if work is None
        else _score_shards(scorer, tokens, ends, progress, work)
    )
    return ScoredPairs.from_logits(*ends, candidates.cosine, logit)


def _score_shards(
    scorer: PairScorer, tokens: TokenStore, ends: tuple[Rows, Rows], progress: Progress, work: Work
) -> Floats:
    """Return the logit of each pair, those of similar length in one shard."""
    lengths = tokens.lengths
    order = np.argsort(-(lengths[ends[0]] + lengths[ends[1]]), kind="stable")
    logit = np.empty(len(order), np.float32)
    with progress.bar("score", scorer.orders * len(order), "pairs") as bar:
        for start in range(0, len(order), SHARD):
            at = order[start : start + SHARD]
            pair = ends[0][at], ends[1][at]
            seen = tokens.take(np.concatenate(pair))
            score = partial(scorer.score, tokens, *pair, progress.within(bar))
            logit[at] = work.array(shard_name("scores", seen.offsets, seen.ids), score)
            bar.update(scorer.orders * (start + len(at)) - bar.n)
    return logit


def _load(name: str, folder: Path, compute: Compute) -> PreTrainedModel:
    architectures = read_config(folder).get("architectures") or []
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            dtype=compute.dtype,
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=compute.trust_remote_code,
        )
    except Exception as error:
        raise ModelError(f"model {name} cannot be loaded as a cross-encoder: {first_line(error)}") from error
    if info["missing_keys"]:
        raise ModelError(
            f"model {name} is no cross-encoder: it is a {' '.join(architectures) or 'model'} without a "
            "trained classification head; set rerank.cross_encoder to a sequence classifier over pairs"
        )
    loaded: PreTrainedModel = model.to(compute.device).eval()
    return loaded


def _load_tokenizer(name: str, folder: Path, compute: Compute) -> PreTrainedTokenizerFast:
    try:
        wrapper = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=compute.trust_remote_code
        )
    except Exception as error:
        raise ModelError(
            f"model {name}: its tokenizer cannot be loaded (is tokenizer.json whole?): {first_line(error)}"
        ) from error
    if not isinstance(wrapper, PreTrainedTokenizerFast):
        raise ModelError(f"model {name} has no fast tokenizer; save it with its tokenizer.json")
    return wrapper


def _positions(model: PreTrainedModel) -> int:
    """Return the longest input of a model; RoBERTa's kin count positions from behind the padding id."""
    embeddings = getattr(model.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    unused = 0 if padding is None else padding + 1
    return int(getattr(model.config, "max_position_embeddings", None) or 512) - unused
