"""Corpus-aware decisions that were fitted to a rule instead of labels, for the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt

from dupmine.inference.locate import fingerprint
from dupmine.rerank.calibration import fingerprint_logits
from dupmine.rerank.curves import Platt
from dupmine.rerank.decision import FEATURES, Decision
from dupmine.rerank.records import FittedOn
from dupmine.rerank.thresholds import OperatingPoint, Thresholds

Table = npt.NDArray[np.float32]
Rule = Callable[[Table], npt.NDArray[np.bool_]]


def feature(table: Table, name: str) -> Table:
    """Return a column of a table of features."""
    return table[:, FEATURES.index(name)]


def fitted_to(rule: Rule, *, n_tokens: int, floor: float, seed: int = 6) -> Decision:
    """Return a decision whose trees have learned a rule over features between 0 and 1."""
    table = np.random.default_rng(seed).random((2000, len(FEATURES))).astype(np.float32)
    trees = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_leaves": 4, "seed": 1, "num_threads": 1},
        lightgbm.Dataset(table, rule(table).astype(np.float32), feature_name=list(FEATURES)),
        20,
    )
    certain = (1.0, 1.0)
    point = OperatingPoint(
        threshold=0.5,
        precision=1,
        precision_interval=certain,
        recall=1,
        recall_interval=certain,
        f1=1,
        f1_interval=certain,
    )
    return Decision(
        bi_encoder="",
        cross_encoder="",
        floor=floor,
        corpus_texts=1,
        pairs=FittedOn(n=2, duplicates=1, sha256=""),
        features=FEATURES,
        curve=Platt(slope=2.0, intercept=0.5),
        ece={},
        average_precision={},
        thresholds=Thresholds(best_f1=point, target_precision={}, reach=((0.9, 0.7),)),
        idf=tuple([1.0] * n_tokens),
        trees=trees.model_to_string(),
    )


def with_decision(cross_encoder: Path, bi_encoder: Path, decision: Decision, folder: Path) -> Path:
    """Copy a cross-encoder to `folder` and put a decision for it and a bi-encoder beside it."""
    shutil.copytree(cross_encoder, folder)
    own = {"bi_encoder": fingerprint(bi_encoder), "cross_encoder": fingerprint_logits(folder, None)}
    decision.model_copy(update=own).write(folder)
    return folder
