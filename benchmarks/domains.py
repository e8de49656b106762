"""Evaluate the shipped models on other domains and languages: labelled pairs, contrast pairs, groups.

    python benchmarks/domains.py DATA [--most 2000] [--most-texts N] [--run RUN --judge MODEL] [--json FILE]

DATA holds `domains/pairs.parquet` (dataset, language, split, text1, text2, duplicate) and
`domains/groups.parquet` (dataset, language, split, text, group). All figures are on split `test`; a set
without one is left out.

* Pairs: average precision of the cosine and of the cross-encoder, F1, precision and recall at the shipped
  threshold of a pair alone, and the best F1 that a threshold chosen on these very pairs would give.
* Contrast sets: the share of different pairs that is accepted, by what differs (`kind_of_difference`).
* Groups: texts are mined with the defaults; pairs inside clusters and B-cubed against the groups. Where a
  group is only a topic, recall means nothing and precision is an upper bound.
* Cohesion: the share of random pairs inside the clusters of a Quora run (`--run`) that a judge accepts. The
  judge must be another, stronger model than the one that made the clusters.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score

from dupmine import Miner, MiningResult
from dupmine.benchmarks import machine
from dupmine.benchmarks.labelled import write_figures
from dupmine.evaluation.metrics import cluster_metrics, pair_metrics
from dupmine.evaluation.model import EvaluateSettings, load_model, score_with_loaded
from dupmine.evaluation.thresholds import best_f1_threshold
from dupmine.progress import SILENT
from dupmine.schema import LabelledPairs

ROOT = Path(__file__).parent
CONTRAST = ("breaking_nli", "cannot_negation", "wikifactcheck_negated")
TOPIC_ONLY = ("clinc150", "hwu64", "atis", "massive", "dstc11_banking", "dstc11_finance")
NEGATIONS = {
    "no",
    "not",
    "never",
    "none",
    "nor",
    "without",
    "cannot",
    "nothing",
    "nobody",
    "unable",
    "don",
    "isn",
}
DIGITS = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}
NUMBERS = DIGITS | {
    "hundred",
    "thousand",
    "million",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "once",
    "twice",
}
Figures = dict[str, Any]


def main() -> None:
    """Evaluate everything, print a table and write the figures."""
    arguments = parse_arguments()
    folder, miner = arguments.data / "domains", Miner(progress=False)
    figures: Figures = {"machine": machine.describe(), "most_pairs": arguments.most}
    pairs = test_split(pd.read_parquet(folder / "pairs.parquet"))
    sets = {name: sample(part, arguments.most) for name, part in by_set(pairs)}
    figures["pairs"] = evaluate_pair_sets(sets, miner)
    figures["contrast"] = {
        name: accepted_by_kind(part, miner)
        for name, part in sets.items()
        if part["dataset"].iloc[0] in CONTRAST
    }
    groups = test_split(pd.read_parquet(folder / "groups.parquet"))
    figures["groups"] = {
        name: evaluate_groups(sample(part, arguments.most_texts or len(part)), miner)
        for name, part in by_set(groups)
    }
    figures["macro"] = macro_averages(figures)
    if arguments.run is not None and arguments.judge is not None:
        figures["cohesion"] = measure_cohesion(MiningResult.load(arguments.run), arguments.judge)
    print(to_table(figures))
    write_figures(arguments.json, figures)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with domains/ and qqp/")
    parser.add_argument("--most", type=int, default=2000, help="pairs of a set, drawn at random")
    parser.add_argument("--most-texts", type=int, help="texts of a grouped set; by default all")
    parser.add_argument(
        "--run", type=Path, help="folder of a run over qqp/questions-eval.csv, for the cohesion"
    )
    parser.add_argument("--judge", help="cross-encoder that judges the cohesion")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "domains.json")
    return parser.parse_args()


def test_split(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of split `test`."""
    return table[table["split"] == "test"].reset_index(drop=True)


def by_set(table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield each data set in each language by its name, as `stsb_mt de`."""
    for (dataset, language), part in table.groupby(["dataset", "language"], sort=True):
        yield f"{dataset} {language}", part.reset_index(drop=True)


def sample(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most so many rows, drawn at random by a fixed seed."""
    return table if len(table) <= most else table.sample(most, random_state=0).reset_index(drop=True)


def evaluate_pair_sets(sets: dict[str, pd.DataFrame], miner: Miner) -> dict[str, Figures]:
    """Score every set with both models, each loaded once."""
    threshold = pair_threshold(miner)
    settings = EvaluateSettings(rerank=miner.settings.rerank, compute=miner.settings.compute)
    names = {
        "cosine": miner.settings.retrieval.bi_encoder,
        "cross_encoder": miner.settings.rerank.cross_encoder,
    }
    models = {kind: load_model(name, settings) for kind, name in names.items()}
    figures = {}
    for name, part in sets.items():
        pairs, actual = labelled(part, name), part["duplicate"].to_numpy() == 1
        scores = {
            kind: score_with_loaded(model, pairs, settings.corpus.max_tokens, SILENT)
            for kind, model in models.items()
        }
        probability = scores["cross_encoder"].probability
        at_shipped = pair_metrics(probability >= threshold, actual)
        figures[name] = {
            "pairs": len(part),
            "duplicates": float(actual.mean()),
            "accepted": float((probability >= threshold).mean()),
        }
        if actual.any():
            best = best_f1_threshold(actual, probability)
            figures[name] |= {
                "ap_cosine": float(average_precision_score(actual, scores["cosine"].value)),
                "ap_cross_encoder": float(average_precision_score(actual, scores["cross_encoder"].value)),
                **at_shipped,
                "best_f1": pair_metrics(probability >= best, actual)["f1"],
            }
    return figures


def pair_threshold(miner: Miner) -> float:
    """Return the shipped threshold of the cross-encoder alone."""
    alone = Miner(miner.settings.changed({"rerank.decision": "pair"}), progress=False)
    settings, _ = alone.models.settle(alone.settings)
    return settings.rerank.accepts_from


def labelled(part: pd.DataFrame, source: str) -> LabelledPairs:
    """Return the pairs of a set as dupmine holds them."""
    label = part["duplicate"].to_numpy().astype(np.float32)
    return LabelledPairs(part["text1"].tolist(), part["text2"].tolist(), label, None, None, source)


def accepted_by_kind(part: pd.DataFrame, miner: Miner) -> Figures:
    """Return the share of different pairs that is accepted, by what differs, and of all."""
    different = part[part["duplicate"] == 0]
    texts = list(zip(different["text1"], different["text2"], strict=True))
    accepted = miner.score_pairs(texts) >= pair_threshold(miner)
    kinds = np.array([kind_of_difference(*pair) for pair in texts])
    shares = {str(kind): share(accepted[kinds == kind]) for kind in np.unique(kinds)}
    return {"all": share(accepted), **shares}


def share(flags: npt.NDArray[np.bool_]) -> Figures:
    """Return how many flags there are, and the share that is set."""
    return {"pairs": len(flags), "accepted": round(float(flags.mean()), 3)}


def kind_of_difference(left: str, right: str) -> str:
    """Tell what differs between two texts: direction (the same words), number, negation, name, or word."""
    words = [re.findall(r"\w+(?:'\w+)?", text) for text in (left, right)]
    lower = [[word.lower() for word in side] for side in words]
    if sorted(lower[0]) == sorted(lower[1]):
        return "direction"
    changed = set(lower[0]) ^ set(lower[1])
    if any(word in NUMBERS or any(letter.isdigit() for letter in word) for word in changed):
        return "number"
    if any(word in NEGATIONS or word.endswith("n't") for word in changed):
        return "negation"
    names = {word.lower() for side in words for word in side[1:] if word[:1].isupper()}
    return "name" if changed & names else "word"


def evaluate_groups(part: pd.DataFrame, miner: Miner) -> Figures:
    """Mine the texts of a grouped set and compare the clusters with the groups."""
    started = time.perf_counter()
    result = miner.mine(part["text"].tolist())
    seconds = time.perf_counter() - started
    clusters = result.row_labels[result.row_of]
    metrics = cluster_metrics(clusters, np.unique(part["group"], return_inverse=True)[1])
    return {
        "texts": len(part),
        "same_question": part["dataset"].iloc[0] not in TOPIC_ONLY,
        **{name: round(value, 4) for name, value in metrics.items()},
        "largest_cluster": int(np.bincount(clusters).max()),
        "candidates_per_text": round(result.manifest["counts"]["candidates"] / len(part), 1),
        "seconds": round(seconds, 1),
    }


def macro_averages(figures: Figures) -> Figures:
    """Return unweighted means over English sets, contrast sets, other languages and grouped sets."""
    pairs = {name: row for name, row in figures["pairs"].items() if "ap_cosine" in row}
    contrast = {name for name in pairs if name.split()[0] in CONTRAST}
    english = {name for name in pairs if name.endswith(" en")} - contrast
    names = ("ap_cosine", "ap_cross_encoder", "precision", "recall", "f1", "best_f1")
    parts = {"english": english, "other_languages": pairs.keys() - english - contrast}
    means = {
        part: {name: round(float(np.mean([pairs[key][name] for key in sorted(keys)])), 4) for name in names}
        for part, keys in parts.items()
        if keys
    }
    same = [row for row in figures["groups"].values() if row["same_question"]]
    return means | {
        "contrast_accepted": round(
            float(np.mean([row["all"]["accepted"] for row in figures["contrast"].values()])), 4
        ),
        "groups_pair_precision": round(float(np.mean([row["pair_precision"] for row in same])), 4),
        "groups_bcubed_f1": round(float(np.mean([row["bcubed_f1"] for row in same])), 4),
    }


def measure_cohesion(result: MiningResult, judge: str, pairs: int = 2000) -> Figures:
    """Return the share of random pairs inside clusters, of different texts, that a judge accepts."""
    clusters = result.clusters[["cluster_id", "text"]]
    sizes = clusters.groupby("cluster_id")["text"].agg(list)
    weight = sizes.map(lambda texts: len(texts) * (len(texts) - 1.0)).to_numpy()
    generator = np.random.default_rng(0)
    drawn = sizes.iloc[generator.choice(len(sizes), pairs, p=weight / weight.sum())]
    texts = [tuple(generator.choice(texts, 2, replace=False)) for texts in drawn]
    miner = Miner(cross_encoder=judge, decision="pair", progress=False)
    accepted = miner.score_pairs(texts) >= pair_threshold(miner)
    return {"judge": judge, "pairs": pairs, "accepted": round(float(accepted.mean()), 4)}


def to_table(figures: Figures) -> str:
    """Return the figures as Markdown tables."""
    blocks = [("set", figures["pairs"]), ("grouped set", figures["groups"])]
    lines = []
    for head, rows in blocks:
        frame = pd.DataFrame.from_dict(rows, orient="index").round(3)
        lines += [f"| {head} | {' | '.join(frame.columns)} |", f"|{'---|' * (len(frame.columns) + 1)}"]
        lines += [
            f"| {name} | {' | '.join(map(str, row))} |"
            for name, row in zip(frame.index, frame.to_numpy(), strict=True)
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
