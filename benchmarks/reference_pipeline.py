"""Find duplicates as one would write it today with sentence-transformers, FAISS and scipy.

    python benchmarks/reference_pipeline.py DATA --variant default [--limit 5000] [--sample 2000]

The models, the neighbours asked for, the cosine floor, the calibration and the threshold are dupmine's; all
else is as the libraries do it by default. Variant `bf16` loads both models in bf16 and takes larger batches,
`openvino` has sentence-transformers' own static int8 export (pip install 'optimum-intel[openvino]'
datasets; it needs transformers below 5.6, so an environment of its own).

With `--sample` only so many random candidate pairs are scored and timed; the seconds of scoring are then
extrapolated, and F1 is that of as many random labelled pairs, whose scoring is not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dupmine.benchmarks.labelled import (
    Judge,
    corpus_of,
    read_pairs,
    read_questions,
    write_figures,
)
from dupmine.benchmarks.machine import describe
from dupmine.inference.locate import locate_model
from dupmine.rerank.calibration import load_calibration
from dupmine.rerank.thresholds import choose_threshold
from dupmine.results.manifest import peak_memory
from dupmine.schema import Flags, Rows
from dupmine.settings import MiningSettings

BATCH = {"default": 32, "bf16": 128, "openvino": 64}
CALIBRATION_TEXTS = 300
TOP_K = 50  # neighbours of a text that become candidates

Variant = Literal["default", "bf16", "openvino"]
Floats = npt.NDArray[np.float32]


def main() -> None:
    """Run the reference and write its figures."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of(arguments.data, arguments.limit, Path(folder))
        figures = run(corpus, arguments)
    write_figures(arguments.json, {"machine": describe(), **figures})


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    root = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions-eval.csv and pairs.parquet")
    parser.add_argument("--variant", choices=BATCH, default="default")
    parser.add_argument("--limit", type=int, help="questions, those of the first labelled pairs")
    parser.add_argument("--sample", type=int, help="candidate pairs to score and time; by default all")
    parser.add_argument("--json", type=Path, default=root / "results" / "reference.json")
    return parser.parse_args()


class Clock:
    """Seconds by stage: of the wall, and of all processor cores together."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = round(time.perf_counter() - wall, 3)
        self.cpu_seconds[name] = round(time.process_time() - cpu, 3)

    def scale(self, name: str, factor: float) -> None:
        """Extrapolate a stage."""
        for of in (self.seconds, self.cpu_seconds):
            of[name] = round(of[name] * factor, 3)


def run(corpus: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Embed, search, score and cluster; return seconds, counts and F1."""
    settings, clock = MiningSettings(), Clock()
    with clock.stage("read"):
        questions = read_questions(corpus)
        texts = questions["question"].tolist()
    with clock.stage("load"):
        encoder = load_encoder(arguments.variant, settings, texts)
        scorer = load_scorer(arguments.variant, settings, texts)
    batch = BATCH[arguments.variant]
    with clock.stage("embed"):
        vectors = encoder.encode(texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)
    with clock.stage("search"):
        left, right = search(np.asarray(vectors, np.float32), settings)
    judge = Judge(read_pairs(arguments.data, ("test",)), questions["qid"])
    timed = draw(len(left), arguments.sample)
    with clock.stage("score"):
        logits = predict(scorer, texts, left[timed], right[timed], batch)
    if arguments.sample is not None:
        clock.scale("score", len(left) / max(len(timed), 1))
        judge = judge.sample(arguments.sample)
    accept = acceptance(settings)
    with clock.stage("cluster"):
        accepted = accept(logits)
        clusters = components(len(texts), left[timed][accepted], right[timed][accepted])
    labelled = judge_pairs(judge, scorer, texts, (left, right, timed, accepted), accept)
    return {
        "variant": arguments.variant,
        "extrapolated": arguments.sample is not None,
        "pairs_timed": len(timed),
        "seconds": clock.seconds,
        "seconds_total": round(sum(clock.seconds.values()), 3),
        "cpu_seconds": clock.cpu_seconds,
        "counts": {"questions": len(texts), "candidates": len(left), "clusters": clusters},
        "labelled": labelled,
        "peak_memory_gib": peak_memory(),
    }


def load_encoder(variant: Variant, settings: MiningSettings, texts: list[str]) -> Any:
    """Load the bi-encoder."""
    from sentence_transformers import SentenceTransformer

    folder = str(locate_model(settings.retrieval.bi_encoder))
    if variant == "openvino":
        return _quantised(SentenceTransformer, folder, texts)
    return SentenceTransformer(folder, device="cpu", model_kwargs=_precision(variant))


def load_scorer(variant: Variant, settings: MiningSettings, texts: list[str]) -> Any:
    """Load the cross-encoder."""
    from sentence_transformers import CrossEncoder

    folder = str(locate_model(settings.rerank.cross_encoder))
    if variant == "openvino":
        return _quantised(CrossEncoder, folder, texts)
    return CrossEncoder(folder, device="cpu", model_kwargs=_precision(variant))


def _precision(variant: Variant) -> dict[str, str]:
    return {"dtype": "bfloat16" if variant == "bf16" else "float32"}


def _quantised(kind: Any, folder: str, texts: list[str]) -> Any:
    """Export a model to OpenVINO int8 as sentence-transformers documents it, and load that."""
    import pandas as pd
    from optimum.intel import OVQuantizationConfig
    from sentence_transformers import export_static_quantized_openvino_model

    with tempfile.TemporaryDirectory() as work:
        examples, exported = Path(work) / "examples", Path(work) / "model"
        sample = texts[:CALIBRATION_TEXTS]
        examples.mkdir()
        pd.DataFrame({"text": sample}).to_parquet(examples / "train.parquet")
        model = kind(folder, device="cpu", backend="openvino")
        model.save_pretrained(str(exported))
        export_static_quantized_openvino_model(
            model,
            OVQuantizationConfig(num_samples=len(sample)),
            str(exported),
            dataset_name=str(examples),
            dataset_config_name="default",
            dataset_split="train",
            column_name="text",
        )
        graph = next(path.name for path in (exported / "openvino").glob("*_qint8_quantized.xml"))
        return kind(
            str(exported), device="cpu", backend="openvino", model_kwargs={"file_name": f"openvino/{graph}"}
        )


def search(vectors: Floats, settings: MiningSettings) -> tuple[Rows, Rows]:
    """Return the pairs among the nearest neighbours of either side whose cosine reaches the floor."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    cosine, neighbour = index.search(vectors, min(TOP_K + 1, len(vectors)))
    row = np.broadcast_to(np.arange(len(vectors))[:, None], neighbour.shape)
    near = (cosine >= settings.retrieval.floor) & (neighbour != row)
    a, b = row[near], neighbour[near]
    keys = np.unique(np.minimum(a, b) * len(vectors) + np.maximum(a, b))
    return keys // len(vectors), keys % len(vectors)


def draw(n: int, sample: int | None) -> Rows:
    """Return the positions of the pairs to score: all, or a random sample."""
    if sample is None or sample >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, sample, replace=False))


def predict(scorer: Any, texts: list[str], left: Rows, right: Rows, batch: int) -> Floats:
    """Return the logit of each pair."""
    import torch

    pairs = [(texts[a], texts[b]) for a, b in zip(left, right, strict=True)]
    if not pairs:
        return np.empty(0, np.float32)
    logits = scorer.predict(
        pairs, batch_size=batch, show_progress_bar=False, activation_fn=torch.nn.Identity()
    )
    return np.asarray(logits, np.float32)


def acceptance(settings: MiningSettings) -> Any:
    """Return a function from logits to flags: the calibrated probability reaches the threshold."""
    calibration = load_calibration(locate_model(settings.rerank.cross_encoder))
    threshold, _ = choose_threshold(settings.rerank, calibration)
    assert calibration is not None, "the built-in model is calibrated"
    return lambda logits: calibration.probabilities(logits) >= threshold


def components(n: int, left: Rows, right: Rows) -> int:
    """Return the number of connected components with more than one member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return int((np.bincount(labels) > 1).sum())


def judge_pairs(
    judge: Judge, scorer: Any, texts: list[str], found: tuple[Rows, Rows, Rows, Flags], accept: Any
) -> dict[str, float]:
    """Return the figures of labelled pairs, scoring those candidates among them that were not timed."""
    left, right, timed, accepted = found
    proposed = judge.among(left, right)
    if len(timed) == len(left):
        hits = judge.among(left[accepted], right[accepted])
    else:
        hits = proposed.copy()
        hits[proposed] = accept(predict(scorer, texts, judge.left[proposed], judge.right[proposed], 32))
    recall = float(proposed[judge.actual].mean()) if judge.actual.any() else 1.0
    return {**judge.figures(hits), "candidate_recall": recall}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
