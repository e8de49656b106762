"""What `calibrate` fits to labelled pairs of a mined corpus: the decision and the cascade."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..inference.locate import fingerprint, load_tokenizer
from ..inference.tokens import tokenise
from ..miner import Miner
from ..progress import Progress
from ..rerank.calibration import fingerprint_logits, load_calibration
from ..rerank.cascade import NO_CASCADE, FittedCascade
from ..rerank.decision import Decision
from ..rerank.thresholds import reference_threshold
from ..results.result import MiningResult
from ..schema import LabelledPairs
from ..settings import MiningSettings
from .fit_cascade import fit_cascade
from .fit_decision import fit_decision
from .labelled_run import label_run
from .probabilities import CalibrateSettings, locate_writable, require_pairs, write_beside

_EVERY_PAIR = {"decision": "pair", "bands": "off"}


def calibrate_to_corpus(
    settings: CalibrateSettings,
    pairs: LabelledPairs,
    corpus: Path,
    progress: Progress,
    *,
    out: Path | None = None,
) -> tuple[Decision, FittedCascade, Path]:
    """Fit the decision and the cascade of a cross-encoder; return them and the folder they are in.

    `corpus` is the folder of a run with the model, or a file, which is mined first. Both are written beside
    the model or, with `out`, into a copy of it.

    Raises:
        InputError: the pairs cannot be used or are not in the corpus, or the run is one of another model.
        ModelError: a model cannot be found or loaded.
        OutputError: the model's folder, or `out`, cannot be written.
    """
    folder = locate_writable(settings.rerank.cross_encoder, out)
    require_pairs(pairs, settings.calibration.folds)
    result = _mine(settings, corpus, folder, progress)
    decision, cascade = _fit(settings, pairs, result, folder, progress)
    return decision, cascade, write_beside([decision, cascade], folder, out)


def _mine(settings: CalibrateSettings, corpus: Path, folder: Path, progress: Progress) -> MiningResult:
    if (corpus / "manifest.json").is_file():
        return _load_run(corpus, settings.rerank.cross_encoder, folder)
    stages = {"corpus": settings.corpus, "retrieval": settings.retrieval, "compute": settings.compute}
    rerank = settings.rerank.model_copy(update=_EVERY_PAIR)
    miner = Miner(MiningSettings(rerank=rerank, **stages), progress=progress.enabled)
    return miner.mine(corpus)


def _load_run(run: Path, name: str, folder: Path) -> MiningResult:
    """Load a run in which the cross-encoder in `folder` scored every pair."""
    result = MiningResult.load(run)
    models = result.manifest["models"]
    if models["cross_encoder"]["sha256"] != fingerprint(folder):
        raise InputError(
            f"{run} is not a run with the model {name} as it is now (weights and calibration): mine again"
        )
    if models["cascade"]["sha256"] != NO_CASCADE:
        raise InputError(
            f"{run} is a run in which the cross-encoder skipped some pairs, and all are needed: mine again "
            "with --set rerank.bands=off"
        )
    return result


def _fit(
    settings: CalibrateSettings, pairs: LabelledPairs, result: MiningResult, folder: Path, progress: Progress
) -> tuple[Decision, FittedCascade]:
    calibration = load_calibration(folder) if result.settings.rerank.calibrate else None
    tokenizer, max_tokens = load_tokenizer(folder), result.settings.corpus.max_tokens
    tokens = tokenise(result.texts, tokenizer, max_tokens=max_tokens, progress=progress)
    run = label_run(
        result,
        pairs,
        tokens,
        settings.calibration,
        cross_encoder=fingerprint_logits(folder, calibration),
        n_tokens=tokenizer.get_vocab_size(),
    )
    decision = fit_decision(run)
    threshold = reference_threshold(calibration)
    return decision, fit_cascade(run, decision, tokenizer, threshold=threshold, progress=progress)
