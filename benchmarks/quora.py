"""Mine labelled Quora questions and judge the run: seconds, memory, precision, recall, F1, cohesion.

    python benchmarks/quora.py DATA [--run out/quora] [--config configs/quora.yaml] [--json FILE]

A run that was mined with `rerank.decision: pair` is judged twice: as it is, and as the decision of the
config's model would have it (`with_the_corpus`).

DATA is a folder with `questions-eval.csv` (qid, question) and `pairs.parquet` (qid1, qid2, is_duplicate,
split). The run is mined if it is not there yet, else only judged again. The thresholds of the bi-encoder
alone and of the cross-encoder alone are chosen on split `valid`; figures are on split `test`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score

from dupmine import Miner, MiningResult
from dupmine.benchmarks import machine
from dupmine.clustering import cluster_pairs
from dupmine.evaluation.metrics import pair_metrics
from dupmine.evaluation.thresholds import count_accepted
from dupmine.pipeline import decide, tokenise_texts
from dupmine.progress import SILENT
from dupmine.rerank.decision import NO_DECISION
from dupmine.rerank.scorer import score_pairs
from dupmine.schema import CandidatePairs, Flags, Rows, ScoredPairs, probabilities

SAMPLE = 2000


def main() -> None:
    """Run the benchmark and write its figures."""
    arguments = parse_arguments()
    miner = Miner(config=arguments.config)
    if not arguments.run.exists():
        miner.mine_files([arguments.data / "questions-eval.csv"], arguments.run)
    result = MiningResult.load(arguments.run)
    manifest = result.manifest
    labelled = pd.read_parquet(arguments.data / "pairs.parquet")
    figures = {
        "machine": machine.describe(),
        **{key: manifest[key] for key in ("versions", "compute", "settings", "index", "counts", "seconds")},
        "seconds_total": round(sum(manifest["seconds"].values()), 1),
        "peak_memory_gib": manifest["peak_memory_gib"],
        **judge(result, labelled, miner),
    }
    if miner.models.decision is not None and manifest["models"]["decision"]["sha256"] == NO_DECISION:
        figures["with_the_corpus"] = judge(decide_again(result, miner), labelled, miner)
    print(json.dumps(figures, indent=2))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    root = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions-eval.csv and pairs.parquet")
    parser.add_argument("--run", type=Path, default=root.parent / "out" / "quora")
    parser.add_argument("--config", type=Path, default=root.parent / "configs" / "quora.yaml")
    parser.add_argument("--json", type=Path, default=root / "results" / "quora.json")
    return parser.parse_args()


def decide_again(result: MiningResult, miner: Miner) -> MiningResult:
    """Take the corpus-aware decision in a run that was mined pair by pair: what `mine` finds with it."""
    texts = result.texts
    settings, _ = miner.models.settle(miner.settings)
    _, tokens = tokenise_texts(texts, settings, miner.models, SILENT)
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= settings.retrieval.floor)

    def score_rows(left: Rows, right: Rows) -> ScoredPairs:
        unseen = CandidatePairs(left, right, np.zeros(len(left), np.float32))
        return score_pairs(miner.models.scorer, tokens, unseen, SILENT)

    pairs = decide(candidates, tokens, miner.models, SILENT)
    threshold = settings.rerank.accepts_from
    partition = cluster_pairs(
        len(texts), pairs, threshold=threshold, settings=settings.clustering, score_unseen=score_rows
    )
    return MiningResult.build(
        corpus=result.corpus,
        row_of=result.row_of,
        pairs=ScoredPairs.concatenate(pairs, partition.scored),
        labels=partition.labels,
        settings=settings,
        manifest={"counts": dict(partition.counts)},
        score_rows=score_rows,
    )


def judge(result: MiningResult, labelled: pd.DataFrame, miner: Miner) -> dict[str, Any]:
    """Return quality on labelled pairs by split, and cohesion of guarded clusters and plain components."""
    pairs = result.scored_pairs
    settings = result.settings
    n_rows = int(result.row_of.max()) + 1
    plain = settings.clustering.model_copy(update={"method": "components"})
    threshold = settings.rerank.accepts_from
    labels = {
        "guarded": result.row_labels,
        "components": cluster_pairs(n_rows, pairs, threshold=threshold, settings=plain).labels,
    }
    splits = {name: LabelledPairs(labelled[labelled["split"] == name], result) for name in ("valid", "test")}
    return {
        "candidate_recall": {name: split.candidate_recall() for name, split in splits.items()},
        "bi_encoder_alone": judge_scores(splits, "cosine", splits["valid"].best_cosine()),
        "cross_encoder_alone": judge_scores(splits, "pair_probability", splits["valid"].best_probability()),
        "accepted_pairs": judge_scores(splits, "probability", threshold),
        "same_cluster": {
            kind: {n: pair_metrics(of[s.left] == of[s.right], s.actual) for n, s in splits.items()}
            for kind, of in labels.items()
        },
        "cohesion": {kind: cohesion(of, result, miner) for kind, of in labels.items()},
        "largest_cluster": {kind: largest(of, result) for kind, of in labels.items()},
    }


def judge_scores(splits: dict[str, LabelledPairs], name: str, threshold: float) -> dict[str, Any]:
    """Return what a threshold of one of the scores makes of each split, and their average precision."""
    found: dict[str, Any] = {"threshold": threshold}
    for split, pairs in splits.items():
        score = getattr(pairs, name)
        found[split] = pair_metrics(score >= threshold, pairs.actual)
        found[split]["average_precision"] = float(average_precision_score(pairs.actual, score))
    return found


class LabelledPairs:
    """Labelled pairs of documents as pairs of rows, with what the run says of each."""

    def __init__(self, labelled: pd.DataFrame, result: MiningResult) -> None:
        """Look the pairs up; a pair that was not scored has cosine and probability 0, equal texts have 1."""
        position = pd.Series(
            np.arange(len(result.row_of)), index=result.corpus.documents["doc_id"].to_pylist()
        )
        ends = [result.row_of[position[labelled[q].astype(str)].to_numpy()] for q in ("qid1", "qid2")]
        self.left, self.right = np.minimum(*ends), np.maximum(*ends)
        self.actual: Flags = labelled["is_duplicate"].to_numpy() == 1
        pairs = result.scored_pairs
        at = pairs.positions(self.left, self.right)
        exact: Flags = self.left == self.right
        self.known: Flags = (at >= 0) | exact
        self.floor = result.settings.retrieval.floor
        self.cosine, self.probability, self.pair_probability = (
            np.where(exact, 1.0, np.append(score, 0.0)[at])
            for score in (pairs.cosine, pairs.probability, probabilities(pairs.pair_logit))
        )

    def candidate_recall(self) -> float:
        """Return the share of duplicates that stage 1 proposed, exact duplicates among them."""
        proposed = self.known & (self.cosine >= self.floor)
        return float(proposed[self.actual].mean())

    def best_cosine(self) -> float:
        """Return the cosine with the best F1, in steps of 0.01 above the floor."""
        grid = np.arange(np.ceil(self.floor * 100) + 1, 100) / 100
        best = float(grid[count_accepted(self.actual, self.cosine, grid).best()])
        assert best > grid[0], "the best cosine lies at or below the floor, where pairs are not known"
        return best

    def best_probability(self) -> float:
        """Return the cross-encoder's probability with the best F1, in steps of 0.01."""
        grid = np.arange(1, 100) / 100
        return float(grid[count_accepted(self.actual, self.pair_probability, grid).best()])


def cohesion(labels: npt.NDArray[np.int64], result: MiningResult, miner: Miner) -> dict[str, float]:
    """Score random pairs of documents that share a cluster; return the accepted share."""
    rng = np.random.default_rng(0)
    documents = np.flatnonzero(result.row_of >= 0)
    cluster = labels[result.row_of[documents]]
    order = documents[np.argsort(cluster, kind="stable")]
    _, start, size = np.unique(np.sort(cluster), return_index=True, return_counts=True)
    weight = size * (size - 1.0)
    chosen = rng.choice(len(size), SAMPLE, p=weight / weight.sum())
    first = rng.integers(size[chosen])
    second = (first + 1 + rng.integers(size[chosen] - 1)) % size[chosen]
    rows = [result.row_of[order[start[chosen] + place]] for place in (first, second)]
    texts = result.texts
    ends = zip(np.minimum(*rows), np.maximum(*rows), strict=True)
    probability = miner.score_pairs([(texts[a], texts[b]) for a, b in ends])
    return {"pairs": SAMPLE, "accepted": float((probability >= result.settings.rerank.accepts_from).mean())}


def largest(labels: npt.NDArray[np.int64], result: MiningResult) -> int:
    """Return the documents of the largest cluster."""
    return int(np.bincount(labels[result.row_of[result.row_of >= 0]]).max())


if __name__ == "__main__":
    main()
