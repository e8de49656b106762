"""Mine the same questions with dupmine and with SemHash: seconds, candidate recall, F1 on labelled pairs.

    python benchmarks/side_by_side.py DATA [--limit 5000]

dupmine runs with its default models. SemHash runs with dupmine's bi-encoder, at the threshold with the best
F1 on split `valid` (needs pip install semhash). A pair counts as found where both questions end in one
cluster or, with SemHash, are represented by the same record. Candidate recall is the share of labelled
duplicates that reach dupmine's second stage or, for SemHash, its lowest threshold. Figures are on split
`test`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dupmine import MiningResult
from dupmine.benchmarks import machine, processes
from dupmine.benchmarks.labelled import Judge, corpus_of, read_pairs, read_questions, write_figures
from dupmine.inference.locate import locate_model
from dupmine.schema import Rows
from dupmine.settings import BUILTIN_BI_ENCODER

ROOT = Path(__file__).parent
CONFIGS = ROOT.parent / "configs"
THRESHOLDS = np.arange(60, 100) / 100
Figures = dict[str, Any]


def main() -> None:
    """Run both and write their figures."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of(arguments.data, arguments.limit, Path(folder))
        pairs = read_pairs(arguments.data)
        figures = {
            "machine": machine.describe(),
            "limit": arguments.limit,
            "dupmine": run_dupmine(corpus, pairs, CONFIGS / "quora.yaml", Path(folder)),
            "semhash MiniLM": run_semhash(corpus, pairs),
        }
    write_figures(arguments.json, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions-eval.csv and pairs.parquet")
    parser.add_argument("--limit", type=int, help="questions, those of the first labelled pairs")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "side-by-side.json")
    return parser.parse_args()


def run_dupmine(corpus: Path, pairs: pd.DataFrame, config: Path, folder: Path) -> Figures:
    """Mine in a process of its own."""
    manifest, cost = processes.mine(corpus, folder / "run", ["--config", config])
    result = MiningResult.load(folder / "run")
    labels = result.row_labels[result.row_of]
    judge = Judge(test_of(pairs), result.corpus.documents["doc_id"].to_pylist())
    rows = result.row_of[judge.left], result.row_of[judge.right]
    scored = result.scored_pairs.where(result.scored_pairs.cosine >= result.settings.retrieval.floor)
    n = len(labels)
    keys = np.minimum(*rows) * n + np.maximum(*rows)
    proposed = np.isin(keys, scored.left * n + scored.right) | (rows[0] == rows[1])
    return {
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu_seconds,
        "stages": processes.by_stage(manifest["seconds"]),
        "candidates": manifest["counts"]["candidates"],
        "candidate_recall": float(proposed[judge.actual].mean()),
        **judge.figures(labels[judge.left] == labels[judge.right]),
    }


def run_semhash(corpus: Path, pairs: pd.DataFrame) -> Figures:
    """Deduplicate with SemHash at every threshold; report the one that is best on `valid`."""
    from semhash import SemHash
    from sentence_transformers import SentenceTransformer

    folder = locate_model(BUILTIN_BI_ENCODER)
    wall, cpu = time.perf_counter(), time.process_time()
    questions = read_questions(corpus)
    model = SentenceTransformer(str(folder), device="cpu")
    records: list[Any] = questions.to_dict("records")
    index = SemHash.from_records(records, columns=["question"], model=model)
    result = index.self_deduplicate(threshold=float(THRESHOLDS[0]))
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    judges = {name: Judge(pairs[pairs["split"] == name], questions["qid"]) for name in ("valid", "test")}
    by_threshold: dict[float, dict[str, Figures]] = {}
    for threshold in THRESHOLDS:
        result.rethreshold(float(threshold))
        kept = kept_of(result, questions["qid"])
        by_threshold[round(float(threshold), 2)] = {
            split: judge.figures(kept[judge.left] == kept[judge.right]) for split, judge in judges.items()
        }
    best = max(by_threshold, key=lambda threshold: by_threshold[threshold]["valid"]["f1"])
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "threshold": best,
        "candidate_recall": by_threshold[float(THRESHOLDS[0])]["test"]["recall"],
        **by_threshold[best]["test"],
    }


def kept_of(result: Any, qids: pd.Series) -> Rows:
    """Return, for each question, the place of the one that SemHash keeps for it."""
    place = {qid: i for i, qid in enumerate(qids)}
    kept = np.arange(len(qids))
    for duplicate in result.filtered:
        kept[place[duplicate.record["qid"]]] = place[duplicate.duplicate_of["qid"]]
    return kept


def test_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that figures are reported on."""
    return pairs[pairs["split"] == "test"]


if __name__ == "__main__":
    main()
