"""Evaluate the shipped models on other domains and languages: labelled pairs, contrast pairs, groups.

    python benchmarks/domains.py DATA [--most 2000] [--most-texts N] [--most-foreign N] [--split test]
        [--run RUN --judge MODEL] [--json FILE]

DATA holds `domains/pairs.parquet` (dataset, language, split, text1, text2, duplicate) and
`domains/groups.parquet` (dataset, language, split, text, group). Settings are chosen on split `dev`, and the
figures to report are those on `test`. A set without such rows is left out.

* Pairs: average precision of the cosine and of the cross-encoder, F1, precision and recall at the shipped
  threshold of a pair alone, the best F1 that a threshold chosen on these very pairs would give, and the
  expected calibration error (ECE).
* Contrast sets: the share of different pairs that is accepted, by what differs (`kind_of_difference`).
* Groups: texts are mined with the defaults; pairs inside clusters and B-cubed against the groups; how many
  accepted pairs share a group, also of those that the corpus-aware decision lifted from below 0.3; and the
  share that the audit decides otherwise. Where a group is only a topic, recall means nothing and precision
  is an upper bound.
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
from dupmine.evaluation.weighted_metrics import calibration_error
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
AVERAGED = ("ap_cosine", "ap_cross_encoder", "precision", "recall", "f1", "best_f1", "ece")
LIFTED_FROM = 0.3  # probability of a pair alone
Figures = dict[str, Any]


def main() -> None:
    """Evaluate everything, print a table and write the figures."""
    arguments = parse_arguments()
    folder, miner = arguments.data / "domains", Miner(progress=False)
    names = ("split", "most", "most_texts", "most_foreign")
    figures: Figures = {name: getattr(arguments, name) for name in names} | {"machine": machine.describe()}
    pairs = pd.read_parquet(folder / "pairs.parquet")
    sets = {name: sample(part, arguments.most) for name, part in by_set(pairs, arguments.split)}
    figures["pairs"] = evaluate_pair_sets(sets, miner)
    figures["contrast"] = {
        name: accepted_by_kind(part, miner)
        for name, part in sets.items()
        if part["dataset"].iloc[0] in CONTRAST
    }
    figures["groups"] = {}
    for name, part in by_set(pd.read_parquet(folder / "groups.parquet"), arguments.split):
        most = arguments.most_texts if name.endswith(" en") else arguments.most_foreign
        figures["groups"][name] = evaluate_groups(sample(part, most or len(part)), miner)
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
    parser.add_argument("--most-texts", type=int, help="texts of an English grouped set; by default all")
    parser.add_argument("--most-foreign", type=int, help="texts of any other grouped set; by default all")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument(
        "--run", type=Path, help="folder of a run over qqp/questions-eval.csv, for the cohesion"
    )
    parser.add_argument("--judge", help="cross-encoder that judges the cohesion")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "domains.json")
    return parser.parse_args()


def by_set(table: pd.DataFrame, split: str) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield the rows of a split of each data set in each language by its name, as `stsb_mt de`."""
    table = table[table["split"] == split]
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
            "ece": calibration_error(actual, probability),
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
    clusters, group = result.row_labels[result.row_of], np.unique(part["group"], return_inverse=True)[1]
    return {
        "texts": len(part),
        "same_question": part["dataset"].iloc[0] not in TOPIC_ONLY,
        **{name: round(value, 4) for name, value in cluster_metrics(clusters, group).items()},
        "largest_cluster": int(np.bincount(clusters).max()),
        **accepted_pairs(result, group),
        "audited_otherwise": round(result.manifest["audit"].get("share", 0.0), 4),
        "candidates_per_text": round(result.manifest["counts"]["candidates"] / len(part), 1),
        "seconds": round(seconds, 1),
    }


def accepted_pairs(result: MiningResult, group: npt.NDArray[np.int64]) -> Figures:
    """Return how many pairs are accepted and how many of them share a group; also of the lifted ones."""
    accepted = result.pairs[result.pairs["is_duplicate"]]
    ends = accepted[["left_id", "right_id"]].astype(int).to_numpy()
    same = group[ends[:, 0]] == group[ends[:, 1]]
    lifted = (accepted["pair_probability"] < LIFTED_FROM).to_numpy()
    return {
        "accepted_pairs": len(same),
        "accepted_precision": round(float(same.mean()), 4) if len(same) else None,
        "lifted_pairs": int(lifted.sum()),
        "lifted_precision": round(float(same[lifted].mean()), 4) if lifted.any() else None,
    }


def macro_averages(figures: Figures) -> Figures:
    """Return unweighted means over English sets, each other language's, contrast and grouped sets."""
    pairs = {name: row for name, row in figures["pairs"].items() if "ap_cosine" in row}
    contrast = {name for name in pairs if name.split()[0] in CONTRAST}
    by_language: dict[str, list[Figures]] = {}
    for name in sorted(pairs.keys() - contrast):
        by_language.setdefault(name.split()[1], []).append(pairs[name])
    languages = {name: mean_of(rows) for name, rows in by_language.items()}
    same = [row for row in figures["groups"].values() if row["same_question"]]
    refused = [row["all"]["accepted"] for row in figures["contrast"].values()]
    return {
        "languages": languages,
        "other_languages": mean_of([row for name, row in languages.items() if name != "en"]),
        "contrast_accepted": mean(refused),
        "groups_pair_precision": mean([row["pair_precision"] for row in same]),
        "groups_bcubed_f1": mean([row["bcubed_f1"] for row in same]),
    }


def mean_of(rows: list[Figures]) -> Figures:
    """Return the mean of each figure that is averaged over sets."""
    return {name: mean([row[name] for row in rows]) for name in AVERAGED} if rows else {}


def mean(values: list[float]) -> float | None:
    """Return the mean, None of nothing."""
    return round(float(np.mean(values)), 4) if values else None


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
    contrast = {
        name: {kind: f"{row['accepted']} of {row['pairs']}" for kind, row in kinds.items()}
        for name, kinds in figures["contrast"].items()
    }
    blocks = {
        "set": figures["pairs"],
        "contrast set: accepted of the different pairs": contrast,
        "language, macro average": figures["macro"]["languages"],
        "grouped set": figures["groups"],
    }
    return "\n\n".join(markdown(head, rows) for head, rows in blocks.items())


def markdown(head: str, rows: Figures) -> str:
    """Return rows as a Markdown table; a figure that a row has not is a dash."""
    frame = pd.DataFrame.from_dict(rows, orient="index").astype(object)
    lines = [f"| {head} | {' | '.join(frame.columns)} |", f"|{'---|' * (len(frame.columns) + 1)}"]
    return "\n".join(
        lines + [f"| {name} | {' | '.join(map(cell, row))} |" for name, *row in frame.itertuples()]
    )


def cell(value: Any) -> str:
    """Return a figure as a table shows it."""
    if pd.isna(value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
