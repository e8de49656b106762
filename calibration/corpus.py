"""What `calibrate` fits to labelled pairs of a mined corpus: the decision, and the steps before it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..corpus.labelled import pairs_sha256
from ..corpus.questions import question_components
from ..corpus.unique import collapse_exact_duplicates
from ..inference.device import resolve_device
from ..inference.locate import load_tokenizer, locate_model, quiet_loading, read_config
from ..inference.tokens import tokenise
from ..miner import Miner
from ..progress import Progress
from ..rerank.bands import Shortcuts
from ..rerank.calibration import load_calibration, reference_threshold
from ..rerank.decision import Decision, identity
from ..rerank.student import FOLDER, load_student, put_student, student_sha256
from ..results.result import MiningResult, run_of_model
from ..schema import TEXT, Floats, LabelledPairs, ScoredPairs, TokenStore
from ..settings import MiningSettings
from .fit_cascade import Student, fit_shortcuts
from .fit_decision import fit_decision
from .probabilities import CalibrateSettings, require_pairs, require_place, write_beside

# The last layer computes the first token alone: with what else a pair takes, half of a layer's time.
_LAST = 0.5
_ALONE = {"decision": "pair", "bands": "off", "student": "off"}


@dataclass(frozen=True, slots=True)
class FittedToCorpus:
    """A decision and the steps before it; `student` is the folder of the one that these were fitted with."""

    decision: Decision
    shortcuts: Shortcuts
    student: Path | None

    def write(self, folder: Path) -> None:
        """Write `decision.json`, `cascade.json` and a student that lies elsewhere into a model's folder."""
        if self.student is not None and self.student != folder / FOLDER:
            shutil.copytree(self.student, folder / FOLDER, dirs_exist_ok=True)
        self.decision.write(folder)
        self.shortcuts.write(folder)


def calibrate_to_corpus(
    settings: CalibrateSettings,
    pairs: LabelledPairs,
    corpus: Path,
    progress: Progress,
    *,
    student: Path | None = None,
    out: Path | None = None,
) -> tuple[FittedToCorpus, Path]:
    """Fit the decision and the cascade of a cross-encoder; return them and the folder they are in.

    `corpus` is the folder of a run with the model, or a file, which is mined first; `student` is a model that
    `dupmine train student` made, by default the one beside the cross-encoder. All is written beside the
    model or, with `out`, into a copy of it.

    Raises:
        InputError: the pairs do not do, are not in the corpus, or the run is one of another model.
        ModelError: a model cannot be found or loaded, or the student is one of another.
        OutputError: there is no writing to the model's folder, or to `out`.
    """
    name = settings.rerank.cross_encoder
    folder = locate_model(name)
    require_place(name, folder, out)
    require_pairs(pairs, int(np.unique(question_components(pairs)).size), settings.calibration.folds)
    result = _mined(settings, corpus, folder, progress)
    with tempfile.TemporaryDirectory(prefix="dupmine-student-") as temporary:
        own = folder / FOLDER if student is None else Path(temporary) / FOLDER
        if student is not None:
            put_student(student, folder, own)
        fitted = _fit(settings, pairs, result, folder, own, progress)
        return fitted, write_beside(fitted, folder, out)


def _mined(settings: CalibrateSettings, corpus: Path, folder: Path, progress: Progress) -> MiningResult:
    if (corpus / "manifest.json").is_file():
        return run_of_model(corpus, settings.rerank.cross_encoder, folder)
    stages = {"corpus": settings.corpus, "retrieval": settings.retrieval, "compute": settings.compute}
    rerank = settings.rerank.model_copy(update=_ALONE)
    miner = Miner(MiningSettings(rerank=rerank, **stages), progress=progress.enabled)
    return miner.mine(corpus)


def _fit(
    settings: CalibrateSettings,
    pairs: LabelledPairs,
    result: MiningResult,
    folder: Path,
    student: Path,
    progress: Progress,
) -> FittedToCorpus:
    calibration = load_calibration(folder) if result.settings.rerank.calibrate else None
    tokenizer, folds, seed = load_tokenizer(folder), settings.calibration.folds, settings.calibration.seed
    texts = collapse_exact_duplicates(result.corpus.documents[TEXT]).texts
    tokens = tokenise(texts, tokenizer, max_tokens=result.settings.corpus.max_tokens, progress=progress)
    cross_encoder = identity(folder, calibration)
    decision = fit_decision(
        result,
        pairs,
        tokens,
        cross_encoder=cross_encoder,
        n_tokens=tokenizer.get_vocab_size(),
        sha256=pairs_sha256(pairs),
        folds=folds,
        seed=seed,
    )
    shortcuts = fit_shortcuts(
        result,
        pairs,
        tokens,
        tokenizer,
        cross_encoder=cross_encoder,
        threshold=reference_threshold(calibration),
        decision=decision,
        student=_scores_of(student, folder, tokens, settings, progress),
        folds=folds,
        seed=seed,
        progress=progress,
    )
    return FittedToCorpus(decision, shortcuts, student if shortcuts.student else None)


def _scores_of(
    student: Path, folder: Path, tokens: TokenStore, settings: CalibrateSettings, progress: Progress
) -> Student | None:
    """Return a student's fingerprint, what scores pairs with it, and its share of the work; else None."""
    sha256 = student_sha256(student)
    if sha256 is None:
        return None
    with quiet_loading():
        scorer = load_student(student, folder, resolve_device(settings.compute))

    def score(pairs: ScoredPairs) -> Floats:
        return scorer.score(tokens, pairs.left, pairs.right, progress)

    work, all_work = (read_config(of)["num_hidden_layers"] - 1 + _LAST for of in (student, folder))
    return sha256, score, work / all_work
