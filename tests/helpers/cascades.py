"""Cascades that were fitted to a rule instead of a run, for the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import lightgbm
import numpy as np

from dupmine.inference.locate import fingerprint
from dupmine.rerank.bands import FEATURES, Bands, Bounds
from dupmine.rerank.calibration import fingerprint_logits
from dupmine.rerank.cascade import FittedCascade
from dupmine.rerank.records import FittedOn


def bounds(lower: float | None, upper: float | None) -> Bounds:
    """Return bounds that decided half of the pairs, and one in a hundred of these otherwise."""
    return Bounds(lower=lower, upper=upper, decided=0.5, otherwise=0.01, f1={})


def bands_by_cosine(middle: float, lower: float | None, upper: float | None, *, n_tokens: int = 500) -> Bands:
    """Return bands whose log-odds grow from -4 to 4 with the cosine, by steps around `middle`."""
    table = np.random.default_rng(6).random((4000, len(FEATURES))).astype(np.float32)
    table[:, 0] = np.random.default_rng(7).uniform(middle - 0.2, middle + 0.2, 4000)
    probability = 1 / (1 + np.exp(-20 * (table[:, 0] - middle)))
    trees = lightgbm.train(
        {"objective": "cross_entropy", "verbose": -1, "num_leaves": 8, "seed": 1, "num_threads": 1},
        lightgbm.Dataset(table, probability, feature_name=list(FEATURES)),
        40,
    )
    return Bands(
        features=FEATURES,
        idf=tuple([1.0] * n_tokens),
        kinds={"numbers": (5, 6)},
        trees=trees.model_to_string(),
        bounds=bounds(lower, upper),
    )


def fitted_cascade(bands: Bands, *, floor: float, threshold: float = 0.5) -> FittedCascade:
    """Return a cascade for no model in particular."""
    return FittedCascade(
        bi_encoder="",
        cross_encoder="",
        floor=floor,
        threshold=threshold,
        candidates=1,
        pairs=FittedOn(n=2, duplicates=1, sha256=""),
        bands=bands,
    )


def with_cascade(cross_encoder: Path, bi_encoder: Path, cascade: FittedCascade, folder: Path) -> Path:
    """Copy a cross-encoder to `folder`, if it is another, and put a cascade for a bi-encoder beside it."""
    if folder != cross_encoder:
        shutil.copytree(cross_encoder, folder)
    own = {"bi_encoder": fingerprint(bi_encoder), "cross_encoder": fingerprint_logits(folder, None)}
    cascade.model_copy(update=own).write(folder)
    return folder
