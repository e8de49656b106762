"""Evaluate a bi- or cross-encoder on labelled pairs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ..corpus.questions import distinct_texts
from ..disk.folder import replacing, write_json, write_table
from ..errors import InputError
from ..inference.device import resolve_device
from ..inference.locate import is_bi_encoder, locate_model, quiet_loading
from ..inference.tokens import tokenise
from ..progress import Progress
from ..rerank.scorer import CrossEncoder
from ..rerank.thresholds import reference_threshold
from ..retrieval.candidates import pair_cosines
from ..retrieval.encoder import BiEncoder, encode_texts
from ..schema import LabelledPairs, probabilities
from ..settings import ComputeSettings, CorpusSettings, PairSettings, RerankSettings
from ..staged import StagedSettings
from .classification import ClassificationMetrics, CorrelationMetrics, Scores, evaluate_pairs
from .thresholds import best_f1_threshold

FILES = ("evaluation.json", "mistakes.parquet", "precision-recall.svg", "reliability.svg")
MISTAKES = 50

ModelKind = Literal["bi-encoder", "cross-encoder"]


class EvaluateSettings(StagedSettings):
    """How pairs are read and scored; `rerank.cross_encoder` and `rerank.threshold` have no effect here."""

    pairs: PairSettings = PairSettings()
    corpus: CorpusSettings = CorpusSettings()
    rerank: RerankSettings = RerankSettings()
    compute: ComputeSettings = ComputeSettings()


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """A model's metrics on test pairs.

    `valid_pairs` is the number of other pairs, on which the threshold was chosen; 0 without such pairs.
    """

    model: str
    kind: ModelKind
    test: LabelledPairs
    valid_pairs: int
    scores: Scores
    pairs_per_second: float
    result: ClassificationMetrics | CorrelationMetrics

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pairs and their scores as JSON values."""
        return {
            "model": self.model,
            "kind": self.kind,
            "source": self.test.source,
            "valid_pairs": self.valid_pairs,
            "calibrated": self.scores.calibrated,
            "pairs_per_second": self.pairs_per_second,
            **asdict(self.result),
        }

    def mistakes(self, most: int = MISTAKES) -> pa.Table:
        """Return the pairs whose probability is farthest from their label, the worst first."""
        error = np.abs(self.test.label - self.scores.probability)
        worst = np.argsort(-error, kind="stable")[:most]
        pairs = self.test.take(worst)
        missing = [None] * len(pairs)
        return pa.table(
            {
                "left_id": pa.array(pairs.left_id or missing, pa.string()),
                "right_id": pa.array(pairs.right_id or missing, pa.string()),
                "left": pa.array(pairs.left, pa.string()),
                "right": pa.array(pairs.right, pa.string()),
                "label": pairs.label,
                self.scores.kind: self.scores.value[worst],
                "probability": self.scores.probability[worst],
            }
        )


def evaluate_model(
    name: str,
    test: LabelledPairs,
    valid: LabelledPairs | None,
    settings: EvaluateSettings,
    progress: Progress,
) -> ModelEvaluation:
    """Evaluate a model on `test`, at the threshold with the best F1 on `valid`.

    For labels between 0 and 1 the metrics are correlations, and `valid` is not used.

    Raises:
        InputError: all pairs of `test` or `valid` have the same label.
        ModelError: the model cannot be found or loaded, or is neither a bi- nor a cross-encoder.
        SettingsError: the device, the precision or the head do not fit.
    """
    sets = [test] if valid is None or not test.is_binary else [test, valid]
    for pairs in sets:
        require_labels(pairs)
    if not all(pairs.is_binary == test.is_binary for pairs in sets):
        raise InputError(f"{sets[-1].source}: expected labels 0 and 1, as {test.source} has")
    model, threshold, valid_pairs = load_model(name, settings), None, 0
    for pairs in sets[1:]:
        chosen = score_with_loaded(model, pairs, settings.corpus.max_tokens, progress).decision
        threshold, valid_pairs = best_f1_threshold(pairs.label > 0.5, chosen), len(pairs)
    scores = score_with_loaded(model, test, settings.corpus.max_tokens, progress)
    return ModelEvaluation(
        name,
        "bi-encoder" if scores.kind == "cosine" else "cross-encoder",
        test,
        valid_pairs,
        scores,
        len(test) / max(scores.seconds, 1e-9),
        evaluate_pairs(test, scores, threshold, binary=test.is_binary),
    )


def write_evaluation(evaluation: ModelEvaluation, out: Path, *, overwrite: bool) -> None:
    """Write `FILES` into a folder; without the plots where labels are continuous.

    Raises:
        OutputError: the folder cannot be written.
    """
    from .plots import plot_precision_recall, plot_reliability

    with replacing(out, FILES, overwrite=overwrite) as folder:
        write_json(folder / "evaluation.json", evaluation.to_dict())
        write_table(folder / "mistakes.parquet", evaluation.mistakes())
        if evaluation.test.is_binary:
            actual, scores = evaluation.test.label > 0.5, evaluation.scores
            name = Path(evaluation.model).name
            plot_precision_recall({name: (actual, scores.value)}, folder / "precision-recall.svg")
            plot_reliability(actual, scores.probability, folder / "reliability.svg")


def load_model(name: str, settings: EvaluateSettings) -> BiEncoder | CrossEncoder:
    """Load a bi- or cross-encoder.

    Raises:
        ModelError: the model cannot be found or loaded, or is neither a bi- nor a cross-encoder.
        SettingsError: the device, the precision or the head do not fit.
    """
    device = resolve_device(settings.compute)
    folder = locate_model(name)
    with quiet_loading():
        if is_bi_encoder(folder):
            return BiEncoder(name, device)
        return CrossEncoder(settings.rerank.model_copy(update={"cross_encoder": name}), device)


def score_with_loaded(
    model: BiEncoder | CrossEncoder, pairs: LabelledPairs, max_tokens: int, progress: Progress
) -> Scores:
    """Score pairs, cutting texts to `max_tokens`; every distinct text is tokenised once."""
    started = time.perf_counter()
    texts, left, right = distinct_texts(pairs)
    if isinstance(model, BiEncoder):
        vectors = encode_texts(model, texts, progress, max_tokens=max_tokens)
        cosine = pair_cosines(vectors, left, right)
        return Scores("cosine", cosine, np.clip(cosine, 0, 1), False, time.perf_counter() - started)
    tokens = tokenise(texts, model.tokenizer, max_tokens=max_tokens, progress=progress)
    logit = model.score(tokens, left, right, progress)
    seconds = time.perf_counter() - started
    shipped = reference_threshold(model.calibration)
    return Scores("logit", logit, probabilities(logit), model.calibration is not None, seconds, shipped)


def require_labels(pairs: LabelledPairs) -> None:
    """Check that pairs have different labels.

    Raises:
        InputError: all have the same.
    """
    if len(np.unique(pairs.label)) < 2:
        raise InputError(
            f"{pairs.source}: all {len(pairs):,} pairs have the label {pairs.label[0]:g}; "
            "an evaluation needs different and equal ones"
        )
