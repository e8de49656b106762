"""How good scores of labelled pairs are, with 95 % bootstrap intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..schema import Flags, Floats, Rows
from .bootstrap import SEED, Estimate, bootstrap
from .measures import measure_calibration, measure_correlation, measure_decision, measure_ranking
from .thresholds import best_f1_threshold


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of pairs, each `(n_pairs,) float32`.

    `value` orders them: the logit of a cross-encoder or the cosine of a bi-encoder. `probability` comes from
    a calibration beside the model (`calibrated`), else it is the logistic of the logit or the cosine clipped
    to 0 to 1. `seconds` is what tokenising and scoring took.
    """

    kind: Literal["logit", "cosine"]
    value: Floats
    probability: Floats
    calibrated: bool
    seconds: float

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.value)

    @property
    def decision(self) -> Floats:
        """What a threshold is compared with: a cross-encoder's probability, a bi-encoder's cosine."""
        return self.probability if self.kind == "logit" else self.value

    def take(self, rows: slice) -> Scores:
        """Return the scores of some pairs."""
        return Scores(self.kind, self.value[rows], self.probability[rows], self.calibrated, self.seconds)


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """How good the decision `score >= threshold` is; `confusion` counts pairs."""

    threshold: float
    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    confusion: dict[str, int]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How good a model is on pairs labelled 0 or 1.

    `honest` is at the threshold chosen on other pairs, None where there are none; `best` is at the threshold
    that is best on these pairs, which flatters the model.
    """

    pairs: int
    duplicates: int
    average_precision: Estimate
    roc_auc: Estimate
    calibration_error: Estimate
    honest: AtThreshold | None
    best: AtThreshold

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well scores go with continuous labels."""

    pairs: int
    pearson: Estimate
    spearman: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def judge(
    actual: Flags,
    scores: Scores,
    threshold: float | None,
    *,
    group: Rows | None = None,
    seed: int = SEED,
) -> Judgement:
    """Judge a model on labels, `(n_pairs,) bool` of both classes; `threshold` comes from other pairs.

    Pairs with the same number in `group`, `(n_pairs,)`, hang together by their questions.
    """
    thresholds = {"best": best_f1_threshold(actual, scores.decision)}
    if threshold is not None:
        thresholds["honest"] = threshold
    decided = {name: scores.decision >= np.float64(at) for name, at in thresholds.items()}
    measures = [measure_ranking(actual, scores.value), measure_calibration(actual, scores.probability)]
    measures += [measure_decision(actual, predicted, name) for name, predicted in decided.items()]
    found = bootstrap(len(actual), measures, group=group, seed=seed)
    parts = {
        name: AtThreshold(
            at,
            accuracy=found[f"{name} accuracy"],
            precision=found[f"{name} precision"],
            recall=found[f"{name} recall"],
            f1=found[f"{name} f1"],
            confusion=confusion_counts(actual, decided[name]),
        )
        for name, at in thresholds.items()
    }
    return Judgement(
        len(actual),
        int(actual.sum()),
        found["average_precision"],
        found["roc_auc"],
        found["calibration_error"],
        parts.get("honest"),
        parts["best"],
    )


def judge_agreement(
    label: Floats, scores: Scores, *, group: Rows | None = None, seed: int = SEED
) -> Agreement:
    """Judge a model on continuous labels by the correlation of its scores, logits or cosines, with them."""
    found = bootstrap(len(label), [measure_correlation(label, scores.value)], group=group, seed=seed)
    return Agreement(len(label), found["pearson"], found["spearman"])


def confusion_counts(actual: Flags, predicted: Flags) -> dict[str, int]:
    """Count the pairs by label and decision."""
    return {
        "true_positives": int((actual & predicted).sum()),
        "false_positives": int((~actual & predicted).sum()),
        "false_negatives": int((actual & ~predicted).sum()),
        "true_negatives": int((~actual & ~predicted).sum()),
    }
