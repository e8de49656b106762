"""What the engine makes of a GPU: questions and pairs per second, an exact search, and a whole run.

    python benchmarks/gpu.py DATA [--questions 506240] [--reference 50000] [--vectors 1000000]

Both rates come as a share of what bf16 matrix products reach on the device, and beside those of
sentence-transformers in half precision with large batches, on as many of the same texts as `--reference`
says; both begin with texts there, and both are warm. It runs on a CPU as well, with smaller numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder as PlainCrossEncoder
from sentence_transformers import SentenceTransformer

from dupmine.benchmarks import machine, processes
from dupmine.benchmarks.labelled import read_questions, write_figures
from dupmine.corpus.labelled import read_pairs_and_rows
from dupmine.evaluation.metrics import pair_metrics
from dupmine.inference.device import DeviceConfig, resolve_device
from dupmine.inference.layout import find_layout
from dupmine.inference.locate import locate_model, read_config
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.scorer import CrossEncoder
from dupmine.rerank.thresholds import choose_threshold
from dupmine.retrieval.candidates import find_candidates
from dupmine.retrieval.encoder import BiEncoder, Embeddings
from dupmine.schema import Rows, probabilities
from dupmine.settings import ComputeSettings, MiningSettings, PairSettings, RetrievalSettings

ROOT = Path(__file__).parent
SETTINGS = MiningSettings()
BATCH = 1024  # of sentence-transformers
COMPARED = 2_000  # texts, whose vectors are compared with those in single precision
NOISE = 0.5  # of a planted neighbour: their cosine is about 0.9

Figures = dict[str, Any]
T = TypeVar("T")


def main() -> None:
    """Measure everything and write the figures."""
    arguments = parse_arguments()
    run = mine(arguments)  # first: a process is said to have the memory that its parent has
    compute = resolve_device(ComputeSettings(device=arguments.device))
    peak = machine.bf16_peak(compute.device, arguments.product)
    figures = {
        "machine": machine.describe(compute.device),
        "peak_bf16_gflop_per_second": peak,
        "embed": embed(arguments, compute, peak),
        "score": score(arguments, compute, peak),
        "search": search(arguments.vectors, compute.device),
        "mine": run,
    }
    write_figures(arguments.json, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions.csv.gz and pairs.parquet")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--questions", type=int, help="the first so many; by default all")
    parser.add_argument("--pairs", type=int, help="labelled pairs, of split test first; by default all")
    parser.add_argument("--reference", type=int, default=50_000, help="texts and pairs for the other library")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="searched for neighbours")
    parser.add_argument("--product", type=int, default=8192, help="width of the matrices of the peak")
    parser.add_argument("--config", type=Path, default=ROOT.parent / "configs" / "bulk.yaml")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "gpu.json")
    return parser.parse_args()


def embed(arguments: argparse.Namespace, compute: DeviceConfig, peak: float) -> Figures:
    """Embed the questions, a part of them with sentence-transformers, and compare."""
    texts = read_questions(arguments.data / "questions.csv.gz")["question"].tolist()[: arguments.questions]
    name = SETTINGS.retrieval.bi_encoder
    encoder = BiEncoder(name, compute)
    tokenizer = encoder.tokenizer
    assert tokenizer is not None, "the built-in model has a fast one"
    longest = SETTINGS.corpus.max_tokens
    tokens, tokenising = timed(lambda: tokenise(texts, tokenizer, max_tokens=longest, progress=SILENT))
    encoder.encode(texts, tokens, SILENT)  # warm up
    vectors, encoding = timed(lambda: encoder.encode(texts, tokens, SILENT))
    lengths = find_layout(tokenizer, 1).n_special + tokens.lengths
    plain = SentenceTransformer(str(locate_model(name)), device=str(compute.device))
    plain.max_seq_length = int(lengths.max())
    compared = texts[:COMPARED]
    exact = plain.encode(compared, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
    cosine = (vectors[: len(exact)].astype(np.float32) * exact).sum(1)
    plain.to(half(compute.device))
    part = texts[: arguments.reference]
    plain.encode(part, batch_size=BATCH, show_progress_bar=False)
    _, theirs = timed(lambda: plain.encode(part, batch_size=BATCH, show_progress_bar=False))
    return {
        **rates("questions", len(texts), tokenising, encoding, len(part) / theirs),
        "precision": encoder.precision,
        "share_of_peak": share(lengths, name, encoding, peak),
        "cosine_with_fp32": {"mean": float(cosine.mean()), "least": float(cosine.min())},
    }


def score(arguments: argparse.Namespace, compute: DeviceConfig, peak: float) -> Figures:
    """Score labelled pairs, a part of them with sentence-transformers, and compare."""
    pairs, table = read_pairs_and_rows(arguments.data / "pairs.parquet", PairSettings())
    order = np.argsort(table["split"].to_numpy() != "test", kind="stable")  # those of split test first
    pairs = pairs.take(order[: arguments.pairs])
    name = SETTINGS.rerank.cross_encoder
    scorer = CrossEncoder(SETTINGS.rerank, compute)
    rows, distinct = pd.factorize(np.array([*pairs.left, *pairs.right], object))
    left, right = np.split(np.asarray(rows, np.int64), 2)
    texts, tokenizer, longest = distinct.tolist(), scorer.tokenizer, SETTINGS.corpus.max_tokens
    tokens, tokenising = timed(lambda: tokenise(texts, tokenizer, max_tokens=longest, progress=SILENT))
    scorer.score(tokens, left, right, SILENT)  # and is warm
    logits, scoring = timed(lambda: scorer.score(tokens, left, right, SILENT))
    part = list(zip(pairs.left, pairs.right, strict=True))[: arguments.reference]
    dtype = {"dtype": half(compute.device)}
    plain = PlainCrossEncoder(str(locate_model(name)), device=str(compute.device), model_kwargs=dtype)

    def predict(some: list[tuple[str, str]]) -> Any:
        raw = torch.nn.Identity()
        return plain.predict(some, batch_size=BATCH, show_progress_bar=False, activation_fn=raw)

    predict(part)
    other, theirs = timed(lambda: predict(part))
    assert scorer.calibration is not None, "the built-in model is calibrated"
    threshold, _ = choose_threshold(SETTINGS.rerank, scorer.calibration)
    n, actual = len(part), pairs.label[: len(part)] > 0.5
    both = {
        "f1": probabilities(logits[:n]),
        "f1_of_reference": scorer.calibration.probabilities(np.asarray(other, np.float32)),
    }
    lengths = find_layout(tokenizer, 2).n_special + tokens.lengths[left] + tokens.lengths[right]
    return {
        **rates("pairs", len(left), tokenising, scoring, n / theirs),
        "precision": scorer.precision,
        "share_of_peak": share(lengths, name, scoring, peak),
        **{key: pair_metrics(said >= threshold, actual)["f1"] for key, said in both.items()},
    }


def search(n: int, device: torch.device) -> Figures:
    """Search among random vectors, every second of which is near the one before."""
    rng, half_of = np.random.default_rng(0), n // 2
    vectors = np.empty((2 * half_of, 384), np.float16)
    for start in range(0, half_of, 1 << 16):
        end = min(start + (1 << 16), half_of)
        first = unit(rng.standard_normal((end - start, 384), np.float32))
        near = first + NOISE * unit(rng.standard_normal((end - start, 384), np.float32))
        vectors[2 * start : 2 * end : 2], vectors[2 * start + 1 : 2 * end : 2] = first, unit(near)
    return {"vectors": len(vectors)} | {kind: search_by(kind, vectors, device) for kind in ("flat", "ivf")}


def search_by(kind: str, vectors: Embeddings, device: torch.device) -> Figures:
    """Find the neighbours by an index of a kind; of two vectors the second is planted near the first."""
    settings, half_of = RetrievalSettings(index=kind), len(vectors) // 2
    find_candidates(vectors[:4096], settings, device, SILENT)  # and is warm
    (found, facts), seconds = timed(lambda: find_candidates(vectors, settings, device, SILENT))
    planted = (found.left % 2 == 0) & (found.right == found.left + 1)
    return {
        "seconds": round(seconds, 3),
        "index": facts.description,
        "pairs": len(found),
        "recall_of_planted": float(planted.sum() / half_of),
    }


def mine(arguments: argparse.Namespace) -> Figures:
    """Mine the questions in a process of its own, from the file to Parquet."""
    corpus = arguments.data / "questions.csv.gz"
    with tempfile.TemporaryDirectory() as folder:
        if arguments.questions is not None:
            part = Path(folder) / "questions.csv"
            read_questions(corpus)[: arguments.questions].to_csv(part, index=False)
            corpus = part
        options = ["--config", arguments.config, "--device", arguments.device]
        manifest, cost = processes.mine(corpus, Path(folder) / "run", options)
    return {
        "seconds_total": cost.seconds,
        "seconds": manifest["seconds"],
        "counts": manifest["counts"],
        "compute": manifest["compute"],
        "peak_memory_gib": cost.peak_memory_gib,
    }


def half(device: torch.device) -> torch.dtype:
    """Return the half precision in which sentence-transformers is fast on a device."""
    return torch.float16 if device.type == "cuda" else torch.bfloat16


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` returns, and its seconds; it ends with the result in the CPU's memory."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def rates(what: str, n: int, tokenising: float, computing: float, others: float) -> Figures:
    """Return the rates of a model alone and with its tokenizer, and what that is to another library's."""
    ours = n / (tokenising + computing)
    return {
        what: n,
        f"{what}_per_second": round(n / computing),
        f"{what}_per_second_from_texts": round(ours),
        f"sentence_transformers_{what}_per_second": round(others),
        "times_faster": round(ours / others, 2),
    }


def share(lengths: Rows, model: str, seconds: float, peak: float) -> float:
    """Return what part of the peak the products of a model over inputs of these lengths reach.

    All layers count in full, though a cross-encoder computes of its last one little but the first token.
    """
    work = machine.transformer_gflop(lengths.sum(), (lengths**2).sum(), read_config(locate_model(model)))
    return round(work / seconds / peak, 3)


def unit(vectors: Any) -> Any:
    """Return the vectors at length one."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
