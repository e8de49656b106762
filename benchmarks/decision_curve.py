"""How good the corpus-aware decision is by how many labelled pairs it was fitted to.

    python benchmarks/decision_curve.py DATA RUN [--shares 0.05,0.1,0.25,0.5,1] [--draws 3] [--json FILE]

DATA and RUN are those of decision.py. The decision is fitted to shares of the question groups of split
`valid` and judged on all labelled pairs of `test` in the corpus of the run, at its own threshold; figures are
means over the draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dupmine import Miner, MiningResult
from dupmine.benchmarks.decision import of_run, tokens_of
from dupmine.benchmarks.labelled import write_figures
from dupmine.benchmarks.machine import describe
from dupmine.calibration.fit_decision import fit_decision
from dupmine.calibration.labelled_run import label_run
from dupmine.calibration.probabilities import CalibrationSettings
from dupmine.corpus.labelled import read_pairs
from dupmine.corpus.questions import question_components
from dupmine.pipeline import Models
from dupmine.schema import LabelledPairs, TokenStore
from dupmine.settings import PairSettings

ROOT = Path(__file__).parent


def main() -> None:
    """Fit and judge, and write the figures."""
    arguments = parse_arguments()
    miner = Miner(config=arguments.config, decision="corpus")
    pairs_file = arguments.data / "pairs.parquet"
    valid = read_pairs(pairs_file, PairSettings(), split="valid")
    labelled = pd.read_parquet(pairs_file).query("split == 'test'")
    result = MiningResult.load(arguments.run)
    shares = [float(share) for share in arguments.shares.split(",")]
    tokens = tokens_of(result.texts, miner)

    def fitted(pairs: LabelledPairs) -> dict[str, float]:
        return fitted_to(pairs, labelled, result, tokens, miner.models)

    curve = [at_share(share, arguments.draws, valid, fitted) for share in shares]
    write_figures(arguments.json, {"machine": describe(), "draws": arguments.draws, "curve": curve})


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with pairs.parquet")
    parser.add_argument("run", type=Path, help="run that the cross-encoder decided alone")
    parser.add_argument("--shares", default="0.05,0.1,0.25,0.5,1", help="of the question groups of `valid`")
    parser.add_argument("--draws", type=int, default=3, help="fits per share")
    parser.add_argument("--config", type=Path, default=ROOT.parent / "configs" / "quora.yaml")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "decision-curve.json")
    return parser.parse_args()


def at_share(
    share: float, draws: int, valid: LabelledPairs, fitted: Callable[[LabelledPairs], dict[str, float]]
) -> dict[str, float]:
    """Return the mean figures of decisions fitted to a share of the labelled pairs."""
    group = question_components(valid)
    drawn = np.random.default_rng(0).random((1 if share == 1 else draws, int(group.max()) + 1)) < share
    some = [valid.take(chosen[group]) for chosen in drawn]
    found = [{"pairs": float(len(pairs)), **fitted(pairs)} for pairs in some]
    return {"share": share, **{name: float(np.mean([of[name] for of in found])) for name in found[0]}}


def fitted_to(
    pairs: LabelledPairs, labelled: pd.DataFrame, result: MiningResult, tokens: TokenStore, models: Models
) -> dict[str, float]:
    """Return F1 and average precision on `test` of a decision fitted to some labelled pairs."""
    assert models.decision is not None
    run = label_run(
        result,
        pairs,
        tokens,
        CalibrationSettings(),
        cross_encoder=models.scorer.logits_sha256,
        n_tokens=models.scorer.tokenizer.get_vocab_size(),
    )
    decision = fit_decision(run)
    found = of_run(result, tokens, labelled, replace(models, decision=decision))["decision"]
    return {name: found[name] for name in ("f1", "average_precision")}


if __name__ == "__main__":
    main()
