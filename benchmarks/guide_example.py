"""The example of every guide: 10,000 sentences by the cross-encoder alone, and by dupmine.

    python benchmarks/guide_example.py DATA [--sentences 10000] [--sample 2000]

All pairs of 10,000 sentences are 49,995,000. `CrossEncoder.predict` is timed on a random sample of them, as
the library does it by default, and the seconds for all are extrapolated from that; dupmine's whole run over
the same sentences is measured, from the start of its process to its files.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dupmine import load_settings
from dupmine.benchmarks import machine, processes
from dupmine.benchmarks.labelled import corpus_of, read_questions, write_figures
from dupmine.inference.locate import locate_model

ROOT = Path(__file__).parent
Figures = dict[str, Any]


def main() -> None:
    """Measure both and write the figures."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of(arguments.data, arguments.sentences, Path(folder))
        manifest, cost = processes.mine(corpus, Path(folder) / "run", ["--config", arguments.config])
        alone = all_pairs(read_questions(corpus)["question"].tolist(), arguments.sample)
    figures = {
        "machine": machine.describe(),
        "cross_encoder_alone": alone,
        "dupmine": {
            "seconds": cost.seconds,
            "cpu_seconds": cost.cpu_seconds,
            "peak_memory_gib": cost.peak_memory_gib,
            "stages": processes.by_stage(manifest["seconds"]),
            "counts": manifest["counts"],
        },
        "times_faster": round(alone["seconds"] / cost.seconds, 1),
    }
    write_figures(arguments.json, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions-eval.csv and pairs.parquet")
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=2_000, help="pairs to time")
    parser.add_argument("--config", type=Path, default=ROOT.parent / "configs" / "quora.yaml")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "guide-example.json")
    return parser.parse_args()


def all_pairs(texts: list[str], sample: int) -> Figures:
    """Time the cross-encoder on random pairs and extrapolate to all pairs of the texts."""
    from sentence_transformers import CrossEncoder

    folder = str(locate_model(load_settings().rerank.cross_encoder))
    model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": torch.float32})  # it is stored in fp16
    rng = np.random.default_rng(0)
    first = rng.integers(len(texts), size=sample)
    second = (first + 1 + rng.integers(len(texts) - 1, size=sample)) % len(texts)
    pairs = [(texts[a], texts[b]) for a, b in zip(first, second, strict=True)]
    model.predict(pairs[:32], show_progress_bar=False)
    started = time.perf_counter()
    model.predict(pairs, show_progress_bar=False)
    rate = sample / (time.perf_counter() - started)
    n_pairs = len(texts) * (len(texts) - 1) // 2
    return {
        "extrapolated": True,
        "pairs": n_pairs,
        "pairs_timed": sample,
        "pairs_per_second": round(rate, 1),
        "seconds": round(n_pairs / rate, 1),
    }


if __name__ == "__main__":
    main()
