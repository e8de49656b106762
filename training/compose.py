"""The two trainings from files to folders, joined from the parts that do not know each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..corpus import read_corpus
from ..corpus.unique import collapse_exact_duplicates
from ..errors import SettingsError
from ..inference.compute import Compute, resolve_compute
from ..inference.locate import quiet_loading
from ..inference.tokens import tokenise
from ..progress import SILENT, Progress
from ..rerank.scorer import CrossEncoder
from ..rerank.train import prepare_classifier
from ..retrieval.encoder import BiEncoder, Embeddings
from ..retrieval.index import build_index
from ..retrieval.train import prepare_embedder
from ..schema import TEXT, Floats, Rows, probabilities
from ..settings import CorpusSettings, RerankSettings, RetrievalSettings
from .data import Sets, read_sets, require_labels
from .negatives import Guard, Search, add_negatives
from .outcome import Outcome
from .pseudo_labels import add_pseudo_labels
from .run import Request, run_training
from .settings import BiEncoderTraining, CrossEncoderTraining, NegativesSettings, PairTraining

_BLOCK = 4096  # texts searched for at once


def train_cross_encoder(
    pairs: Path, valid: Path | None, settings: CrossEncoderTraining, request: Request, progress: Progress
) -> Outcome:
    """Train a cross-encoder on a file of labelled pairs and write it to a folder.

    Raises:
        DupmineError: pairs, settings, a base model or a folder that do not fit; see its subclasses.
    """
    sets = read_sets(pairs, valid, settings.pairs, settings.training.seed)
    require_labels(sets, binary=settings.model.head != "score", batch=settings.training.batch_size)
    sets = _with_pseudo_labels(sets, settings)
    sets = _with_negatives(sets, settings, progress)
    return run_training(sets, settings, prepare_classifier, request, progress)


def train_bi_encoder(
    pairs: Path, valid: Path | None, settings: BiEncoderTraining, request: Request, progress: Progress
) -> Outcome:
    """Train a bi-encoder on a file of labelled pairs and write it to a folder.

    Raises:
        DupmineError: pairs, settings, a base model or a folder that do not fit; see its subclasses.
    """
    sets = read_sets(pairs, valid, settings.pairs, settings.training.seed)
    require_labels(sets, binary=settings.objective.loss != "cosine", batch=settings.training.batch_size)
    sets = _with_negatives(sets, settings, progress)
    return run_training(sets, settings, prepare_embedder, request, progress)


def _with_pseudo_labels(sets: Sets, settings: CrossEncoderTraining) -> Sets:
    wanted, head = settings.pseudo_labels, settings.model.head
    if wanted.run is None:
        return sets
    if head != "sigmoid":
        raise SettingsError(
            f"setting pseudo_labels.run: probabilities are learned by a model of head sigmoid, not {head}: "
            "set model.head to sigmoid, or leave it out"
        )
    return add_pseudo_labels(sets, Path(wanted.run), wanted, settings.training.seed)


def _with_negatives(sets: Sets, settings: PairTraining, progress: Progress) -> Sets:
    wanted = settings.negatives
    if wanted.corpus is None:
        return sets
    compute = resolve_compute(settings.compute)
    documents = read_corpus([wanted.corpus], CorpusSettings()).documents
    texts = collapse_exact_duplicates(documents[TEXT]).texts
    with quiet_loading():
        search = _search_in(texts, wanted, compute, progress)
        guard = _guard(wanted, compute, progress)
    return add_negatives(sets, texts, wanted, search, guard)


def _search_in(
    corpus: Sequence[str], settings: NegativesSettings, compute: Compute, progress: Progress
) -> Search:
    encoder = BiEncoder(settings.miner, compute)
    retrieval = RetrievalSettings(bi_encoder=settings.miner, top_k=settings.neighbours)
    index = build_index(_embedded(encoder, corpus, progress), retrieval, gpu=compute.device.type == "cuda")
    k = min(settings.neighbours, len(corpus))

    def search(texts: Sequence[str]) -> tuple[Floats, Rows]:
        queries = _embedded(encoder, texts, progress)
        found = []
        with progress.bar("retrieve", len(texts), "texts") as bar:
            for start in range(0, len(texts), _BLOCK):
                block = np.asarray(queries[start : start + _BLOCK], np.float32)
                found.append(index.search(block, k))
                bar.update(len(block))
        cosines, rows = (np.concatenate(side) for side in zip(*found, strict=True))
        return cosines, rows

    return search


def _embedded(encoder: BiEncoder, texts: Sequence[str], progress: Progress) -> Embeddings:
    tokens = None
    if encoder.tokenizer is not None:
        tokens = tokenise(texts, encoder.tokenizer, max_tokens=encoder.max_tokens, progress=SILENT)
    out = np.empty((len(texts), encoder.dim), np.float16)
    encoder.encode(texts, tokens, out, progress)
    return out


def _guard(settings: NegativesSettings, compute: Compute, progress: Progress) -> Guard:
    scorer = CrossEncoder(RerankSettings(cross_encoder=settings.guard), compute)

    def probability(left: list[str], right: list[str]) -> Floats:
        texts = [*left, *right]
        tokens = tokenise(texts, scorer.tokenizer, max_tokens=scorer.max_tokens, progress=SILENT)
        rows = np.arange(len(texts))
        return probabilities(scorer.score(tokens, rows[: len(left)], rows[len(left) :], progress))

    return probability
