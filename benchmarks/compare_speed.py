"""Run dupmine and a plain sentence-transformers pipeline in turn on the same questions; print the ratios.

    python benchmarks/compare_speed.py DATA [--variant default] [--limit 5000] [--sample 2000] [--rounds 2]

The reference is reference_pipeline.py; `--python` starts it in another environment, as variant `openvino`
needs. Whoever goes first changes from round to round; of each stage the fastest round counts. dupmine's total
is that of its process from start to end, the reference's that of its stages alone. The share of the limit is
the matrix products of a stage over what int8 products reach here, measured before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dupmine import MiningResult
from dupmine.benchmarks import machine, processes
from dupmine.benchmarks.labelled import Judge, corpus_of, read_pairs, write_figures
from dupmine.inference.layout import find_layout
from dupmine.inference.locate import load_tokenizer, locate_model, read_config
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT

ROOT = Path(__file__).parent
Figures = dict[str, Any]


def main() -> None:
    """Run the rounds and write the figures."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(arguments, Path(folder))
    write_figures(arguments.json or ROOT / "results" / f"speed-{arguments.variant}.json", figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions-eval.csv and pairs.parquet")
    parser.add_argument("--variant", choices=("default", "bf16", "openvino"), default="default")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the reference")
    parser.add_argument("--limit", type=int, help="questions, those of the first labelled pairs")
    parser.add_argument("--sample", type=int, help="candidate pairs the reference scores; by default all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--config", type=Path, default=ROOT.parent / "configs" / "quora.yaml")
    parser.add_argument("--set", action="append", default=[], help="stage.key=value for dupmine")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def compare(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Run both in turn and return costs, quality and ratios."""
    corpus = corpus_of(arguments.data, arguments.limit, folder)
    limits = [machine.matmul_limits()]
    ours, theirs = [], []
    for i in range(arguments.rounds):
        for who in ("dupmine", "reference")[:: 1 if i % 2 == 0 else -1]:
            if who == "dupmine":
                ours.append(run_dupmine(corpus, arguments, folder))
            else:
                theirs.append(run_reference(arguments, folder))
    limits.append(machine.matmul_limits())
    best = {name: max(limit[name] for limit in limits) for name in limits[0]}
    dupmine, reference = fastest(ours), fastest(theirs)
    result = MiningResult.load(folder / "run")
    dupmine["labelled"] = judge(result, arguments)
    return {
        "machine": machine.describe(),
        "gflop_per_second": best,
        "limit": arguments.limit,
        "rounds": arguments.rounds,
        "variant": arguments.variant,
        "extrapolated": reference["extrapolated"],
        "dupmine": dupmine,
        "reference": reference,
        "times_faster": ratios(dupmine, reference),
        "share_of_int8_limit": shares(result, dupmine, best["int8"]),
    }


def run_dupmine(corpus: Path, arguments: argparse.Namespace, folder: Path) -> Figures:
    """Mine in a process of its own."""
    options = ["--config", arguments.config, *(part for item in arguments.set for part in ("--set", item))]
    manifest, cost = processes.mine(corpus, folder / "run", options)
    return {
        "seconds": processes.by_stage(manifest["seconds"]),
        "seconds_total": cost.seconds,
        "cpu_seconds_total": cost.cpu_seconds,
        "counts": manifest["counts"],
        "compute": manifest["compute"],
        "peak_memory_gib": cost.peak_memory_gib,
    }


def run_reference(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Run the reference in a process of its own."""
    options: list[str | Path] = ["--variant", arguments.variant, "--json", folder / "reference.json"]
    for name in ("limit", "sample"):
        if (value := getattr(arguments, name)) is not None:
            options += [f"--{name}", str(value)]
    processes.run([arguments.python, ROOT / "reference_pipeline.py", arguments.data, *options])
    found: Figures = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    return found


def fastest(rounds: list[Figures]) -> Figures:
    """Return the last round with each stage's and the total's fewest seconds of all rounds."""
    seconds = {name: min(of["seconds"][name] for of in rounds) for name in rounds[0]["seconds"]}
    total = min(of["seconds_total"] for of in rounds)
    return {**rounds[-1], "seconds": seconds, "seconds_total": total}


def judge(result: MiningResult, arguments: argparse.Namespace) -> Figures:
    """Return dupmine's figures on the labelled pairs that the reference is judged on."""
    pairs = Judge(read_pairs(arguments.data, ("test",)), result.corpus.documents["doc_id"].to_pylist())
    if arguments.sample is not None:
        pairs = pairs.sample(arguments.sample)
    left, right = result.row_of[pairs.left], result.row_of[pairs.right]
    scored = result.scored_pairs
    n = int(result.row_of.max()) + 1
    accepted = scored.probability >= result.settings.rerank.accepts_from
    wanted = np.minimum(left, right) * n + np.maximum(left, right)
    hits = np.isin(wanted, scored.left[accepted] * n + scored.right[accepted]) | (left == right)
    return pairs.figures(hits)


def ratios(dupmine: Figures, reference: Figures) -> dict[str, float]:
    """Return how many times faster dupmine is, by stage, per scored pair and in total."""
    ours, theirs = dupmine["seconds"], reference["seconds"]
    found = {name: theirs[name] / max(ours[name], 1e-3) for name in ("embed", "search", "score", "cluster")}
    pairs = dupmine["counts"]["candidates"] / reference["counts"]["candidates"]
    found["score_per_candidate"] = found["score"] * pairs
    found["total"] = reference["seconds_total"] / dupmine["seconds_total"]
    return {name: round(value, 2) for name, value in found.items()}


def shares(result: MiningResult, dupmine: Figures, limit: float) -> dict[str, float]:
    """Return what part of the int8 limit embedding and scoring reach, as if every candidate was scored."""
    texts = result.texts
    pairs = result.scored_pairs.where(result.scored_pairs.cosine >= result.settings.retrieval.floor)
    models = {
        "embed": (result.settings.retrieval.bi_encoder, (np.arange(len(texts)),)),
        "score": (result.settings.rerank.cross_encoder, (pairs.left, pairs.right)),
    }
    found = {}
    for stage, (name, rows) in models.items():
        folder = locate_model(name)
        tokenizer = load_tokenizer(folder)
        tokens = tokenise(texts, tokenizer, max_tokens=result.settings.corpus.max_tokens, progress=SILENT)
        lengths = find_layout(tokenizer, len(rows)).n_special + sum(tokens.lengths[side] for side in rows)
        work = machine.transformer_gflop(lengths.sum(), (lengths**2).sum(), read_config(folder))
        found[stage] = round(work / max(dupmine["seconds"][stage], 1e-3) / limit, 3)
    return found


if __name__ == "__main__":
    main()
