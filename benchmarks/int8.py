"""Score labelled pairs with sentence-transformers in fp32 and with an int8 export: pairs per second and F1.

    python benchmarks/int8.py DATA/pairs.parquet [--pairs 6000] [--rounds 3] [--json FILE]

Both take texts and give logits, in turns, on all cores. The export is calibrated on pairs of split `valid`,
on which both thresholds are chosen too; the pairs that are timed and judged are drawn from split `test`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from dupmine.benchmarks.machine import describe
from dupmine.corpus.labelled import read_pairs
from dupmine.evaluation.metrics import pair_metrics
from dupmine.evaluation.model import EvaluateSettings, load_model, score_with_loaded
from dupmine.evaluation.thresholds import best_f1_threshold
from dupmine.export.model import GRAPH, ExportOptions, export_model
from dupmine.export.session import with_graph
from dupmine.inference.locate import locate_model
from dupmine.progress import SILENT
from dupmine.schema import Floats, LabelledPairs
from dupmine.settings import BUILTIN_CROSS_ENCODER, PairSettings

SETTINGS = EvaluateSettings().changed(
    {"rerank.calibrate": False, "compute.device": "cpu", "compute.precision": "fp32"}
)
Score = Callable[[LabelledPairs], Floats]


def main() -> None:
    """Run the benchmark and write its figures."""
    arguments = parse_arguments()
    valid, test = (
        drawn(read_pairs(arguments.pairs_file, PairSettings(), split=split), arguments.pairs)
        for split in ("valid", "test")
    )
    with TemporaryDirectory() as folder:
        out = Path(folder, "int8")
        export_model(arguments.model, valid, out, ExportOptions(int8=True), SETTINGS, SILENT)
        exported = with_graph(load_model(arguments.model, SETTINGS), out / GRAPH)
        longest = SETTINGS.corpus.max_tokens
        weights = {"dtype": torch.float32}  # the shipped ones are stored in half
        reference = CrossEncoder(str(locate_model(arguments.model)), device="cpu", model_kwargs=weights)
        models: dict[str, Score] = {
            "sentence_transformers_fp32": lambda pairs: predict(reference, pairs),
            "dupmine_int8": lambda pairs: score_with_loaded(exported, pairs, longest, SILENT).value,
        }
        figures = {
            "machine": describe() | {"threads": torch.get_num_threads()},
            "model": arguments.model,
            "pairs": len(test),
            **compare(models, valid, test, arguments.rounds),
        }
    print(json.dumps(figures, indent=2))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs_file", type=Path, metavar="PAIRS", help="labelled pairs with a column split")
    parser.add_argument("--model", default=BUILTIN_CROSS_ENCODER)
    parser.add_argument("--pairs", type=int, default=6000, help="pairs drawn from each split")
    parser.add_argument("--rounds", type=int, default=3, help="how often each model is timed")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "int8.json")
    return parser.parse_args()


def drawn(pairs: LabelledPairs, most: int) -> LabelledPairs:
    """Draw pairs at random."""
    return pairs.take(np.random.default_rng(0).permutation(len(pairs))[:most])


def predict(model: CrossEncoder, pairs: LabelledPairs) -> Floats:
    """Score pairs as sentence-transformers does by default, but without the logistic."""
    texts = list(zip(pairs.left, pairs.right, strict=True))
    scores: Floats = model.predict(texts, activation_fn=torch.nn.Identity())
    return scores


def compare(
    models: dict[str, Score], valid: LabelledPairs, test: LabelledPairs, rounds: int
) -> dict[str, Any]:
    """Return each model's speed and F1, and what the second is to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    processor: dict[str, list[float]] = {name: [] for name in models}
    logits: dict[str, Floats] = {}
    thresholds = {
        name: best_f1_threshold(valid.label > 0.5, score(valid)) for name, score in models.items()
    }  # and both are warm
    for _ in range(rounds):
        for name, score in models.items():
            wall, work = time.perf_counter(), time.process_time()
            logits[name] = score(test)
            seconds[name].append(time.perf_counter() - wall)
            processor[name].append(time.process_time() - work)
    found = {
        name: {
            "pairs_per_second": len(test) / median(seconds[name]),
            "pairs_per_processor_second": len(test) / median(processor[name]),
            "f1": pair_metrics(logits[name] >= thresholds[name], test.label > 0.5)["f1"],
        }
        for name in models
    }
    before, after = found.values()
    ratios = {f"{key}_ratio": after[key] / before[key] for key in before if key != "f1"}
    return found | ratios | {"f1_change": after["f1"] - before["f1"]}


if __name__ == "__main__":
    main()
