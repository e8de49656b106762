"""What a run's pseudo-labels bring where few pairs are labelled.

    python benchmarks/few_labels.py PAIRS [--labelled 3000] [--steps 1900] [--work FOLDER] [--out FILE]

PAIRS is a file of labelled pairs with a column split. Some pairs of split `train` train a cross-encoder from
MiniLM; it is calibrated on some of `valid`, mines a tenth of the questions of `train`, and the corpus-aware
decision is fitted to that run. Then the model is trained further in two ways: with the pairs of the run,
labelled by the decision, and with the labelled pairs alone. All are evaluated on split `test`, whose
questions none of them has seen, at the threshold of those of `valid`. Steps that are done in FOLDER are not
done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dupmine.benchmarks import machine
from dupmine.benchmarks.labelled import write_figures
from dupmine.corpus.labelled import read_pairs
from dupmine.corpus.questions import question_components
from dupmine.settings import PairSettings

SEED = 7
MODELS = ("first", "longer", "taught")
COLUMNS = ["question1", "question2", "is_duplicate"]
ALONE = ("--set", "rerank.decision=pair", "--set", "rerank.bands=off")


def main() -> None:
    """Train and judge the models and write the figures."""
    arguments = parse_arguments()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    texts = write_files(arguments.pairs_file, work, arguments.labelled)
    files = ("train.csv", "--valid", "valid.csv")
    on = ("--base", "first", "--learning-rate", "8e-5")
    taught = {
        "training.label_smoothing": 0.05,
        "training.max_steps": arguments.steps,
        "training.evaluate_every": arguments.steps // 2,
        "pseudo_labels.most_pairs": 60_000,
    }
    options = [part for name, value in taught.items() for part in ("--set", f"{name}={value}")]

    def do(out: str, *command: str) -> None:
        if not (work / out).exists():
            subprocess.run([sys.executable, "-m", "dupmine", *command], cwd=work, check=True)

    def judge(model: str) -> None:
        out = f"{model}-judged"
        do(out, "evaluate", model, "test.csv", "--valid", "valid.csv", "--out", out)

    first = ("--learning-rate", "1e-4", "--epochs", "4", "--out", "first")
    do("first", "train", "cross-encoder", *files, *first)
    judge("first")  # as the others, before it is calibrated
    do("first/dupmine.json", "calibrate", "first", "valid.csv")
    do("alone", "mine", "corpus.csv", "--cross-encoder", "first", *ALONE, "--out", "alone")
    do("first/decision.json", "calibrate", "first", "valid.csv", "--corpus", "alone")
    do("run", "mine", "corpus.csv", "--cross-encoder", "first", "--out", "run")
    do("taught", "train", "cross-encoder", *files, *on, *options, "--pseudo-labels", "run", "--out", "taught")
    do("longer", "train", "cross-encoder", *files, *on, "--epochs", "6", "--out", "longer")
    for model in MODELS[1:]:
        judge(model)
    decision = json.loads((work / "first" / "decision.json").read_text(encoding="utf-8"))
    figures = {
        "machine": machine.describe(),
        "labelled": arguments.labelled,
        "texts": texts,
        "on_valid": decision["average_precision"],
        "on_test": {model: judged(work / f"{model}-judged") for model in MODELS},
    }
    write_figures(arguments.out, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs_file", type=Path, metavar="PAIRS", help="labelled pairs with a column split")
    parser.add_argument(
        "--labelled", type=int, default=3000, help="pairs of train; of valid two thirds of it"
    )
    parser.add_argument("--steps", type=int, default=1900, help="of the training with pseudo-labels")
    parser.add_argument("--work", type=Path, default=Path("out/few-labels"))
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "few-labels.json")
    return parser.parse_args()


def write_files(pairs_file: Path, work: Path, labelled: int) -> int:
    """Write `train.csv`, `valid.csv`, `test.csv` and the corpus; return how many texts that has."""
    pairs = pd.read_parquet(pairs_file)
    drawn = {split: pairs[pairs["split"] == split] for split in ("train", "valid", "test")}
    for split, most in (("train", labelled), ("valid", 2 * labelled // 3)):
        drawn[split] = drawn[split].sample(min(most, len(drawn[split])), random_state=SEED)
    for split, of in drawn.items():
        of[COLUMNS].to_csv(work / f"{split}.csv", index=False)
    train = read_pairs(pairs_file, PairSettings(), split="train")
    group = question_components(train)
    kept = (np.random.default_rng(SEED).random(group.max() + 1) < 0.1)[group]
    some = train.take(kept)
    texts = sorted({*some.left, *some.right, *drawn["valid"]["question1"], *drawn["valid"]["question2"]})
    pd.DataFrame({"question": texts}).to_csv(work / "corpus.csv", index=False)
    return len(texts)


def judged(folder: Path) -> dict[str, Any]:
    """Return the average precision and F1 of an evaluation, with their intervals."""
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return {"average_precision": found["average_precision"], "f1": found["validated"]["f1"]}


if __name__ == "__main__":
    main()
