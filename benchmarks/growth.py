"""Mine synthetic corpora of growing size: seconds by stage, planted pairs found, memory, and the exponent.

    python benchmarks/growth.py --sizes 10k,100k,1m [--config configs/bulk.yaml] [--work out/growth]

The exponent e between two sizes says that the cost grew like n^e. The corpora are those of synthetic.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dupmine import MiningResult
from dupmine.benchmarks import machine, processes, synthetic
from dupmine.benchmarks.labelled import write_figures

ROOT = Path(__file__).parent
UNITS = {"k": 1_000, "m": 1_000_000}
Figures = dict[str, Any]


def main() -> None:
    """Mine every size and write the figures and the curve."""
    arguments = parse_arguments()
    options = ["--config", arguments.config, *(part for item in arguments.set for part in ("--set", item))]
    sizes = [mine_size(size, arguments.seed, arguments.work, options) for size in arguments.sizes]
    figures = {
        "machine": machine.describe(),
        "seed": arguments.seed,
        "config": arguments.config.name,
        "sizes": sizes,
        "exponents": exponents(sizes),
    }
    write_figures(arguments.out.with_suffix(".json"), figures)
    draw(sizes, arguments.out.with_suffix(".svg"))


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=parse_sizes, default=parse_sizes("10k,100k,1m"), help="10k,100k,1m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=ROOT.parent / "configs" / "quickstart.yaml")
    parser.add_argument("--set", action="append", default=[], help="stage.key=value for dupmine")
    parser.add_argument(
        "--work", type=Path, default=ROOT.parent / "out" / "growth", help="for corpora and runs"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "growth", help=".json and .svg")
    return parser.parse_args()


def parse_sizes(text: str) -> list[int]:
    """Return the numbers of texts in "10k,1m"."""
    parts = (part.strip().lower() for part in text.split(","))
    return [int(float(p[:-1]) * UNITS[p[-1]]) if p[-1:] in UNITS else int(p) for p in parts]


def mine_size(size: int, seed: int, work: Path, options: Sequence[str | Path]) -> Figures:
    """Generate a corpus, mine it and compare with what was planted."""
    folder = work / f"{size}-{seed}"
    if not (folder / "gold.csv").exists():
        synthetic.write(folder, texts=size, seed=seed)
    manifest, cost = processes.mine(folder / "questions.csv", folder / "run", options)
    return {
        "texts": size,
        "seconds": processes.by_stage(manifest["seconds"]),
        "seconds_total": cost.seconds,
        "cpu_seconds_total": cost.cpu_seconds,
        "peak_memory_gib": cost.peak_memory_gib,
        "counts": manifest["counts"],
        "planted": planted_pairs(MiningResult.load(folder / "run"), folder / "gold.csv"),
    }


def planted_pairs(result: MiningResult, gold: Path) -> Figures:
    """Return precision and recall of pairs that share a cluster against those that were planted."""
    planted = pd.read_csv(gold, dtype={"id": str}).set_index("id")["cluster"]
    labels = result.row_labels[result.row_of]
    truth = planted[result.corpus.documents["doc_id"].to_pylist()].to_numpy()
    both = pd.Series(1, index=pd.MultiIndex.from_arrays([truth, labels])).groupby(level=[0, 1]).sum()
    hits, wanted, found = (pairs_in(sizes) for sizes in (both, np.bincount(truth), np.bincount(labels)))
    return {"pairs": wanted, "recall": hits / max(wanted, 1), "precision": hits / max(found, 1)}


def pairs_in(sizes: Any) -> int:
    """Return how many pairs lie inside groups of some sizes."""
    counts = np.asarray(sizes, np.int64)
    return int((counts * (counts - 1) // 2).sum())


def exponents(sizes: list[Figures]) -> list[Figures]:
    """Return, from each size to the next, the exponent of the seconds and of the CPU seconds."""
    return [
        {
            "from": a["texts"],
            "to": b["texts"],
            **{
                name: round(log(b[name] / a[name]) / log(b["texts"] / a["texts"]), 3)
                for name in ("seconds_total", "cpu_seconds_total")
            },
        }
        for a, b in pairwise(sizes)
    ]


def draw(sizes: list[Figures], path: Path) -> None:
    """Draw the seconds of each stage over the number of texts, both on logarithmic scales."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "dupmine"
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    texts = [of["texts"] for of in sizes]
    axes.plot(texts, [of["seconds_total"] for of in sizes], "k-o", label="total")
    for stage in processes.STAGES:
        axes.plot(texts, [max(of["seconds"][stage], 1e-3) for of in sizes], "-o", markersize=3, label=stage)
    axes.set(xscale="log", yscale="log", xlabel="texts", ylabel="seconds")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
