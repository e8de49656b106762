"""The run on one page: collapse, tokenise, embed, retrieve, rerank, decide, cluster, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from .clustering import cluster_pairs
from .corpus.language import check_languages
from .corpus.templates import Families, find_families
from .corpus.unique import collapse_exact_duplicates, normalised_key
from .disk.files import require_space
from .disk.work import Work
from .inference.device import DeviceConfig, resolve_device
from .inference.locate import quiet_loading
from .inference.model_card import read_languages
from .inference.tokens import tokenise
from .progress import Progress
from .rerank.cascade import Cascade, find_cascade
from .rerank.decision import NO_DECISION, Decision, find_decision
from .rerank.scorer import CrossEncoder
from .rerank.thresholds import choose_threshold
from .rerank.unread import count_unreadable
from .results.manifest import RunRecord, peak_memory
from .results.result import MiningResult
from .retrieval.candidates import SearchFacts, find_candidates, pair_cosines
from .retrieval.encoder import BiEncoder, Embeddings, embed
from .retrieval.index import flat_index
from .schema import (
    TEXT,
    CandidatePairs,
    Corpus,
    Floats,
    Rows,
    ScoredPairs,
    TokenStore,
    UniqueTexts,
    probabilities,
)
from .settings import MiningSettings, RetrievalSettings

NEAREST = 100  # texts whose pairs with a query are scored
_CANDIDATES = 10  # per text; labelled questions have 5
_PAIR_BYTES = 64  # as shards and in a table


@dataclass(frozen=True, slots=True)
class Models:
    """The loaded models of a run and where they compute."""

    encoder: BiEncoder
    scorer: CrossEncoder
    compute: DeviceConfig
    same_tokens: bool  # whether both give every text the same tokens, except for special tokens
    decision: Decision | None  # None: each pair is decided alone
    cascade: Cascade

    @classmethod
    def load(cls, settings: MiningSettings) -> Models:
        """Load the bi-encoder and the cross-encoder, and what was fitted to them.

        Raises:
            ModelError: a model cannot be found, loaded or used for its stage.
            SettingsError: the device, the precision or the head do not fit.
        """
        compute = resolve_device(settings.compute)
        with quiet_loading():
            encoder = BiEncoder(settings.retrieval.bi_encoder, compute)
            scorer = CrossEncoder(settings.rerank, compute)
        same = _same_tokens(encoder.tokenizer, scorer.tokenizer)
        return cls(encoder, scorer, compute, same, None, Cascade(scorer)).deciding_by(settings)

    def deciding_by(self, settings: MiningSettings) -> Models:
        """Return the same models with the decision and the cascade of some settings."""
        encoder, scorer = self.encoder, self.scorer
        names = (encoder.sha256, scorer.logits_sha256, scorer.tokenizer.get_vocab_size())
        decision = find_decision(settings.rerank, scorer.folder, *names)
        fitted = decision or scorer.calibration
        cascade = find_cascade(settings.rerank, scorer, encoder.sha256, fitted)
        cascade = replace(cascade, max_tokens=min(settings.corpus.max_tokens, scorer.max_tokens))
        return replace(self, decision=decision, cascade=cascade)

    def settle(self, settings: MiningSettings) -> tuple[MiningSettings, str]:
        """Return the settings with the threshold as a number, and where that comes from.

        Raises:
            SettingsError: a target precision that the cross-encoder is not known to reach.
        """
        threshold, basis = choose_threshold(settings.rerank, self.decision or self.scorer.calibration)
        rerank = settings.rerank.model_copy(update={"threshold": threshold, "target_precision": None})
        return settings.model_copy(update={"rerank": rerank}), basis

    def describe(self) -> dict[str, Any]:
        """Return the part of the manifest about the models."""
        return {
            "models": {
                "bi_encoder": {
                    "sha256": self.encoder.sha256,
                    "dim": self.encoder.dim,
                    "precision": self.encoder.precision,
                },
                "cross_encoder": {
                    "sha256": self.scorer.sha256,
                    "head": self.scorer.head.kind,
                    "precision": self.scorer.precision,
                },
                "decision": {"sha256": NO_DECISION if self.decision is None else self.decision.sha256},
                "cascade": {"sha256": self.cascade.sha256},
            },
            "compute": {"device": str(self.compute.device)},
        }


@dataclass(frozen=True, slots=True)
class Job:
    """What a run works with; the threshold of the settings is a number."""

    settings: MiningSettings
    models: Models
    work: Work
    progress: Progress
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Scored:
    """The texts of a corpus, with their vectors and the cross-encoder's tokens, and its scored pairs."""

    unique: UniqueTexts
    embeddings: Embeddings
    tokens: TokenStore
    pairs: ScoredPairs


Search = Callable[[UniqueTexts, Embeddings, Families], tuple[CandidatePairs, SearchFacts]]


def mine_corpus(
    corpus: Corpus,
    settings: MiningSettings,
    models: Models,
    work: Work,
    progress: Progress,
    seconds: Mapping[str, float] | None = None,
) -> MiningResult:
    """Find the duplicate clusters of a corpus.

    Args:
        corpus: the documents.
        settings: the settings of the run.
        models: the models for these settings.
        work: keeps finished shards, so that an interrupted run can continue.
        progress: shows the stages.
        seconds: those of earlier stages, for the manifest.
    """
    job = start_job(corpus, settings, models, work, progress, seconds)
    settings, run = job.settings, job.record
    work.require(describe_basis(corpus, settings, models))

    def search(
        _: UniqueTexts, embeddings: Embeddings, families: Families
    ) -> tuple[CandidatePairs, SearchFacts]:
        device = models.compute.device
        return find_pairs(embeddings, families, settings.retrieval, device, progress, work)

    scored = score_candidates(corpus, job, search)

    def score_rows(left: Rows, right: Rows) -> ScoredPairs:
        unseen = CandidatePairs(left, right, pair_cosines(scored.embeddings, left, right))
        return models.cascade.score(scored.tokens, unseen, progress, work)

    with run.stage("cluster"):
        partition = cluster_pairs(
            len(scored.unique),
            scored.pairs,
            threshold=settings.rerank.accepts_from,
            settings=settings.clustering,
            score_unseen=score_rows,
        )
        run.count(**partition.counts)
        run.describe(peak_memory_gib=peak_memory())
    with run.stage("tables"):
        result = MiningResult.build(
            corpus=corpus,
            row_of=scored.unique.row_of,
            pairs=ScoredPairs.concatenate(scored.pairs, partition.scored),
            labels=partition.labels,
            settings=settings,
            manifest=run.manifest,
            score_rows=score_rows,
        )
    run.describe(shards={"found": work.found, "made": work.made})
    return result


def start_job(
    corpus: Corpus,
    settings: MiningSettings,
    models: Models,
    work: Work,
    progress: Progress,
    seconds: Mapping[str, float] | None = None,
) -> Job:
    """Settle the threshold, and start the manifest."""
    settings, basis = models.settle(settings)
    record = RunRecord(settings, corpus, seconds)
    record.describe(**models.describe(), threshold={"value": settings.rerank.accepts_from, "by": basis})
    return Job(settings, models, work, progress, record)


def score_candidates(corpus: Corpus, job: Job, search: Search) -> Scored:
    """Collapse, tokenise, embed, retrieve, rerank and decide: all that comes before clusters."""
    settings, models, work, progress = job.settings, job.models, job.work, job.progress
    run = job.record
    with run.stage("collapse"):
        unique = collapse_exact_duplicates(corpus.documents[TEXT])
        run.count(unique_texts=len(unique), empty_texts=int((unique.row_of < 0).sum()))
        families = find_families(unique.texts)
        run.count(template_families=len(families), texts_in_templates=families.members)
    with run.stage("tokenise"):
        languages = check_languages(unique.texts, read_languages(models.scorer.folder), settings)
        run.describe(languages=languages.facts)
        tokens, pair_tokens = tokenise_texts(unique.texts, settings, models, progress)
        run.count(texts_foreign=languages.foreign, **count_truncations(tokens, pair_tokens, models))
        run.count(texts_unreadable=count_unreadable(pair_tokens, models.scorer.tokenizer))
    require_space(work.folder, estimate_space(len(unique), models.encoder.dim, corpus) - work.size())
    with run.stage("embed"):
        embeddings = embed(models.encoder, unique.texts, tokens, work, progress)
    candidates = retrieve(partial(search, unique, embeddings, families), work, run)
    with run.stage("rerank"):
        pairs = models.cascade.score(pair_tokens, candidates, progress, work)
        run.count(**models.cascade.count(pairs))
    with run.stage("audit"):
        run.describe(audit=models.cascade.audit(pairs, pair_tokens, settings.rerank.audit, progress))
    with run.stage("decide"):
        pairs = decide(pairs, pair_tokens, models, progress)
    return Scored(unique, embeddings, pair_tokens, pairs)


def describe_basis(corpus: Corpus, settings: MiningSettings, models: Models) -> dict[str, str]:
    """Return what the shards of a run depend on; an interrupted run continues only with the same."""
    stages = settings.model_dump(include={"corpus", "retrieval", "rerank", "clustering"})
    stages |= {**models.describe()["models"], "compute": models.describe()["compute"]}
    basis = {f"{stage}.{key}": str(value) for stage, facts in stages.items() for key, value in facts.items()}
    for i, file in enumerate(corpus.files, 1):
        basis[f"input {i}"] = f"{Path(file.path).name} (SHA-256 {file.sha256[:16]})"
    return basis


def estimate_space(n_texts: int, dim: int, corpus: Corpus) -> int:
    """Estimate the bytes of a run's work and tables, with ten candidates per text.

    The vectors are stored twice, as shards and in the order of the rows; the documents once, compressed.
    """
    vectors, pairs = n_texts * dim * 2, n_texts * _CANDIDATES * _PAIR_BYTES
    return 2 * vectors + pairs + int(corpus.documents.nbytes)


def retrieve(
    search: Callable[[], tuple[CandidatePairs, SearchFacts]], work: Work, run: RunRecord
) -> CandidatePairs:
    """Find the candidates, unless `work` holds them."""

    @cache
    def find() -> tuple[CandidatePairs, SearchFacts]:
        with run.stage("retrieve"):
            return search()

    left = work.array("candidates-left", lambda: find()[0].left)
    right = work.array("candidates-right", lambda: find()[0].right)
    cosine = work.array("candidates-cosine", lambda: find()[0].cosine)
    run.describe(index=work.facts("candidates-index", lambda: find()[1].description))
    counts = work.facts("candidates-counts", lambda: {"queries_capped": find()[1].capped})
    run.count(candidates=len(left), **counts)
    return CandidatePairs(left, right, cosine)


def find_pairs(
    embeddings: Embeddings,
    families: Families,
    settings: RetrievalSettings,
    device: torch.device,
    progress: Progress,
    work: Work | None = None,
) -> tuple[CandidatePairs, SearchFacts]:
    """Find the candidates of all rows; of a template family, those that a few of its members stand for."""
    if not len(families):
        return find_candidates(embeddings, settings, device, progress, work=work)
    rows = families.compared
    found, facts = find_candidates(embeddings[rows], settings, device, progress, work=work)
    return extend_pairs(found, embeddings, families, settings.floor), facts


def extend_pairs(
    found: CandidatePairs, embeddings: Embeddings, families: Families, floor: float
) -> CandidatePairs:
    """Return the pairs of rows that pairs of the compared ones stand for, `found` by their positions."""
    rows = families.compared
    left, right = families.extend(rows[found.left], rows[found.right])
    pairs = CandidatePairs(left, right, pair_cosines(embeddings, left, right))
    return pairs.where(pairs.cosine >= np.float32(floor))


def decide(pairs: ScoredPairs, tokens: TokenStore, models: Models, progress: Progress) -> ScoredPairs:
    """Decide all candidates with their neighbours, if the models have such a decision.

    `tokens` are those of all rows.
    """
    if models.decision is None:
        return pairs
    return models.decision.decide(pairs, tokens, progress)


def rank_texts(
    texts: list[str], top: int, settings: MiningSettings, models: Models, progress: Progress
) -> tuple[Rows, Floats]:
    """Rank texts by whether they ask the same as the first: the bi-encoder's nearest, by the cross-encoder.

    Returns the places of at most `top` among the other texts, best first, and their cosines and probabilities
    of being duplicates, `(2, n)`.
    """
    tokens, pair_tokens = tokenise_texts(texts, settings, models, progress)
    vectors = models.encoder.encode(texts, tokens, progress, fill=False)
    index = flat_index(models.encoder.dim, models.compute.device)
    index.add(vectors[1:])
    row = 1 + np.sort(index.nearest(vectors[:1], min(max(NEAREST, top), len(index)))[1][0])
    cosine = pair_cosines(vectors, np.zeros_like(row), row)
    keys = [normalised_key(texts[i]) for i in (0, *row)]
    # As in mining, pairs are in the order of normalised texts.
    first = np.array([keys[0] <= key for key in keys[1:]])
    left, right = np.where(first, 0, row), np.where(first, row, 0)
    logits = models.scorer.score(pair_tokens, left, right, progress, fill=False)
    unread = models.cascade.find_unread(pair_tokens, CandidatePairs(left, right, cosine))
    probability = np.where(unread, np.float32(0), probabilities(logits))
    probability[[key == keys[0] for key in keys[1:]]] = 1.0
    order = np.argsort(-(cosine + probability), kind="stable")[:top]
    return row[order] - 1, np.stack([cosine, probability])[:, order]


def tokenise_texts(
    texts: list[str], settings: MiningSettings, models: Models, progress: Progress
) -> tuple[TokenStore | None, TokenStore]:
    """Return the tokens for the bi-encoder and for the cross-encoder, tokenised once if they are the same.

    The first is None if the bi-encoder takes texts.
    """
    longest = settings.corpus.max_tokens
    for_pairs = tokenise(texts, models.scorer.tokenizer, max_tokens=longest, progress=progress)
    if models.encoder.tokenizer is None:
        return None, for_pairs
    if models.same_tokens:
        return for_pairs, for_pairs
    return tokenise(texts, models.encoder.tokenizer, max_tokens=longest, progress=progress), for_pairs


def _same_tokens(first: Tokenizer | None, second: Tokenizer) -> bool:
    """Return whether two tokenizers give every text the same ids, except for special tokens."""
    if first is None:
        return False
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
