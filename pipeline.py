"""The run on one page: collapse → tokenise → embed → index → retrieve → rerank → cluster → tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from .clustering import choose_representatives, cluster_pairs
from .corpus.tokens import tokenise
from .corpus.unique import collapse_exact_duplicates
from .inference.compute import Compute, resolve_compute
from .inference.locate import quiet_loading
from .progress import Progress
from .rerank.scorer import CrossEncoder, score_pairs
from .result import MiningResult
from .retrieval.candidates import find_candidates, pair_cosines
from .retrieval.encoder import BiEncoder, embed
from .retrieval.index import build_index
from .schema import TEXT, CandidatePairs, Corpus, Rows, ScoredPairs, TokenStore
from .settings import ClusteringSettings, MiningSettings
from .store.manifest import RunRecord, peak_memory


@dataclass(frozen=True, slots=True)
class Models:
    """The loaded models of a run and where they compute."""

    encoder: BiEncoder
    scorer: CrossEncoder
    compute: Compute

    @classmethod
    def load(cls, settings: MiningSettings) -> Models:
        """Load both models.

        Raises:
            ModelError: a model cannot be found, loaded or used for its stage.
            SettingsError: the device, the precision or the head do not fit.
        """
        compute = resolve_compute(settings.compute)
        with quiet_loading():
            encoder = BiEncoder(settings.retrieval.bi_encoder, compute)
            return cls(encoder, CrossEncoder(settings.rerank, compute), compute)

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the models."""
        return {
            "models": {
                "bi_encoder": {"sha256": self.encoder.sha256, "dim": self.encoder.dim},
                "cross_encoder": {"sha256": self.scorer.sha256, "head": self.scorer.head.kind},
            },
            "compute": {"device": str(self.compute.device), "precision": str(self.compute.dtype)[6:]},
        }


def mine_corpus(
    corpus: Corpus,
    settings: MiningSettings,
    models: Models,
    work: Path,
    progress: Progress,
    seconds: Mapping[str, float] | None = None,
) -> MiningResult:
    """Find the duplicate clusters of a corpus.

    `work` is a folder for large intermediate files; `seconds` are those of the stages before this.
    """
    run = RunRecord(settings, corpus, seconds)
    run.describe(**models.describe())

    with run.stage("collapse"):
        unique = collapse_exact_duplicates(corpus.documents[TEXT])
        run.count(unique_texts=len(unique), empty_texts=int((unique.row_of < 0).sum()))
    with run.stage("tokenise"):
        tokens, pair_tokens = tokenise_texts(unique.texts, settings, models, progress)
        run.count(**count_truncations(tokens, pair_tokens, models))
    with run.stage("embed"):
        embeddings = embed(models.encoder, unique.texts, tokens, work / "embeddings.float16", progress)
    with run.stage("index"):
        index = build_index(embeddings, settings.retrieval, gpu=models.compute.device.type == "cuda")
        run.describe(index=index.description)
    with run.stage("retrieve"):
        candidates, search = find_candidates(embeddings, index, settings.retrieval, progress)
        run.count(candidates=len(candidates), queries_grown=search.grown, queries_capped=search.capped)
    with run.stage("rerank"):
        pairs = score_pairs(models.scorer, pair_tokens, candidates, progress)

    def score_rows(left: Rows, right: Rows) -> ScoredPairs:
        unseen = CandidatePairs(left, right, pair_cosines(embeddings, left, right))
        return score_pairs(models.scorer, pair_tokens, unseen, progress)

    with run.stage("cluster"):
        partition = cluster_pairs(
            len(unique),
            pairs,
            threshold=settings.rerank.threshold,
            settings=settings.clustering,
            score_unseen=score_rows,
        )
        run.count(**partition.counts)
        run.describe(peak_memory_gib=peak_memory())
    with run.stage("tables"):
        return MiningResult.build(
            corpus=corpus,
            row_of=unique.row_of,
            pairs=ScoredPairs.concatenate(pairs, partition.scored),
            labels=partition.labels,
            settings=settings,
            manifest=run.manifest,
            score_rows=score_rows,
        )


def check_keep(settings: ClusteringSettings, documents: pa.Table) -> None:
    """Choose among no clusters, so that a column that cannot be ranked ends the run before it begins.

    Raises:
        SettingsError: `settings.keep` names a column that `documents` lacks or that has no order.
    """
    rows, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    nowhere = np.full(len(documents), -1)
    choose_representatives(
        rows, nowhere, documents, ScoredPairs(rows, rows, scores, scores, scores), settings=settings
    )


def tokenise_texts(
    texts: list[str], settings: MiningSettings, models: Models, progress: Progress
) -> tuple[TokenStore | None, TokenStore]:
    """Tokenise for the bi- and the cross-encoder, once where they share a tokenizer.

    The first is None where the bi-encoder takes texts.
    """
    longest = settings.corpus.max_tokens
    for_pairs = tokenise(texts, models.scorer.tokenizer, max_tokens=longest, progress=progress)
    if models.encoder.tokenizer is None:
        return None, for_pairs
    if _same_tokens(models.encoder.tokenizer, models.scorer.tokenizer):
        return for_pairs, for_pairs
    return tokenise(texts, models.encoder.tokenizer, max_tokens=longest, progress=progress), for_pairs


def _same_tokens(first: Tokenizer, second: Tokenizer) -> bool:
    """Whether two tokenizers give every text the same ids, special tokens aside."""
    parts = ("normalizer", "pre_tokenizer", "model", "added_tokens")
    a, b = json.loads(first.to_str()), json.loads(second.to_str())
    return all(a[part] == b[part] for part in parts)


def count_truncations(tokens: TokenStore | None, pair_tokens: TokenStore, models: Models) -> dict[str, int]:
    """Count the texts cut at `corpus.max_tokens`, and those each model cuts further."""
    counts = {
        "texts_truncated": pair_tokens.truncated,
        "texts_truncated_by_cross_encoder": int((pair_tokens.lengths > models.scorer.max_tokens).sum()),
    }
    if tokens is not None:
        counts["texts_truncated"] = max(tokens.truncated, pair_tokens.truncated)
        counts["texts_truncated_by_bi_encoder"] = int((tokens.lengths > models.encoder.max_tokens).sum())
    return counts
