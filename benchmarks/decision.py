"""What the corpus-aware decision gains where it was not fitted: in a thinner and in a denser corpus.

    python benchmarks/decision.py DATA RUN [--pairs 12000] [--json FILE]

DATA is a folder with `questions.csv.gz` (qid, question) and `pairs.parquet` (qid1, qid2, is_duplicate,
split); RUN is that of `benchmarks/quora.py`, mined with `rerank.decision: pair`. The labelled pairs of split
`test` are decided by the cross-encoder alone and with their neighbours: those of the run, those among the
questions of `test` alone and, for as many pairs as asked for, those of the whole dump. For the run it also
says what precision a target of 0.9 has, with an interval over pairs that hang together by their questions
and, since the decision judges neighbours by each other, over those that share a cluster, too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.metrics import average_precision_score

from dupmine import Miner, MiningResult
from dupmine.benchmarks.machine import describe
from dupmine.calibration.labelled_run import join_groups_by_cluster
from dupmine.corpus.labelled import read_pairs
from dupmine.corpus.questions import question_components
from dupmine.corpus.unique import collapse_exact_duplicates
from dupmine.evaluation.bootstrap import bootstrap
from dupmine.evaluation.metrics import pair_metrics
from dupmine.evaluation.weighted_metrics import calibration_error
from dupmine.pipeline import Models, tokenise_texts
from dupmine.progress import Progress
from dupmine.rerank.scorer import score_pairs
from dupmine.retrieval.candidates import find_candidates
from dupmine.schema import Doubles, Flags, Floats, Rows, ScoredPairs, TokenStore, probabilities
from dupmine.settings import PairSettings

PROGRESS = Progress()
TARGET = 0.9


def main() -> None:
    """Run the benchmark and write its figures."""
    arguments = parse_arguments()
    miner = Miner(config=arguments.config, decision="corpus")
    labelled = pd.read_parquet(arguments.data / "pairs.parquet")
    labelled = labelled[labelled["split"] == "test"]
    result = MiningResult.load(arguments.run)
    texts = pd.Series(
        result.corpus.documents["text"].to_pylist(), index=result.corpus.documents["doc_id"].to_pylist()
    )
    tokens = tokens_of(result.texts, miner)
    figures = {"machine": describe(), "pairs": len(labelled)}
    figures["run"] = of_run(result, tokens, labelled, miner.models)
    figures["target_precision"] = at_target(result, tokens, arguments.data / "pairs.parquet", miner.models)
    own = texts[np.unique(labelled[["qid1", "qid2"]].astype(str))]
    figures["test_alone"] = of_subset(result, own, labelled, miner)
    if arguments.pairs:
        drawn = labelled.sample(min(arguments.pairs, len(labelled)), random_state=0)
        dump = pd.read_csv(arguments.data / "questions.csv.gz", keep_default_na=False, dtype=str)
        figures["dump"] = of_dump(dump.set_index("qid")["question"], drawn, miner)
    print(json.dumps(figures, indent=2))
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    root = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with questions.csv.gz and pairs.parquet")
    parser.add_argument("run", type=Path, help="run that benchmarks/quora.py mined")
    parser.add_argument("--pairs", type=int, default=12_000, help="labelled pairs sought in the whole dump")
    parser.add_argument("--config", type=Path, default=root.parent / "configs" / "quora.yaml")
    parser.add_argument("--json", type=Path, default=root / "results" / "decision.json")
    return parser.parse_args()


def of_run(
    result: MiningResult, tokens: TokenStore, labelled: pd.DataFrame, models: Models
) -> dict[str, Any]:
    """Judge the decision in the corpus of a run, given the tokens of its rows."""
    rows = pd.Series(result.row_of, index=result.corpus.documents["doc_id"].to_pylist())
    return judged(result.scored_pairs, tokens, rows, labelled, models)


def at_target(result: MiningResult, tokens: TokenStore, path: Path, models: Models) -> dict[str, Any]:
    """Return the precision on split `test` where 0.9 is the target, by either way to decide."""
    assert models.decision is not None
    assert models.scorer.calibration is not None
    pairs = read_pairs(path, PairSettings(), split="test")
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= models.decision.floor)
    rows = result.find_rows(pairs.left), result.find_rows(pairs.right)
    at, actual = candidates.positions(*rows), pairs.label > 0.5
    alone = question_components(pairs)
    groups = {"questions": alone, "clusters": join_groups_by_cluster(alone, rows, result)}
    decided = models.decision.decide(candidates, tokens, PROGRESS)
    found = {}
    for name, scored, thresholds in (
        ("cross_encoder_alone", probabilities(candidates.pair_logit), models.scorer.calibration.thresholds),
        ("decision", decided.probability, models.decision.thresholds),
    ):
        threshold = thresholds.threshold_for(TARGET)
        accepted = (at >= 0) & (scored[at] >= np.float32(threshold))
        found[name] = {
            "threshold": threshold,
            "accepted": int(accepted.sum()),
            "precision": float(actual[accepted].mean()),
            "intervals": {by: precision_interval(accepted, actual, group) for by, group in groups.items()},
        }
    return found


def precision_interval(accepted: Flags, actual: Flags, group: Rows) -> list[float]:
    """Return the 95 % interval of the precision of accepted pairs, by resampling groups."""
    hits = (accepted & actual).astype(float)

    def precision(weights: Doubles) -> dict[str, Doubles]:
        return {"precision": (weights @ hits) / (weights @ accepted.astype(float))}

    found = bootstrap(len(actual), [precision], group=group)["precision"]
    return [found.low, found.high]


def of_subset(result: MiningResult, texts: pd.Series, labelled: pd.DataFrame, miner: Miner) -> dict[str, Any]:
    """Judge the decision where some texts of a run are all there is: their pairs are the run's."""
    unique = collapse_exact_duplicates(pa.chunked_array([texts.tolist()]))
    old = pd.Series(result.row_of, index=result.corpus.documents["doc_id"].to_pylist())[texts.index]
    new = np.full(int(result.row_of.max()) + 1, -1)
    new[old] = unique.row_of
    pairs = result.scored_pairs
    kept = pairs.where((new[pairs.left] >= 0) & (new[pairs.right] >= 0))
    ends = new[kept.left], new[kept.right]
    moved = ScoredPairs.concatenate(
        ScoredPairs.from_logits(np.minimum(*ends), np.maximum(*ends), kept.cosine, kept.pair_logit)
    )
    rows = pd.Series(unique.row_of, index=texts.index)
    return judged(moved, tokens_of(unique.texts, miner), rows, labelled, miner.models)


def of_dump(texts: pd.Series, labelled: pd.DataFrame, miner: Miner) -> dict[str, Any]:
    """Judge the decision among all texts: all pairs with a text of the labelled pairs are scored."""
    unique = collapse_exact_duplicates(pa.chunked_array([texts.tolist()]))
    rows = pd.Series(unique.row_of, index=texts.index)
    tokens = tokens_of(unique.texts, miner)
    models, settings = miner.models, miner.settings.retrieval
    embeddings = models.encoder.encode(unique.texts, tokens, PROGRESS)
    wanted: Rows = np.unique(rows[np.unique(labelled[["qid1", "qid2"]].astype(str))])
    exact = settings.model_copy(update={"index": "flat"})
    candidates, _ = find_candidates(embeddings, exact, models.compute.device, PROGRESS, rows=wanted)
    return judged(
        score_pairs(models.scorer, tokens, candidates, PROGRESS), tokens, rows, labelled, miner.models
    )


def tokens_of(unique: list[str], miner: Miner) -> TokenStore:
    """Tokenise the rows."""
    return tokenise_texts(unique, miner.settings, miner.models, PROGRESS)[1]


def judged(
    pairs: ScoredPairs, tokens: TokenStore, rows: pd.Series, labelled: pd.DataFrame, models: Models
) -> dict[str, Any]:
    """Return what the cross-encoder alone and the decision make of labelled pairs, each by its threshold."""
    decision, calibration = models.decision, models.scorer.calibration
    assert decision is not None
    assert calibration is not None
    pairs = pairs.where(pairs.cosine >= decision.floor)
    actual = labelled["is_duplicate"].to_numpy() == 1
    ends = [rows[labelled[name].astype(str)].to_numpy() for name in ("qid1", "qid2")]
    alone = ScoredPairs.from_logits(pairs.left, pairs.right, pairs.cosine, pairs.pair_logit)
    answers = {
        "cross_encoder_alone": (alone, calibration.thresholds.best_f1),
        "decision": (decision.decide(pairs, tokens, PROGRESS), decision.thresholds.best_f1),
    }
    found: dict[str, Any] = {"texts": len(tokens.lengths), "pairs": len(labelled)}
    for name, (answer, chosen) in answers.items():
        probability = looked_up(answer, ends)
        found[name] = pair_metrics(probability >= chosen.threshold, actual)
        found[name]["average_precision"] = float(average_precision_score(actual, probability))
        found[name]["calibration_error"] = calibration_error(actual, probability)
    found["gain_in_f1"] = found["decision"]["f1"] - found["cross_encoder_alone"]["f1"]
    return found


def looked_up(pairs: ScoredPairs, ends: list[Rows]) -> Floats:
    """Return the probability of some pairs of rows: 1 for the same row, 0 for one that was not scored."""
    known = np.append(pairs.probability, np.float32(0))[pairs.positions(*ends)]
    return np.where(ends[0] == ends[1], np.float32(1), known)


if __name__ == "__main__":
    main()
