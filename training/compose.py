"""The two trainings from files to folders, joined from the parts that do not know each other."""

from __future__ import annotations

from pathlib import Path

from ..corpus import read_corpus
from ..corpus.unique import collapse_exact_duplicates
from ..errors import SettingsError
from ..inference.device import resolve_device
from ..inference.locate import quiet_loading
from ..progress import Progress
from ..schema import TEXT
from ..settings import CorpusSettings
from .bi_encoder import prepare_bi_encoder
from .cross_encoder import prepare_cross_encoder
from .data import PairSets, read_sets, require_labels
from .negatives import _guard, _search_in, add_negatives
from .outcome import Outcome
from .pseudo_labels import add_pseudo_labels
from .run import Target, run_training
from .settings import BiEncoderTraining, CrossEncoderTraining, TrainSettings


def train_cross_encoder(
    pairs: Path,
    valid: Path | None,
    settings: CrossEncoderTraining,
    request: Target,
    progress: Progress,
) -> Outcome:
    """Train a cross-encoder on a file of labelled pairs and write it to a folder.

    Raises:
        DupmineError: pairs, settings, a base model or a folder that do not fit; see its subclasses.
    """
    sets = read_sets(pairs, valid, settings.pairs, settings.training.seed)
    require_labels(sets, binary=settings.model.head != "score", batch=settings.training.batch_size)
    sets = _with_pseudo_labels(sets, settings)
    sets = _with_negatives(sets, settings, progress)
    return run_training(sets, settings, prepare_cross_encoder, request, progress)


def train_bi_encoder(
    pairs: Path, valid: Path | None, settings: BiEncoderTraining, request: Target, progress: Progress
) -> Outcome:
    """Train a bi-encoder on a file of labelled pairs and write it to a folder.

    Raises:
        DupmineError: pairs, settings, a base model or a folder that do not fit; see its subclasses.
    """
    sets = read_sets(pairs, valid, settings.pairs, settings.training.seed)
    require_labels(sets, binary=settings.objective.loss != "cosine", batch=settings.training.batch_size)
    sets = _with_negatives(sets, settings, progress)
    return run_training(sets, settings, prepare_bi_encoder, request, progress)


def _with_pseudo_labels(sets: PairSets, settings: CrossEncoderTraining) -> PairSets:
    wanted, head = settings.pseudo_labels, settings.model.head
    if wanted.run is None:
        return sets
    if head != "sigmoid":
        raise SettingsError(
            f"setting pseudo_labels.run: probabilities are learned by a model of head sigmoid, not {head}: "
            "set model.head to sigmoid, or leave it out"
        )
    return add_pseudo_labels(sets, Path(wanted.run), wanted, settings.training.seed)


def _with_negatives(sets: PairSets, settings: TrainSettings, progress: Progress) -> PairSets:
    wanted = settings.negatives
    if wanted.corpus is None:
        return sets
    compute = resolve_device(settings.compute)
    documents = read_corpus([wanted.corpus], CorpusSettings()).documents
    texts = collapse_exact_duplicates(documents[TEXT]).texts
    with quiet_loading():
        search = _search_in(texts, wanted, compute, progress)
        guard = _guard(wanted, compute, progress)
    return add_negatives(sets, texts, wanted, search, guard)
