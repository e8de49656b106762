"""How far a calibration error hangs on which questions are in split `valid` and which in `test`.

    python benchmarks/redrawn_splits.py PAIRS [--model quora-minilm-l6] [--draws 1000] [--out FILE]

The pairs of both splits, none of which the model was trained on, are dealt anew into two of the same sizes:
groups of pairs that hang together by their questions stay together. Each time the model is calibrated on the
one by isotonic regression, as the built-in one is, and its error (ECE, 15 bins) taken on the other. The
splits as they are stand beside that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import trange

from dupmine.benchmarks import machine
from dupmine.benchmarks.labelled import write_figures
from dupmine.calibration.curves import fit_isotonic
from dupmine.corpus.labelled import read_pairs
from dupmine.corpus.questions import question_components
from dupmine.evaluation.model import EvaluateSettings, load_model, score_with_loaded
from dupmine.evaluation.weighted_metrics import calibration_error
from dupmine.progress import Progress
from dupmine.schema import Flags, Floats, LabelledPairs, Rows, probabilities
from dupmine.settings import PairSettings

SETTINGS = EvaluateSettings().changed({"rerank.calibrate": False})
TARGET = 0.03


def main() -> None:
    """Score the pairs, deal them anew and write the figures."""
    arguments = parse_arguments()
    splits = [read_pairs(arguments.pairs_file, PairSettings(), split=name) for name in ("valid", "test")]
    pairs = LabelledPairs.concatenate(splits, source=splits[1].source)
    model = load_model(arguments.model, SETTINGS)
    logit = score_with_loaded(model, pairs, SETTINGS.corpus.max_tokens, Progress()).value
    actual, group = pairs.label > 0.5, question_components(pairs)
    as_they_are = np.arange(len(pairs)) < len(splits[0])
    rng = np.random.default_rng(arguments.seed)
    errors = np.array(
        [
            error_of(logit, actual, dealt(group, len(splits[0]), rng))
            for _ in trange(arguments.draws, desc="draws", disable=None)
        ]
    )
    figures = {
        "machine": machine.describe(),
        "model": arguments.model,
        "pairs": [len(split) for split in splits],
        "as_they_are": error_of(logit, actual, as_they_are),
        "redrawn": summary(errors),
    }
    write_figures(arguments.out, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs_file", type=Path, metavar="PAIRS", help="labelled pairs with a column split")
    parser.add_argument("--model", default="quora-minilm-l6")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "redrawn-splits.json")
    return parser.parse_args()


def dealt(group: Rows, size: int, rng: np.random.Generator) -> Flags:
    """Return which pairs come into a split of about `size`: whole groups, in random order."""
    pairs = np.bincount(group)
    order = rng.permutation(len(pairs))
    inside = np.zeros(len(pairs), bool)
    inside[order] = np.cumsum(pairs[order]) <= size
    return np.asarray(inside[group])


def error_of(logit: Floats, actual: Flags, fitted: Flags) -> float:
    """Calibrate on the pairs in `fitted` and return the calibration error on the others."""
    wide = logit.astype(np.float64)
    log_odds = fit_isotonic(wide[fitted], actual[fitted]).log_odds(wide[~fitted])
    return calibration_error(actual[~fitted], probabilities(log_odds))


def summary(errors: Floats) -> dict[str, Any]:
    """Return the median of the errors, where 95 % of them lie, and the share that meets the target."""
    low, median, high = np.quantile(errors, [0.025, 0.5, 0.975]).tolist()
    within = float((errors <= TARGET).mean())
    return {"draws": len(errors), "median": median, "interval": [low, high], f"at_most_{TARGET}": within}


if __name__ == "__main__":
    main()
